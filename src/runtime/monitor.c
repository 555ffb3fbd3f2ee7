/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "cgroups.h"
#include "hook.h"
#include "migration/names.h"
#include "restore.h"
#include "runtime/monitor.h"

#define EXIT_FAILED 125

enum state { WAITING, RESTORING, BARRIER, RUNNING, FAILED };
static const char *const state_name[] = { "waiting", "restoring", "barrier", "running", "failed" };

struct monitor {
	const struct monitor_spec *spec;
	struct cgroups home;            /* where we came from */
	char dir[512];
	enum state state;
	char error[4096];
	int listen_fd, agent_fd;        /* monitor.sock */
	int hook_listen_fd, hook_fd;    /* hook.sock; hook_fd: CRIU waits at the barrier */
	int signal_fd;
	struct restore restore;
	pid_t init;                     /* the restored application, once it runs */
	bool opened;                    /* the barrier was opened */
};

/* --- start --- */

static int listen_on(const char *dir, const char *name, struct error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_errno(err, "socket");
	if (path_format(a.sun_path, sizeof(a.sun_path), "%s/%s", dir, name) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
	    listen(fd, 8) < 0) {
		int r = error_errno(err, "listen on %s/%s", dir, name);

		close(fd);
		return r;
	}
	return fd;
}

static int set_state(struct monitor *m, enum state s)
{
	m->state = s;
	return container_set_state(m->spec->id, state_name[s]);
}

static int write_info(struct monitor *m, cJSON *info, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(262144);
	char path[600];

	cJSON_AddNumberToObject(info, "pid", getpid());
	if (json_print(info, &b) < 0 || path_format(path, sizeof(path), "%s/%s", m->dir, MONITOR_INFO) < 0)
		return error_set(err, -ENOMEM, "info.json too large");
	return file_write(AT_FDCWD, path, b.data, b.len, 0600, false, err);
}

static int open_signals(struct error *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? error_errno(err, "signalfd") : fd;
}

static int set_up(struct monitor *m, cJSON *info, struct error *err)
{
	int r = dir_make(AT_FDCWD, PM_RUN_DIR "/" MONITOR_CONTAINERS_DIR, 0700, err);

	if (r < 0)
		return r;
	if (path_format(m->dir, sizeof(m->dir), "%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, m->spec->id) < 0)
		return error_set(err, -ENAMETOOLONG, "container id too long");
	tree_remove(AT_FDCWD, m->dir, NULL);
	if (mkdir(m->dir, 0700) < 0)
		return error_errno(err, "make folder %s", m->dir);
	m->signal_fd = open_signals(err);
	m->listen_fd = m->signal_fd < 0 ? -1 : listen_on(m->dir, MONITOR_SOCKET, err);
	m->hook_listen_fd = m->listen_fd < 0 ? -1 : listen_on(m->dir, HOOK_SOCKET, err);
	if (m->hook_listen_fd < 0)
		return -EIO;
	r = cgroups_current(&m->home, err);
	if (r == 0)
		r = cgroups_join(&m->home, m->spec->cgroups_path, err);
	if (r == 0)
		r = set_state(m, WAITING) < 0 ? error_set(err, -EIO, "state file cannot be written") : 0;
	return r == 0 ? write_info(m, info, err) : r;
}

/* --- telling the agent --- */

static void tell_agent(struct monitor *m)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	cleanup_buf struct buf b = BUF_INIT(MONITOR_PACKET_MAX);

	if (m->agent_fd < 0)
		return;
	cJSON_AddStringToObject(j, "state", state_name[m->state]);
	if (m->error[0])
		cJSON_AddStringToObject(j, "error", m->error);
	if (m->init > 0)
		cJSON_AddNumberToObject(j, "pid", m->init);
	if (json_print(j, &b) == 0 && send(m->agent_fd, b.data, b.len, MSG_NOSIGNAL) < 0)
		close(take_fd(&m->agent_fd));
}

static void enter(struct monitor *m, enum state s)
{
	if (m->state == s)
		return;
	/* The file before the message: who has been told may rely on it. */
	set_state(m, s);
	tell_agent(m);
}

static void fail(struct monitor *m, const struct error *err)
{
	snprintf(m->error, sizeof(m->error), "%s", err->message);
	enter(m, FAILED);
}

/* --- what the agent asks --- */

static void start_restore(struct monitor *m, const cJSON *op)
{
	struct error err = { 0 };
	char hook[600];

	if (m->state != WAITING) {
		tell_agent(m);
		return;
	}
	snprintf(hook, sizeof(hook), "%s/%s", m->dir, HOOK_SOCKET);
	/* The application's cgroup is the application's: a frozen or killed group must not hold its monitor. */
	if (cgroups_return(&m->home, &err) < 0 ||
	    restore_start(&m->restore, m->spec->id, m->spec->root, m->spec->bundle, m->spec->systemd_cgroup, json_str_or(op, "images", ""),
			  json_str_or(op, "work", ""), json_bool(op, "lazy"), m->dir, hook, &err) < 0) {
		fail(m, &err);
		return;
	}
	enter(m, RESTORING);
}

static void open_barrier(struct monitor *m)
{
	if (m->state != BARRIER || m->opened) {
		tell_agent(m);
		return;
	}
	m->opened = true;
	if (send(m->hook_fd, HOOK_OPEN, strlen(HOOK_OPEN), MSG_NOSIGNAL) < 0) {
		struct error err = { 0 };

		error_errno(&err, "CRIU does not wait any more");
		fail(m, &err);
	}
}

static void handle_agent(struct monitor *m)
{
	char packet[MONITOR_PACKET_MAX];
	ssize_t n = recv(m->agent_fd, packet, sizeof(packet), 0);
	cleanup_json cJSON *op = NULL;
	struct error err = { 0 };
	const char *what;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		close(take_fd(&m->agent_fd));
		return;
	}
	if (json_parse(packet, (size_t)n, sizeof(packet), &op, &err) < 0) {
		tell_agent(m);
		return;
	}
	what = json_str_or(op, "op", "");
	if (!strcmp(what, "restore")) {
		start_restore(m, op);
	} else if (!strcmp(what, "open")) {
		open_barrier(m);
	} else if (!strcmp(what, "abort") && m->state != RUNNING && !m->opened) {
		error_set(&err, -ECANCELED, "aborted");
		fail(m, &err);
	} else {
		tell_agent(m);
	}
}

