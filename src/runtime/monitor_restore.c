/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/process.h"
#include "runtime/joiner.h"
#include "criu_lines.h"
#include "criu_yard.h"
#include "migration/names.h"
#include "monitor.h"
#include "runtime.h"
#include "runtime/monitor.h"

#define CONFIG_NAME "podmigration-criu.conf"
#define PID_NAME "restored.pid"
#define LOG_NAME "runc.log"
#define DECOY_NAME "no-images"
#define DESCRIPTORS "descriptors.json"

/* --- the request --- */

/* An existing folder below PM_RUN_DIR, with no link on the way that leads out. */
static int check_folder(const char *what, const char *path, struct error *err)
{
	static const char top[] = PM_RUN_DIR "/";
	cleanup_close int run = -1, fd = -1;

	/* The path is also a line of CRIU's configuration and a word of runc's log: nothing unusual in it. */
	if (strncmp(path, top, strlen(top)) || strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") != strlen(path))
		return error_set(err, -EINVAL, "restore: %s must be a folder below %s", what, PM_RUN_DIR);
	run = open(PM_RUN_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	fd = run < 0 ? -errno : open_beneath(run, path + strlen(top), O_PATH | O_DIRECTORY, 0, true);
	if (fd < 0)
		return error_set(err, -EINVAL, "restore: %s folder %s: %s", what, path, strerror(-fd));
	return 0;
}

/*
 * What runc has no option for (criu(8); found by CRIU_CONFIG_FILE).  Connections are closed, unless the images say of each what becomes of it;
 * half-open ones are dropped; no firewall is touched (the images were made without); deleted files that are still open come along up to 512 MiB.
 */
static int write_config(const struct monitor *m, const char *work, char *ret, size_t size, struct error *err)
{
	char text[256];

	if (path_format(ret, size, "%s/%s", work, CONFIG_NAME) < 0 ||
	    path_format(text, sizeof(text), "%snetwork-lock skip\nskip-in-flight\nghost-limit 512M\n", m->keeps_tcp ? "" : "tcp-close\n") < 0)
		return error_set(err, -ENAMETOOLONG, "restore: a path is too long");
	return file_write(AT_FDCWD, ret, text, strlen(text), 0600, false, err);
}

/* The folder that runc is told of holds only what runc itself reads: a CRIU that is not behind the relay finds no images (relay.h). */
static int make_decoy(const struct monitor *m, const char *images, char *ret, size_t size, struct error *err)
{
	char from[600], to[RECORD_DIR_MAX + 64];

	if (path_format(ret, size, "%s/%s", m->dir, DECOY_NAME) < 0 || path_format(to, sizeof(to), "%s/%s", ret, DESCRIPTORS) < 0 ||
	    path_format(from, sizeof(from), "%s/%s", images, DESCRIPTORS) < 0)
		return error_set(err, -ENAMETOOLONG, "restore: a path is too long");
	if (mkdir(ret, 0700) < 0 || symlink(from, to) < 0)
		return error_errno(err, "make folder %s", ret);
	return 0;
}

/* --- runc --- */

struct command {
	const char *argv[32];
	char runc[1100], pid_file[RECORD_DIR_MAX + 32], log[RECORD_DIR_MAX + 32];
	char path_env[2300], config_env[640], relay_env[RECORD_DIR_MAX + 32], userns_env[1100];
	const char *env[5];
};

static int fill_paths(const struct monitor *m, struct command *c, const char *config)
{
	if (path_format(c->pid_file, sizeof(c->pid_file), "%s/%s", m->dir, PID_NAME) < 0 ||
	    path_format(c->log, sizeof(c->log), "%s/%s", m->dir, LOG_NAME) < 0 ||
	    path_format(c->config_env, sizeof(c->config_env), "CRIU_CONFIG_FILE=%s", config) < 0 ||
	    path_format(c->relay_env, sizeof(c->relay_env), "%s=%s", RELAY_ENV, m->dir) < 0 ||
	    path_format(c->userns_env, sizeof(c->userns_env), "%s=%s", JOINER_ENV, m->spec->userns) < 0 ||
	    /* What we have for runc and CRIU; and a CRIU that stands beside us comes before the node's. */
	    path_format(c->path_env, sizeof(c->path_env), "PATH=%s/../libexec:%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			m->spec->program_dir, m->spec->program_dir) < 0)
		return -ENAMETOOLONG;
	return 0;
}

static void fill_argv(const struct monitor *m, struct command *c, const char *images, const char *work, bool lazy)
{
	const char *fixed[] = {
		c->runc, "--root", m->spec->root, "--log", c->log, "--log-format", "json", m->spec->systemd_cgroup ? "--systemd-cgroup" : NULL,
		"restore", "--detach", "--no-subreaper", "--file-locks", "--ext-unix-sk", "--tcp-established", "--image-path", images,
		"--work-path", work, "--bundle", m->spec->bundle, "--pid-file", c->pid_file, lazy ? "--lazy-pages" : NULL, m->spec->id,
	};
	size_t n = 0;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (fixed[i])
			c->argv[n++] = fixed[i];
	c->argv[n] = NULL;
	c->env[0] = c->path_env;
	c->env[1] = c->config_env;
	c->env[2] = c->relay_env;
	c->env[3] = m->spec->userns[0] ? c->userns_env : NULL;
	c->env[4] = NULL;
}

/* `delete` must be able to wait for it when we have been killed. */
static void note_runc(const struct monitor *m)
{
	char path[RECORD_DIR_MAX + 32], text[64];
	int64_t started;

	if (process_started(m->runc, &started) < 0 || path_format(path, sizeof(path), "%s/%s", m->dir, RECORD_RUNC) < 0 ||
	    path_format(text, sizeof(text), "{\"pid\":%d,\"started\":%lld}\n", m->runc, (long long)started) < 0)
		return;
	file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL);
}

static int start_runc(struct monitor *m, const char *config, const char *images, const char *work, bool lazy, struct error *err)
{
	/* The container's standard streams are ours, and so become the application's. */
	struct command c;
	struct process_spec spec = { .argv = c.argv, .env = c.env, .stdin_fd = 0, .stdout_fd = 1, .stderr_fd = 2 };
	cleanup_close int netns = -1;
	struct process p;
	int r;

	if (fill_paths(m, &c, config) < 0)
		return error_set(err, -ENAMETOOLONG, "restore: a path is too long");
	/* The images were made inside the pod's network namespace, and so do not speak of it. */
	if (m->spec->netns[0] && (netns = open(m->spec->netns, O_RDONLY | O_CLOEXEC)) < 0)
		return error_errno(err, "open the pod's network namespace %s", m->spec->netns);
	spec.netns_fd = netns;
	if (runc_find(m->spec->program_dir, c.runc, sizeof(c.runc)) < 0)
		return error_set(err, -ENOENT, "no runc on this node");
	fill_argv(m, &c, images, work, lazy);
	r = process_start(&spec, false, &p, err);
	if (r < 0)
		return r;
	close(p.pidfd);
	m->runc = p.pid;
	note_runc(m);
	return 0;
}

/* --- the gate before CRIU's first step --- */

#define INVENTORY_MAX 65536     /* what a pipe takes at once; the image has some hundred bytes */

static bool lacks_inventory(const char *images)
{
	char path[600];

	return path_format(path, sizeof(path), "%s/inventory.img", images) == 0 && access(path, F_OK) < 0 && errno == ENOENT;
}

/*
 * CRIU opens inventory.img before anything else (criu/cr-restore.c, cr_restore_tasks).  As a named pipe it holds CRIU there, by then fully started,
 * for as long as nobody writes.  The second name is for `delete`, when we have been killed.
 */
static int make_gate(const struct monitor *m, const char *images, struct error *err)
{
	char inventory[600], gate[RECORD_DIR_MAX + 32];

	if (path_format(inventory, sizeof(inventory), "%s/inventory.img", images) < 0 ||
	    path_format(gate, sizeof(gate), "%s/%s", m->dir, RECORD_GATE) < 0)
		return error_set(err, -ENAMETOOLONG, "restore: a path is too long");
	if (!lacks_inventory(images))
		return 0;
	if (mkfifo(inventory, 0600) < 0 || link(inventory, gate) < 0)
		return error_errno(err, "make a named pipe of %s", inventory);
	return 1;
}

void restore_gate_look(struct monitor *m)
{
	char gate[RECORD_DIR_MAX + 32];

	/* Until somebody has it open for reading: ENXIO (fifo(7)). */
	if (m->state != STATE_STARTING || path_format(gate, sizeof(gate), "%s/%s", m->dir, RECORD_GATE) < 0)
		return;
	m->gate_fd = open(gate, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (m->gate_fd < 0)
		return;
	if (m->aborting)
		restore_gate_refuse(m);
	else
		monitor_enter(m, STATE_STANDBY);
}

void restore_gate_refuse(struct monitor *m)
{
	/* Nothing to read: CRIU says that the image has no magic, and ends. */
	if (m->gate_fd >= 0)
		close(take_fd(&m->gate_fd));
}

void restore_go(struct monitor *m)
{
	cleanup_buf struct buf b = BUF_INIT(INVENTORY_MAX);
	struct error err = { 0 };
	char path[600];
	int r = path_format(path, sizeof(path), "%s/%s", m->images, MONITOR_INVENTORY);

	r = r < 0 ? r : file_read(AT_FDCWD, path, &b, &err);
	/* No sooner: CRIU is told of them as it starts, and binds them behind the gate. */
	if (r == 0)
		r = lent_make(&m->relay.lent, m->spec->userns, &err);
	if (r == 0 && m->lazy)
		r = fill_take(m, &err);
	if (r == 0)
		r = write_full(m->gate_fd, b.data, b.len);
	if (r < 0) {
		error_set(&m->error, r, "go: the inventory cannot be given to CRIU: %s", err.message[0] ? err.message : strerror(-r));
		monitor_abort(m, MONITOR_EXIT_FAILED);
		return;
	}
	close(take_fd(&m->gate_fd));
	FAULT_POINT("monitor.restore", m->spec->migration);
	monitor_enter(m, STATE_RESTORING);
}

/* --- the begin --- */

static int prepare(struct monitor *m, const char *images, const char *work, char *config, size_t config_size, char *decoy, size_t decoy_size, struct error *err)
{
	int r = write_config(m, work, config, config_size, err);

	if (r == 0)
		r = make_decoy(m, images, decoy, decoy_size, err);
	if (r == 0 && m->spec->userns[0])
		r = lent_plan(&m->relay.lent, m->spec->bundle, m->spec->id, m->spec->userns, err);
	m->relay.here = &m->home;
	m->relay.cgroups_path = m->spec->cgroups_path;
	return r < 0 ? r : relay_folders(&m->relay, images, work, err);
}

int restore_begin(struct monitor *m, const char *images, const char *work, bool lazy, struct error *err)
{
	char config[600], decoy[RECORD_DIR_MAX + 32];
	int gate = 0, r = check_folder("images", images, err);

	if (r == 0)
		r = check_folder("work", work, err);
	if (r == 0 && (path_format(m->work, sizeof(m->work), "%s", work) < 0 || path_format(m->images, sizeof(m->images), "%s", images) < 0))
		r = error_set(err, -EINVAL, "restore: work or images is too long");
	if (r == 0 && lazy && m->given[1] < 0 && !lacks_inventory(images))
		r = error_set(err, -EINVAL, "restore: lazy, and no list of pages and page store came along");
	if (r < 0)
		return r;
	r = claim_take(&m->spec->claim, err);
	/* runc refuses a cgroup that holds a process, and a group that is frozen or killed must not hold its monitor. */
	if (r == 0)
		r = cgroups_return(&m->home, err);
	if (r == 0)
		r = guard_start(&m->home, m->spec->cgroups_path, &m->guard, err);
	if (r == 0)
		r = gate = make_gate(m, images, err);
	if (r >= 0)
		r = prepare(m, images, work, config, sizeof(config), decoy, sizeof(decoy), err);
	if (r == 0 && lazy)
		r = fill_prepare(m, work, err);
	if (r == 0 && !gate)
		r = lent_make(&m->relay.lent, m->spec->userns, err);
	if (r == 0 && lazy && !gate)
		r = fill_take(m, err);
	if (r == 0)
		r = start_runc(m, config, decoy, work, lazy, err);
	if (r < 0) {
		filler_stop(&m->filler);
		lent_end(&m->relay.lent);
		m->error = *err;
		monitor_fail(m, MONITOR_EXIT_FAILED);
		return -EIO;
	}
	monitor_enter(m, gate ? STATE_STARTING : STATE_RESTORING);
	return 0;
}

/* --- the barrier --- */

/* CRIU, which waits for a word, does not notice it.  Also true of a zombie (pidfd_open(2)). */
static bool has_ended(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return fd >= 0 && poll(&p, 1, 0) > 0;
}

/* False: it is not there any more. */
static bool watch_init(struct monitor *m)
{
	if (m->relay.init <= 1)
		return true;
	m->init_fd = (int)syscall(SYS_pidfd_open, m->relay.init, 0);
	return m->init_fd < 0 ? errno != ESRCH : !has_ended(m->init_fd);
}

static void forget_init(struct monitor *m)
{
	if (m->init_fd >= 0)
		close(take_fd(&m->init_fd));
	m->init_gone_us = 0;
}

/*
 * Killed behind the last look at it, before CRIU has let it go: CRIU then waits for it, for ever.  One that has ended by itself as soon as it ran is told of by CRIU within this time.
 */
#define GONE_US 2000000

void restore_look_after(struct monitor *m)
{
	if (m->state != STATE_BARRIER || !m->opened || !has_ended(m->init_fd))
		return;
	if (!m->init_gone_us)
		m->init_gone_us = clock_mono_us();
	if (clock_mono_us() - m->init_gone_us < GONE_US)
		return;
	forget_init(m);
	error_set(&m->error, -ESRCH, "the restored application was killed in the instant in which it was let run");
	monitor_abort(m, MONITOR_EXIT_FAILED);
	/* CRIU is in there as well; runc then comes to its end. */
	cgroups_kill(&m->home, m->spec->cgroups_path);
}

void restore_open(struct monitor *m)
{
	struct error err = { 0 };

	if (m->opened) {
		agent_tell(m, NULL);
		return;
	}
	if (!m->relay.held || m->aborting) {
		agent_tell(m, "open: CRIU does not wait any more");
		return;
	}
	if (!watch_init(m)) {
		error_set(&m->error, -ESRCH, "the restored application was killed before it could be let run");
		monitor_abort(m, MONITOR_EXIT_FAILED);
		return;
	}
	/* Written before anything runs: should we end before we know that it does, nobody else knows, and no other container may take its place. */
	if (claim_opening(&m->spec->claim, &err) < 0) {
		m->error = err;
		monitor_abort(m, MONITOR_EXIT_FAILED);
		return;
	}
	if (m->lazy && filler_open(&m->filler, (const int[]){ m->relay.runc, m->relay.criu }, &err) < 0) {
		m->error = err;
		monitor_abort(m, MONITOR_EXIT_FAILED);
		return;
	}
	m->opened = true;
	FAULT_POINT("monitor.open", m->spec->migration);
	relay_release(&m->relay);
	FAULT_POINT("monitor.released", m->spec->migration);
}

/*
 * From here on a new container in this one's place is an ordinary one; written before the agent hears that it runs, since the source is given up on that word.  The disk
 * may take its time: CRIU, that goes on through us, and so the application, must not wait for it.
 */
static void runs(struct monitor *m)
{
	claim_opened(&m->spec->claim, false, NULL);
	forget_init(m);
	FAULT_POINT("monitor.opened", m->spec->migration);
	monitor_enter(m, STATE_RUNNING);
	claim_opened(&m->spec->claim, true, NULL);
}

void restore_relay(struct monitor *m)
{
	enum relay_event event = relay_pass(&m->relay);

	if (event == RELAY_BARRIER && m->state == STATE_RESTORING && !m->aborting) {
		filler_barrier(&m->filler);
		barrier_check(m);
		/* CRIU has bound them.  The agent has heard first: what it does now takes longer than this, and the pod stands still. */
		lent_end(&m->relay.lent);
	} else if (event == RELAY_RESUMED && m->opened && m->state == STATE_BARRIER) {
		m->init = m->relay.init;
		runs(m);
	}
}

/* --- the end of runc --- */

static int read_init(const struct monitor *m, pid_t *ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(32);
	char path[RECORD_DIR_MAX + 32];
	long pid;

	if (path_format(path, sizeof(path), "%s/%s", m->dir, PID_NAME) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the pid file is too long");
	if (file_read(AT_FDCWD, path, &b, err) < 0)
		return -EIO;
	pid = strtol(b.data, NULL, 10);
	if (pid <= 1 || pid > RECORD_PID_MAX)
		return error_set(err, -EIO, "runc restore wrote no pid");
	*ret = (pid_t)pid;
	return 0;
}

static int check_end(struct monitor *m, int st, struct error *err)
{
	char log[RECORD_DIR_MAX + 32];

	if (WIFEXITED(st) && WEXITSTATUS(st) == 0) {
		if (!m->opened)
			return error_set(err, -EPROTO, "CRIU went past the barrier without waiting there");
		return read_init(m, &m->init, err);
	}
	if (WIFSIGNALED(st))
		error_set(err, -EIO, "runc restore was killed by signal %d", WTERMSIG(st));
	else if (path_format(log, sizeof(log), "%s/%s", m->dir, LOG_NAME) < 0 || runc_message(log, err) < 0)
		error_set(err, -EIO, "runc restore ended with status %d", WEXITSTATUS(st));
	criu_lines(m->work, err);
	return -EIO;
}

/* The shim sees the end of the streams when the application has closed them, not when we end. */
static void release_streams(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

void restore_ended(struct monitor *m, int wait_status)
{
	struct error err = { 0 };

	relay_close(&m->relay);
	restore_gate_refuse(m);
	if (check_end(m, wait_status, &err) == 0) {
		release_streams();
		if (m->state != STATE_RUNNING)
			runs(m);
		return;
	}
	m->init = 0;
	/* CRIU and runc clean up behind themselves, unless they were killed; and runc knows only of a container that had come to post-restore. */
	criu_yard_remove(m->work);
	runc_delete(m->spec->program_dir, m->spec->root, m->spec->systemd_cgroup, m->spec->id, NULL);
	cgroups_kill(&m->home, m->spec->cgroups_path);
	/* Only now: nothing that lacks pages may run without it. */
	filler_stop(&m->filler);
	if (!m->aborting)
		m->error = err;
	monitor_fail(m, m->aborting ? m->abort_status : MONITOR_EXIT_FAILED);
}
