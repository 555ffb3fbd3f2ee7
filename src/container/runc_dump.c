/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "container/blinkers.h"
#include "container/cgroup_options.h"
#include "container/criu_images.h"
#include "container/runc.h"
#include "migration/reason.h"
#include "dump_gate.h"
#include "dump_hold.h"
#include "dump_left.h"
#include "node.h"
#include "own_group.h"
#include "watch_paths.h"

#define OUTPUT_MAX 8192
#define CONFIG_MAX 32768

/*
 * What runc has no option for goes into CRIU's configuration file (criu(8), found by CRIU_CONFIG_FILE, which CRIU inherits
 * through runc): the pod's traffic is not blocked by CRIU (its iptables would also block the other containers), TCP connections
 * are closed at the destination and reset by it, deleted files up to 512 MiB are kept.
 */
static const char criu_config[] = "network-lock skip\n"
				  "tcp-close\n"
				  "skip-in-flight\n"
				  "ghost-limit 512M\n";

/* The node's own programs, not those of the agent's image; before them the few that we replace for CRIU. */
#define NODE_PATH "PATH=%s/libexec:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int work_file(const struct runc_dump *d, const char *name, char *out, size_t size)
{
	char path[sizeof(d->work_dir) + 32];

	return path_format(path, sizeof(path), "%s/%s", d->work_dir, name) < 0 ? -ENAMETOOLONG
									       : node_path(d->runc->host_pid, path, out, size);
}

