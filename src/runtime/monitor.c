/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "migration/names.h"
#include "runtime/monitor.h"

#define GATE_LOOK_MS 5          /* nobody tells us when CRIU has opened a named pipe */
#define GONE_LOOK_MS 100        /* nor that CRIU waits for somebody who has ended */

/* The init of the application was reaped by somebody else: its status cannot be known. */
#define EXIT_UNKNOWN 255

/* --- start --- */

/* m->dir is the working directory: a socket's path ends at 107 bytes. */
static int listen_on(const char *name, struct error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_errno(err, "socket");
	if (path_format(a.sun_path, sizeof(a.sun_path), "%s", name) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
		return error_errno(err, "listen on %s", name);
	return take_fd(&fd);
}

static int open_signals(struct error *err)
{
	static const int ours[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		sigaddset(&set, ours[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_errno(err, "signalfd") : fd;
}

static int write_info(struct monitor *m, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(RECORD_INFO_MAX);
	int64_t started;

	if (process_started(getpid(), &started) < 0)
		return error_set(err, -EIO, "the monitor's start time cannot be read");
	if (buf_printf(&b, "{%s,\"pid\":%d,\"started\":%lld}\n", m->spec->info, getpid(), (long long)started) < 0)
		return error_set(err, -ENOSPC, "config.json has too many mounts");
	return file_write(AT_FDCWD, MONITOR_INFO, b.data, b.len, 0600, false, err);
}

static int make_dir(struct monitor *m, struct error *err)
{
	int r = dir_make(AT_FDCWD, PM_RUN_DIR "/" MONITOR_CONTAINERS_DIR, 0700, err);

	if (r == 0 && record_dir(m->spec->id, m->dir) < 0)
		r = error_set(err, -EINVAL, "container id is not valid");
	if (r < 0)
		return r;
	if (mkdir(m->dir, 0700) < 0 || chdir(m->dir) < 0)
		return error_errno(err, "make folder %s", m->dir);
	return 0;
}

/* info.json last: who sees it may connect. */
static int set_up(struct monitor *m, struct error *err)
{
	int r = make_dir(m, err);

	if (r < 0)
		return r;
	m->signal_fd = open_signals(err);
	m->listen_fd = m->signal_fd < 0 ? -1 : listen_on(MONITOR_SOCKET, err);
	m->relay_listen_fd = m->listen_fd < 0 ? -1 : listen_on(RELAY_SOCKET, err);
	if (m->relay_listen_fd < 0)
		return -EIO;
	r = cgroups_current(&m->home, err);
	if (r == 0)
		r = cgroups_join(&m->home, m->spec->cgroups_path, err);
	if (r == 0)
		r = record_set_state(m->dir, STATE_WAITING, err);
	if (r == 0)
		r = write_info(m, err);
	if (r == 0 && chdir("/") < 0)
		r = error_errno(err, "change folder");
	return r;
}

/* --- changes of state --- */

void monitor_enter(struct monitor *m, enum monitor_state s)
{
	struct error err = { 0 };

	if (m->state == s)
		return;
	m->state = s;
	/* A state file that cannot be written (tmpfs full) must not stop a migration; the agent is told anyway. */
	record_set_state(m->dir, s, &err);
	agent_tell(m, NULL);
}

void monitor_fail(struct monitor *m, int exit_status)
{
	m->exit_status = exit_status;
	monitor_enter(m, STATE_FAILED);
}

void monitor_abort(struct monitor *m, int exit_status)
{
	if (!m->aborting)
		m->abort_status = exit_status;
	m->aborting = true;
	relay_close(&m->relay);
	restore_gate_refuse(m);
	if (!m->runc)
		monitor_fail(m, m->abort_status);
}

/* --- signals --- */

static bool before_open(const struct monitor *m)
{
	return m->state != STATE_RUNNING && !m->opened;
}

static void take_signal(struct monitor *m, int number)
{
	if (!before_open(m)) {
		/* containerd took us for the application when it sent this. */
		m->pending_signal = number;
		return;
	}
	if (!m->aborting)
		error_set(&m->error, -ECANCELED, "stopped by signal %d", number);
	monitor_abort(m, 128 + number);
}

static void pass_signal(struct monitor *m)
{
	if (m->state == STATE_RUNNING && m->pending_signal && m->init > 1) {
		kill(m->init, m->pending_signal);
		m->pending_signal = 0;
	}
}

/*
 * runc first, even when the application's init has ended as well: init becomes our child by the end of runc, and only then we know its pid for certain.
 * As a subreaper we get other orphans of runc and CRIU too.
 */
static void reap(struct monitor *m)
{
	pid_t pid;
	int st;

	if (m->runc && waitpid(m->runc, &st, WNOHANG) == m->runc) {
		m->runc = 0;
		restore_ended(m, st);
	}
	if (m->runc)
		return;
	while ((pid = waitpid(-1, &st, WNOHANG)) > 0)
		if (pid == m->filler.pid)
			filler_reaped(&m->filler);
		else if (pid == m->init)
			m->exit_status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
	if (pid < 0 && errno == ECHILD && m->state == STATE_RUNNING && m->exit_status < 0)
		m->exit_status = EXIT_UNKNOWN;
}

static void handle_signals(struct monitor *m)
{
	struct signalfd_siginfo s;

	while (read(m->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
		if (s.ssi_signo == SIGCHLD)
			reap(m);
		else
			take_signal(m, (int)s.ssi_signo);
	}
}

/* --- the loop --- */

static void wait_event(struct monitor *m)
{
	/* One agent at a time: the next one waits in the queue until the first has gone. */
	struct pollfd p[] = {
		{ m->signal_fd, POLLIN, 0 },
		{ m->relay_listen_fd, POLLIN, 0 },
		{ m->relay.runc, POLLIN, 0 },
		{ m->relay.criu, POLLIN, 0 },
		{ m->agent_fd, POLLIN, 0 },
		{ m->agent_fd < 0 ? m->listen_fd : -1, POLLIN, 0 },
		{ m->filler.fd, POLLIN, 0 },
		{ m->filler.pidfd, POLLIN, 0 },
		{ m->init_gone_us ? -1 : m->init_fd, POLLIN, 0 },
	};

	if (poll(p, sizeof(p) / sizeof(p[0]), m->state == STATE_STARTING ? GATE_LOOK_MS : m->init_gone_us ? GONE_LOOK_MS : -1) < 0)
		return;
	if (m->state == STATE_STARTING)
		restore_gate_look(m);
	if (p[1].revents)
		relay_accept(&m->relay, m->relay_listen_fd);
	/* Before signals: that the application runs comes before the end of runc. */
	if (p[2].revents || p[3].revents)
		restore_relay(m);
	if (p[6].revents || p[7].revents)
		fill_event(m);
	if (p[0].revents)
		handle_signals(m);
	restore_look_after(m);
	if (p[4].revents && m->exit_status < 0)
		agent_handle(m);
	if (p[5].revents && m->exit_status < 0)
		agent_accept(m);
	pass_signal(m);
}

/* --- birth --- */

/* Standard streams are the container's and stay; everything else of the shim is closed but for the two pipes. */
static void keep_fds(int *ready, int *go)
{
	int r = fcntl(*ready, F_DUPFD_CLOEXEC, 100), g = fcntl(*go, F_DUPFD_CLOEXEC, 100);

	syscall(SYS_close_range, 3u, 99u, 0u);
	*ready = r;
	*go = g;
	syscall(SYS_close_range, (unsigned)(r > g ? r : g) + 1, ~0u, 0u);
}

/* 'g' when the shim has been told of us; end of file when `create` failed or was killed. */
static bool may_live(int go)
{
	char c = 0;
	ssize_t n;

	do
		n = read(go, &c, 1);
	while (n < 0 && errno == EINTR);
	close(go);
	return n == 1 && c == 'g';
}

/*
 * Ours, runc's and CRIU's would hold the application's memory; its own limit comes back with it.  One byte is the kernel's word for none, also where cores are
 * piped to a handler (fs/coredump.c, core(5)).
 */
static void forbid_cores(void)
{
	struct rlimit core;

	if (getrlimit(RLIMIT_CORE, &core) == 0) {
		core.rlim_cur = core.rlim_max < 1 ? core.rlim_max : 1;
		setrlimit(RLIMIT_CORE, &core);
	}
}

static void __attribute__((noreturn)) monitor_main(const struct monitor_spec *s, int ready, int go)
{
	struct monitor m = { .spec = s, .signal_fd = -1, .listen_fd = -1, .agent_fd = -1, .relay_listen_fd = -1, .relay = RELAY_NONE, .gate_fd = -1, .init_fd = -1,
			     .filler = FILLER_NONE, .guard = GUARD_NONE, .given = { -1, -1, -1 }, .exit_status = -1 };
	int r;

	keep_fds(&ready, &go);
	umask(0077);
	setsid();
	prctl(PR_SET_NAME, "pm-monitor");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	forbid_cores();
	r = set_up(&m, &m.error);
	dprintf(ready, "%c%s", r < 0 ? '-' : '+', r < 0 ? m.error.message : "");
	close(ready);
	if (r < 0)
		_exit(MONITOR_EXIT_FAILED);
	if (!may_live(go)) {
		cgroups_return(&m.home, NULL);
		cgroups_remove(&m.home, s->cgroups_path);
		tree_remove(AT_FDCWD, m.dir, NULL);
		_exit(MONITOR_EXIT_FAILED);
	}
	while (m.exit_status < 0)
		wait_event(&m);
	guard_end(&m.guard);
	_exit(m.exit_status);
}

static int hear_ready(int fd, struct error *err)
{
	char text[sizeof(err->message)];
	size_t len = 0;
	ssize_t n;

	while (len < sizeof(text) - 1 && ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0 || (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	text[len] = '\0';
	if (text[0] == '+')
		return 0;
	return error_set(err, -EIO, "the monitor could not start: %s", len > 1 ? text + 1 : "it ended");
}

int monitor_spawn(const struct monitor_spec *s, pid_t *ret_pid, int *ret_go, struct error *err)
{
	cleanup_close int ready_r = -1, ready_w = -1, go_r = -1, go_w = -1;
	int ready[2], go[2], r;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	ready_r = ready[0];
	ready_w = ready[1];
	if (pipe2(go, O_CLOEXEC) < 0)
		return error_errno(err, "pipe");
	go_r = go[0];
	go_w = go[1];
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0) {
		close(ready_r);
		close(go_w);
		monitor_main(s, ready_w, go_r);
	}
	close(take_fd(&ready_w));
	r = hear_ready(ready_r, err);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	*ret_pid = pid;
	*ret_go = take_fd(&go_w);
	return 0;
}
