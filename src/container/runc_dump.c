/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "container/criu_images.h"
#include "container/runc.h"
#include "migration/reason.h"
#include "node.h"

#define CONFIG_NAME "criu.conf"
#define LOG_NAME "dump.log"     /* runc's name for it, in the work folder */
#define OUTPUT_MAX 8192

/*
 * What runc has no option for goes into CRIU's configuration file (criu(8), found by CRIU_CONFIG_FILE, which CRIU inherits through runc):
 * the pod's traffic is not blocked by CRIU (its iptables would also block the other containers), TCP connections are closed at the
 * destination and reset by it, deleted files up to 512 MiB are kept.
 */
static const char criu_config[] = "network-lock skip\n"
				  "tcp-close\n"
				  "skip-in-flight\n"
				  "ghost-limit 512M\n";

/* The node's own programs, not those of the agent's image. */
#define NODE_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int work_file(const struct runc_dump *d, const char *name, char *out, size_t size)
{
	char path[sizeof(d->work_dir) + 32];

	return path_format(path, sizeof(path), "%s/%s", d->work_dir, name) < 0 ? -ENAMETOOLONG :
										  node_path(d->runc->host_pid, path, out, size);
}

/* In work_dir for CRIU_CONFIG_FILE; the variable also marks every process of this dump (runc_dump_kill_left). */
static int write_config(const struct runc_dump *d, char *env, size_t size, struct error *err)
{
	char path[1024];

	if (work_file(d, CONFIG_NAME, path, sizeof(path)) < 0 ||
	    path_format(env, size, "CRIU_CONFIG_FILE=%s/%s", d->work_dir, CONFIG_NAME) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	return file_write(AT_FDCWD, path, criu_config, sizeof(criu_config) - 1, 0600, false, err);
}

static int spawn(struct runc_dump *d, const char *env_config, int status_w, struct error *err)
{
	char server[32], fd[16];
	const char *argv[] = {
		"runc",		     "--root",		  d->runc->root, "checkpoint",	 "--leave-running", "--lazy-pages", "--page-server",
		server,		     "--status-fd",	  fd,		 "--file-locks", "--ext-unix-sk",   "--tcp-established",
		"--image-path",	     d->image_dir,	  "--work-path", d->work_dir,	 d->id,		    NULL,
	};
	const char *env[] = { NODE_PATH, env_config, NULL };
	const int keep[] = { status_w, -1 };
	struct process_spec spec = {
		.argv = argv,
		.env = env,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.keep_fds = keep,
		.host_root_pid = d->runc->host_pid,
		.netns_fd = d->runc->netns_fd,
	};

	if (path_format(server, sizeof(server), "127.0.0.1:%u", d->port) < 0 || path_format(fd, sizeof(fd), "%d", status_w) < 0)
		return error_set(err, -ENAMETOOLONG, "runc checkpoint: argument too long");
	return process_start(&spec, true, &d->process, err);
}

int runc_dump_start(const struct runc *r, const char *id, const char *image_dir, const char *work_dir, uint16_t port, struct runc_dump *ret,
		    struct error *err)
{
	struct runc_dump d = { .runc = r, .process = { 0, -1, -1 }, .status_fd = -1, .port = port };
	cleanup_close int status_r = -1, status_w = -1;
	char env[sizeof(d.work_dir) + 64];
	int p[2], e;

	if (!name_is_safe(id) || id[0] == '-' || image_dir[0] != '/' || work_dir[0] != '/' || port == 0)
		return error_set(err, -EINVAL, "dump: container id, folders or port are not valid");
	if (path_format(d.id, sizeof(d.id), "%s", id) < 0 || path_format(d.image_dir, sizeof(d.image_dir), "%s", image_dir) < 0 ||
	    path_format(d.work_dir, sizeof(d.work_dir), "%s", work_dir) < 0)
		return error_set(err, -ENAMETOOLONG, "dump: container id or a path is too long");
	e = write_config(&d, env, sizeof(env), err);
	if (e < 0)
		return e;
	/* runc refuses a status fd that can be read as well (O_RDWR); a pipe's end is O_WRONLY. */
	if (pipe2(p, O_CLOEXEC) < 0)
		return error_errno(err, "pipe for runc's status");
	status_r = p[0];
	status_w = p[1];
	e = spawn(&d, env, status_w, err);
	if (e < 0)
		return e;
	d.status_fd = take_fd(&status_r);
	*ret = d;
	return 0;
}

static void reaped(struct runc_dump *d)
{
	d->process.pid = 0;
	if (d->status_fd >= 0)
		close(take_fd(&d->status_fd));
}

static const char *last_line(struct buf *b)
{
	char *nl;

	while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == ' '))
		b->data[--b->len] = '\0';
	nl = b->len ? strrchr(b->data, '\n') : NULL;
	return nl ? nl + 1 : b->len ? b->data : "no output";
}