/* In work_dir for CRIU_CONFIG_FILE; the variable also marks every process of this dump (runc_dump_kill_left). */
static int write_config(const struct runc_dump *d, pid_t init_pid, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(CONFIG_MAX);
	char path[1024];
	int r = buf_append(&text, criu_config, strlen(criu_config));

	if (r == 0)
		r = watch_paths(init_pid, &text, err);
	if (r < 0)
		return r;
	if (work_file(d, DUMP_CONFIG, path, sizeof(path)) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	return file_write(AT_FDCWD, path, text.data, text.len, 0600, false, err);
}

static void close_gate(struct runc_dump *d)
{
	if (d->gate_fd >= 0)
		close(take_fd(&d->gate_fd));
}

static int make_gate(struct runc_dump *d, struct error *err)
{
	char dir[1024];

	if (node_path(d->runc->host_pid, d->work_dir, dir, sizeof(dir)) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	return dump_gate_make(dir, &d->gate_fd, err);
}

/* What runc and everything below it finds in its environment. */
struct environment {
	char path[600], config[600], blinkers[600], preload[600];
};

/* What is not there cannot be loaded, and the dynamic linker would complain. */
static bool has_blinkers(const struct runc *r)
{
	char path[600], node[1024];

	return path_format(path, sizeof(path), "%s/libexec/" BLINKERS_LIBRARY, r->programs) == 0 &&
	       node_path(r->host_pid, path, node, sizeof(node)) == 0 && access(node, R_OK) == 0;
}

static int fill_environment(const struct runc_dump *d, struct environment *e, struct error *err)
{
	if (path_format(e->path, sizeof(e->path), NODE_PATH, d->runc->programs) < 0 ||
	    path_format(e->config, sizeof(e->config), "CRIU_CONFIG_FILE=%s/%s", d->work_dir, DUMP_CONFIG) < 0 ||
	    path_format(e->blinkers, sizeof(e->blinkers), "%s=%s/%s", BLINKERS_ENV, d->work_dir, BLINKERS_LIST) < 0 ||
	    path_format(e->preload, sizeof(e->preload), "LD_PRELOAD=%s/libexec/" BLINKERS_LIBRARY, d->runc->programs) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	return 0;
}

#define SKIP_IN_FLIGHT "--tcp-skip-in-flight"
#define HELP_TIMEOUT_US 10000000

/*
 * Connections that wait in a listener's queue, half open or not accepted yet, make CRIU give up unless it is told to drop them.  runc before 1.3 says nothing of that
 * and our configuration file counts; from 1.3 on runc says "no" itself, which wins over the file (criu/config.c), unless it is told by this option.
 */
static bool knows_skip_in_flight(const struct runc *r)
{
	const char *const argv[] = { "runc", "checkpoint", "--help", NULL };
	struct process_spec spec = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .host_root_pid = r->host_pid };
	cleanup_buf struct buf help = BUF_INIT(OUTPUT_MAX);

	return process_run(&spec, HELP_TIMEOUT_US, &help, NULL) == 0 && help.len && strstr(help.data, SKIP_IN_FLIGHT);
}

static int spawn(struct runc_dump *d, int status_w, struct error *err)
{
	struct environment e;
	char server[32], fd[16];
	const char *argv[] = {
		"runc",
		"--root",
		d->runc->root,
		"checkpoint",
		"--leave-running",
		"--lazy-pages",
		"--page-server",
		server,
		"--status-fd",
		fd,
		"--file-locks",
		"--ext-unix-sk",
		"--tcp-established",
		"--image-path",
		d->image_dir,
		"--work-path",
		d->work_dir,
		d->id,
		NULL,
		NULL,
	};
	const size_t last = sizeof(argv) / sizeof(argv[0]) - 2;
	const char *env[] = { e.path, e.config, e.blinkers, has_blinkers(d->runc) ? e.preload : NULL, NULL };
	const int keep[] = { status_w, -1 };
	int groups[OWN_GROUPS_MAX + 1];
	struct process_spec spec = {
		.argv = argv,
		.env = env,
		.stdin_fd = -1,
		.stdout_fd = -1,
		.stderr_fd = -1,
		.keep_fds = keep,
		.cgroup_fds = groups,
		.host_root_pid = d->runc->host_pid,
		.netns_fd = d->runc->netns_fd,
	};
	int r;

	if (path_format(server, sizeof(server), "127.0.0.1:%u", d->port) < 0 || path_format(fd, sizeof(fd), "%d", status_w) < 0)
		return error_set(err, -ENAMETOOLONG, "runc checkpoint: argument too long");
	if (fill_environment(d, &e, err) < 0)
		return -ENAMETOOLONG;
	if (knows_skip_in_flight(d->runc)) {
		argv[last - 1] = SKIP_IN_FLIGHT;
		argv[last] = d->id;
	}
	r = own_group_open(d->runc->host_pid, groups, err);
	if (r == 0)
		r = process_start(&spec, true, &d->process, err);
	own_group_close(groups);
	return r;
}

int runc_dump_start(const struct runc *r, const char *id, pid_t init_pid, const char *image_dir, const char *work_dir, uint16_t port,
		    struct runc_dump *ret, struct error *err)
{
	struct runc_dump d = { .runc = r, .process = { 0, -1, -1 }, .status_fd = -1, .gate_fd = -1, .port = port };
	cleanup_close int status_r = -1, status_w = -1;
	int p[2], e;

	if (!name_is_safe(id) || id[0] == '-' || image_dir[0] != '/' || work_dir[0] != '/' || port == 0 || !r->programs)
		return error_set(err, -EINVAL, "dump: container id, folders or port are not valid");
	if (path_format(d.id, sizeof(d.id), "%s", id) < 0 || path_format(d.image_dir, sizeof(d.image_dir), "%s", image_dir) < 0 ||
	    path_format(d.work_dir, sizeof(d.work_dir), "%s", work_dir) < 0)
		return error_set(err, -ENAMETOOLONG, "dump: container id or a path is too long");
	e = write_config(&d, init_pid, err);
	if (e == 0)
		e = cgroup_options_keep(r->host_pid, err);
	if (e < 0)
		return e;
	/* runc refuses a status fd that can be read as well (O_RDWR); a pipe's end is O_WRONLY. */
	if (pipe2(p, O_CLOEXEC) < 0)
		return error_errno(err, "pipe for runc's status");
	status_r = p[0];
	status_w = p[1];
	/* What wakes wait_ready may be runc's end while something else still holds the pipe. */
	if (fcntl(status_r, F_SETFL, O_NONBLOCK) < 0)
		return error_errno(err, "pipe for runc's status");
	e = make_gate(&d, err);
	if (e < 0)
		return e;
	e = spawn(&d, status_w, err);
	if (e < 0) {
		close_gate(&d);
		return e;
	}
	d.status_fd = take_fd(&status_r);
	*ret = d;
	return 0;
}

static void reaped(struct runc_dump *d)
{
	d->process.pid = 0;
	close_gate(d);
	if (d->status_fd >= 0)
		close(take_fd(&d->status_fd));
}

/* runc's last line without its logger's dress: time="..." level=error msg="TEXT". */
static const char *last_line(struct buf *b)
{
	static const char mark[] = " msg=\"";
	char *line, *text;

	while (b->len && strchr("\n \"", b->data[b->len - 1]))
		b->data[--b->len] = '\0';
	if (!b->len)
		return "no output";
	line = strrchr(b->data, '\n');
	line = line ? line + 1 : b->data;
	text = strstr(line, mark);
	return text ? text + sizeof(mark) - 1 : line;
}

/* Waits for runc's end; a failure is told with CRIU's own lines. */
static int wait_end(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	cleanup_buf struct buf out = BUF_INIT(OUTPUT_MAX);
	char log[1024];
	int status, r;

	r = process_wait(&d->process, deadline_us, &out, &status, err);
	reaped(d);
	/* As soon as may be; the agent does it once more after the migration and tells when it fails. */
	cgroup_options_restore(d->runc->host_pid, NULL);
	/* A runc that exits has waited for CRIU; one that was killed has not. */
	d->killed = r < 0 || status >= 128;
	if (r < 0)
		return error_wrap(err, r, "runc checkpoint of %s", d->id);
	if (status == 0)
		return 0;
	error_reason(err, -EIO, REASON_CheckpointFailed, "runc checkpoint of %s ended with status %d: %s", d->id, status,
		     last_line(&out));
	if (err && work_file(d, DUMP_LOG, log, sizeof(log)) == 0)
		criu_explain(AT_FDCWD, log, err);
	return -EIO;
}

/* 1: something can be read from fd (-1: none) or runc ended; 0: deadline. */
static int wait_readable(struct runc_dump *d, int fd, int64_t deadline_us)
{
	struct pollfd f[2] = { { fd, POLLIN, 0 }, { d->process.pidfd, POLLIN, 0 } };

	for (;;) {
		int64_t left = deadline_us - clock_mono_us();
		int n = left > 0 ? poll(f, 2, left > 3600000000 ? 3600000 : (int)((left + 999) / 1000)) : 0;

		if (n > 0 || (n < 0 && errno != EINTR))
			return 1;
		if (left <= 0)
			return 0;
	}
}

/* runc is ending by itself: its error is the answer. */
static int ended_early(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	int r = wait_end(d, deadline_us, err);

	return r < 0 ? r
		     : error_reason(err, -EIO, REASON_CheckpointFailed, "runc checkpoint of %s ended before CRIU was ready",
				    d->id);
}

#define GATE_LOOK_US 5000

int runc_dump_wait_gate(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	if (d->process.pid == 0 || d->gate_fd < 0)
		return error_set(err, -EINVAL, "dump of %s has ended already", d->id);
	while (!dump_gate_reached(d->gate_fd)) {
		int64_t now = clock_mono_us();

		if (now >= deadline_us)
			return error_reason(err, -ETIMEDOUT, REASON_CheckpointFailed, "runc and CRIU did not start in time for %s", d->id);
		if (wait_readable(d, -1, now + GATE_LOOK_US < deadline_us ? now + GATE_LOOK_US : deadline_us))
			return ended_early(d, deadline_us, err);
	}
	return 0;
}

int runc_dump_go(struct runc_dump *d, struct error *err)
{
	int r = d->gate_fd < 0 ? -EINVAL : dump_gate_open(&d->gate_fd);

	return r < 0 ? error_set(err, r, "tell CRIU to dump %s", d->id) : 0;
}

bool runc_dump_answers(struct runc_dump *d, int64_t until_us)
{
	return d->ready || d->process.pid == 0 || d->status_fd < 0 || wait_readable(d, d->status_fd, until_us);
}

int runc_dump_wait_ready(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	char byte;

	if (d->ready)
		return 0;
	if (d->process.pid == 0 || d->status_fd < 0)
		return error_set(err, -EINVAL, "dump of %s has ended already", d->id);
	if (!wait_readable(d, d->status_fd, deadline_us))
		return error_reason(err, -ETIMEDOUT, REASON_CheckpointFailed, "CRIU did not write the metadata of %s in time",
				    d->id);
	/* One NUL when CRIU is ready; end of file when it gave up. */
	if (read_full(d->status_fd, &byte, 1) == 0) {
		d->ready = true;
		return 0;
	}
	close(take_fd(&d->status_fd));
	return ended_early(d, deadline_us, err);
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

/* CRIU takes one connection, and ends with it: it is asked once. */
static int ask_end(struct runc_dump *d)
{
	int r = d->asked ? 0 : page_server_end(d->runc->netns_fd, d->port);

	d->asked = r == 0;
	return r;
}

int runc_dump_finish(struct runc_dump *d, int64_t deadline_us, struct error *err)
{
	int r;

	if (!d->ready || d->process.pid == 0)
		return error_set(err, -EINVAL, "dump of %s is not ready to be finished", d->id);
	r = ask_end(d);
	if (r < 0)
		return error_reason(err, r, REASON_CheckpointFailed, "connect to CRIU's page server for %s: %s", d->id,
				    strerror(-r));
	r = wait_end(d, deadline_us, err);
	return r < 0 ? r : check_images(d, err);
}

#define ABORT_READY_US 10000000 /* for CRIU to get where it listens: 0.1 s and 70 ms per GiB */
#define ABORT_END_US 5000000
#define HURRY_LOOK_US 1000
#define DROP_TRIES 20

static void abort_by(struct runc_dump *d, int64_t ready_us)
{
	struct error ignored;

	/* Before the gate nothing has been touched. */
	if (d->process.pid && d->gate_fd >= 0 && dump_gate_refuse(d->gate_fd) == 0)
		wait_end(d, clock_mono_us() + ABORT_END_US, &ignored);
	/*
	 * Killed at a bad moment CRIU leaves a task with a foreign instruction pointer (compel runs injected system calls).  Once
	 * it listens, it leaves them whole.
	 */
	if (d->process.pid && !d->ready)
		runc_dump_wait_ready(d, ready_us, &ignored);
	if (d->process.pid && d->ready && ask_end(d) == 0)
		wait_end(d, clock_mono_us() + ABORT_END_US, &ignored);
	if (d->process.pid) {
		dump_left_end(d->runc->host_pid, d->work_dir, 0, &ignored);
		wait_end(d, clock_mono_us() + ABORT_END_US, &ignored);
	}
	if (d->status_fd >= 0)
		close(take_fd(&d->status_fd));
	if (d->killed)
		dump_left_end(d->runc->host_pid, d->work_dir, 0, &ignored);
	d->killed = d->ready = d->asked = false;
}

void runc_dump_abort(struct runc_dump *d)
{
	abort_by(d, clock_mono_us() + ABORT_READY_US);
}

/* Nothing of it holds the container's processes, or comes to hold them unless we let it. */
static bool has_not_begun(const struct runc_dump *d)
{
	return d->gate_fd >= 0 || (d->process.pid == 0 && !d->killed);
}

/*
 * Whichever image CRIU comes to next it cannot make: there it gives up as for any other reason, takes back what it has injected, and lets go of the processes (criu/cr-dump.c, cr_dump_finish), instead of
 * writing on what nobody wants.
 */
static void drop_images(const struct runc_dump *d)
{
	char path[1024];

	if (node_path(d->runc->host_pid, d->image_dir, path, sizeof(path)) < 0)
		return;
	/* It may make one while the others are removed. */
	for (int i = 0; i < DROP_TRIES && tree_remove(AT_FDCWD, path, NULL) < 0; i++)
		;
}

void runc_dump_hurry(struct runc_dump *d)
{
	struct error ignored;

	if (has_not_begun(d) || d->killed)
		return;
	if (!runc_dump_answers(d, clock_mono_us() + HURRY_LOOK_US)) {
		drop_images(d);
		return;
	}
	/* What it finds is told by runc_dump_let_go. */
	runc_dump_wait_ready(d, clock_mono_us() + ABORT_READY_US, &ignored);
	if (d->ready)
		ask_end(d);
}

/*
 * Of a CRIU that is not ready: true when it held somebody, and holds nobody any more.  It may have been about to take hold of more when we looked, so it is looked once more behind the first who was let go of: from there on
 * it takes hold of nobody.  Who has ended meanwhile says nothing of that.
 */
static bool has_given_up(const struct runc_dump *d, const pid_t *pids, int n, int64_t deadline_us)
{
	const int fds[] = { d->status_fd, d->process.pidfd };
	pid_t held = dump_held(pids, n);
	cleanup_close int alive = held ? (int)syscall(SYS_pidfd_open, held, 0) : -1;
	struct pollfd ended = { alive, POLLIN, 0 };

	return alive >= 0 && dump_hold_wait(pids, n, fds, deadline_us) == 0 && dump_hold_wait(pids, n, fds, deadline_us) == 0 && poll(&ended, 1, 0) == 0;
}

void runc_dump_let_go(struct runc_dump *d, const pid_t *pids, int n)
{
	int64_t ready_us = clock_mono_us() + ABORT_READY_US;
	struct error ignored;

	if (has_not_begun(d))
		return;
	/* CRIU may have outlived runc, and hold them still. */
	if (d->killed) {
		runc_dump_abort(d);
		return;
	}
	if (!d->ready && has_given_up(d, pids, n, ready_us))
		return;
	if (!d->ready)
		runc_dump_wait_ready(d, ready_us, &ignored);
	/*
	 * What CRIU has injected is gone when it is ready (criu/cr-dump.c, dump_one_task: compel_cure_remote); all that is left is that it lets go.  Its own end and runc's come later, and nobody waits for
	 * them standing still.
	 */
	if (d->ready && d->process.pid && ask_end(d) == 0 && dump_hold_wait(pids, n, (int[2]){ d->process.pidfd, -1 }, clock_mono_us() + ABORT_END_US) == 0)
		return;
	abort_by(d, ready_us);
}

int runc_dump_kill_left(const struct runc *r, const char *work_dir, struct error *err)
{
	return dump_left_end(r->host_pid, work_dir, ABORT_READY_US, err);
}

int runc_dump_kill_unstarted(pid_t host_pid, const char *work_dir, struct error *err)
{
	return dump_left_end(host_pid, work_dir, 0, err);
}