static void accept_agent(struct monitor *m)
{
	int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	/* The newest agent is the living one. */
	if (m->agent_fd >= 0)
		close(m->agent_fd);
	m->agent_fd = fd;
	tell_agent(m);
}

/* --- what CRIU's hook says --- */

static void handle_hook_word(struct monitor *m, int fd)
{
	char word[16] = "";
	ssize_t n = recv(fd, word, sizeof(word) - 1, 0);

	if (n > 0 && !strcmp(word, HOOK_BARRIER) && m->state == RESTORING && m->hook_fd < 0) {
		m->hook_fd = fd;
		enter(m, BARRIER);
		return;
	}
	if (n > 0 && !strcmp(word, HOOK_RESUMED) && m->opened)
		enter(m, RUNNING);
	close(fd);
}

static void accept_hook(struct monitor *m)
{
	const struct timeval patience = { 1, 0 };
	int fd = accept4(m->hook_listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	handle_hook_word(m, fd);
}

/* --- children --- */

static void restore_ended(struct monitor *m)
{
	struct error err = { 0 };
	int r = restore_finish(&m->restore, &m->init, &err);

	if (m->hook_fd >= 0)
		close(take_fd(&m->hook_fd));
	if (r < 0 || !m->opened) {
		if (r == 0)
			error_set(&err, -EPROTO, "CRIU went past the barrier by itself");
		fail(m, &err);
		return;
	}
	enter(m, RUNNING);
}

/* The restored init's end is ours; other orphans are only reaped. -1: go on. */
static int reap(struct monitor *m)
{
	int st;

	for (;;) {
		pid_t pid = waitpid(m->init > 0 ? -1 : m->restore.process.pid > 0 ? m->restore.process.pid : -1, &st, WNOHANG);

		if (pid <= 0)
			return -1;
		if (pid == m->init)
			return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
		if (pid == m->restore.process.pid) {
			restore_reaped(&m->restore, st);
			restore_ended(m);
		}
	}
}

/* -1: go on; else the exit status. */
static int handle_signals(struct monitor *m)
{
	struct signalfd_siginfo s;

	while (read(m->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s)) {
		int r;

		if (s.ssi_signo == SIGCHLD) {
			r = reap(m);
			if (r >= 0)
				return r;
		} else if (m->state == WAITING) {
			/* Nothing is here yet: the kubelet stops an empty place. */
			return 128 + (int)s.ssi_signo;
		}
	}
	return -1;
}

/* Whatever happens to us before the application runs: it must not run. */
static int end_failed(struct monitor *m)
{
	if (m->hook_fd >= 0)
		close(take_fd(&m->hook_fd));    /* the hook exits 1, CRIU kills what it restored */
	restore_abort(&m->restore);
	return EXIT_FAILED;
}

static int loop(struct monitor *m)
{
	for (;;) {
		struct pollfd p[4] = {
			{ m->signal_fd, POLLIN, 0 }, { m->listen_fd, POLLIN, 0 }, { m->agent_fd, POLLIN, 0 }, { m->hook_listen_fd, POLLIN, 0 },
		};
		int r;

		if (m->state == FAILED)
			return end_failed(m);
		if (poll(p, 4, -1) < 0 && errno != EINTR)
			return end_failed(m);
		if (p[0].revents) {
			r = handle_signals(m);
			if (r >= 0)
				return r;
		}
		if (p[3].revents)
			accept_hook(m);
		if (p[2].revents)
			handle_agent(m);
		if (p[1].revents)
			accept_agent(m);
	}
}

static void close_rest(int keep)
{
	if (keep > 3)
		syscall(SYS_close_range, 3u, (unsigned)keep - 1, 0u);
	syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0u);
}

int monitor_main(const struct monitor_spec *s, cJSON *info, int ready_fd)
{
	struct monitor m = { .spec = s, .listen_fd = -1, .agent_fd = -1, .hook_listen_fd = -1, .hook_fd = -1, .signal_fd = -1 };
	struct error err = { 0 };
	char text[1024];
	int r;

	close_rest(ready_fd);
	setsid();
	prctl(PR_SET_NAME, "pm-monitor");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (chdir("/") < 0)
		return EXIT_FAILED;
	restore_init(&m.restore);
	r = set_up(&m, info, &err);
	snprintf(text, sizeof(text), "%c%.900s", r < 0 ? '-' : '+', r < 0 ? err.message : "");
	if (write(ready_fd, text, strlen(text)) < 0 || r < 0)
		return EXIT_FAILED;
	close(ready_fd);
	return loop(&m);
}