/* Waits for runc's end; a failure is told with CRIU's own lines. */
static int wait_end(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	cleanup_buf struct buf out = BUF_INIT(OUTPUT_MAX);
	char log[1024];
	int status, r;

	r = process_wait(&d->process, deadline_us, &out, &status, err);
	reaped(d);
	if (r < 0)
		return error_wrap(err, r, "runc checkpoint of %s", d->id);
	if (status == 0)
		return 0;
	error_reason(err, -EIO, REASON_CheckpointFailed, "runc checkpoint of %s ended with status %d: %s", d->id, status,
		     last_line(&out));
	if (err && work_file(d, LOG_NAME, log, sizeof(log)) == 0)
		criu_explain(AT_FDCWD, log, err);
	return -EIO;
}

/* 1: something happened on status_fd (or runc ended); 0: deadline. */
static int wait_status(struct runc_dump *d, int64_t deadline_us)
{
	struct pollfd f[2] = { { d->status_fd, POLLIN, 0 }, { d->process.pidfd, POLLIN, 0 } };

	for (;;) {
		int64_t left = deadline_us - clock_mono_us();
		int n = left > 0 ? poll(f, 2, left > 3600000000 ? 3600000 : (int)((left + 999) / 1000)) : 0;

		if (n > 0 || (n < 0 && errno != EINTR))
			return 1;
		if (left <= 0)
			return 0;
	}
}

int runc_dump_wait_ready(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	char byte;
	int r;

	if (d->ready)
		return 0;
	if (d->process.pid == 0 || d->status_fd < 0)
		return error_set(err, -EINVAL, "dump of %s has ended already", d->id);
	if (!wait_status(d, deadline_us))
		return error_reason(err, -ETIMEDOUT, REASON_CheckpointFailed, "CRIU did not write the metadata of %s in time", d->id);
	/* One NUL when CRIU is ready; end of file when it gave up. */
	if (read_full(d->status_fd, &byte, 1) == 0) {
		d->ready = true;
		return 0;
	}
	close(take_fd(&d->status_fd));
	r = wait_end(d, deadline_us, err);
	return r < 0 ? r : error_reason(err, -EIO, REASON_CheckpointFailed, "runc checkpoint of %s ended before CRIU was ready", d->id);
}

struct connector {
	int netns_fd;
	uint16_t port;
	int result;
};

/*
 * A connection that is closed without a word ends CRIU's page server as success; with --leave-running the tasks live on (CRIU 4.2.1, page-xfer.c).
 * Never a port check elsewhere: each connection counts.
 */
static void *connect_close(void *ctx)
{
	struct connector *c = ctx;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(c->port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	cleanup_close int fd = -1;

	if (c->netns_fd > 0 && setns(c->netns_fd, CLONE_NEWNET) < 0) {
		c->result = -errno;
		return NULL;
	}
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		c->result = -errno;
	return NULL;
}

/* The connection must be made from inside the page server's network namespace: by a thread, whose namespace is its own. */
static int end_page_server(struct runc_dump *d)
{
	struct connector c = { d->runc->netns_fd, d->port, 0 };
	pthread_t t;
	int r = pthread_create(&t, NULL, connect_close, &c);

	if (r)
		return -r;
	pthread_join(t, NULL);
	return c.result;
}

/* Every file CRIU writes last or always; a pagemap that cannot be read is found by the destination. */
static int check_images(const struct runc_dump *d, struct error *err)
{
	static const char *const names[] = { "inventory.img", "pstree.img", "descriptors.json" };
	cleanup_close int dir = -1;
	char path[1024];
	pid_t pids[1];
	int n;

	if (node_path(d->runc->host_pid, d->image_dir, path, sizeof(path)) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the image folder is too long");
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, "open the image folder %s", d->image_dir);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (faccessat(dir, names[i], R_OK, 0) < 0)
			return error_reason(err, -ENODATA, REASON_CheckpointFailed, "CRIU wrote no %s for %s", names[i], d->id);
	n = criu_pagemap_pids(dir, pids, 1, err);
	if (n == 0 || (n < 0 && n != -E2BIG))
		return n < 0 ? n : error_reason(err, -ENODATA, REASON_CheckpointFailed, "CRIU wrote no pagemap for %s", d->id);
	return 0;
}

int runc_dump_finish(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	int r;

	if (!d->ready || d->process.pid == 0)
		return error_set(err, -EINVAL, "dump of %s is not ready to be finished", d->id);
	r = end_page_server(d);
	if (r < 0)
		return error_reason(err, r, REASON_CheckpointFailed, "connect to CRIU's page server for %s: %s", d->id, strerror(-r));
	r = wait_end(d, deadline_us, err);
	return r < 0 ? r : check_images(d, err);
}

#define ABORT_READY_US 10000000         /* for CRIU to get where it listens: 0.1 s and 70 ms per GiB */
#define ABORT_END_US 5000000
#define KILL_ROUNDS 50

void runc_dump_abort(struct runc_dump *d)
{
	struct error ignored;

	/*
	 * Killed at a bad moment CRIU leaves a task with a foreign instruction pointer (compel runs injected system calls).  Once
	 * it listens, it leaves them whole.
	 */
	if (d->process.pid && !d->ready)
		runc_dump_wait_ready(d, clock_mono_us() + ABORT_READY_US, &ignored);
	if (d->process.pid && d->ready && end_page_server(d) == 0)
		wait_end(d, clock_mono_us() + ABORT_END_US, &ignored);
	if (d->process.pid) {
		runc_dump_kill_left(d->work_dir, &ignored);
		wait_end(d, clock_mono_us() + ABORT_END_US, &ignored);
	}
	if (d->status_fd >= 0)
		close(take_fd(&d->status_fd));
	runc_dump_kill_left(d->work_dir, &ignored);
	d->ready = false;
}

/* Does a process's environment hold this variable?  Processes that end meanwhile do not. */
static bool has_env(int proc_fd, const char *pid_name, const char *variable)
{
	cleanup_close int fd = -1;
	char path[64], text[65536];
	ssize_t n = 0;

	if (path_format(path, sizeof(path), "%s/environ", pid_name) < 0)
		return false;
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	for (ssize_t got; (size_t)n < sizeof(text) && (got = read(fd, text + n, sizeof(text) - (size_t)n)) > 0;)
		n += got;
	for (const char *p = text, *end = text + n; p < end; p += strnlen(p, (size_t)(end - p)) + 1)
		if (strnlen(p, (size_t)(end - p)) == strlen(variable) && !memcmp(p, variable, strlen(variable)))
			return true;
	return false;
}

/* The pidfd is taken before the look at the environment, so that it cannot be another process's by the time of the kill. */
static bool kill_if_marked(int proc_fd, const char *pid_name, const char *variable)
{
	cleanup_close int pidfd = -1;
	long pid = 0;

	for (const char *c = pid_name; *c; c++) {
		if (*c < '0' || *c > '9' || pid > 100000000)
			return false;
		pid = pid * 10 + (*c - '0');
	}
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	return pidfd >= 0 && has_env(proc_fd, pid_name, variable) && syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
}

static int kill_round(const char *variable, struct error *err)
{
	cleanup_closedir DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	if (!d)
		return error_errno(err, "open /proc");
	while ((e = readdir(d)))
		n += kill_if_marked(dirfd(d), e->d_name, variable);
	return n;
}

int runc_dump_kill_left(const char *work_dir, struct error *err)
{
	char variable[600];
	int total = 0;

	if (path_format(variable, sizeof(variable), "CRIU_CONFIG_FILE=%s/%s", work_dir, CONFIG_NAME) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	/* A killed process may have forked just before; one that is gone shows no environment any more. */
	for (int i = 0; i < KILL_ROUNDS; i++) {
		int n = kill_round(variable, err);

		if (n <= 0)
			return n < 0 ? n : total;
		total += n;
		poll(NULL, 0, i < 10 ? 2 : 100);
	}
	return error_set(err, -EBUSY, "processes of the dump in %s do not end", work_dir);
}
