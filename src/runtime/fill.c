/* SPDX-License-Identifier: Apache-2.0 */
#include "fill.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fill_run.h"

#define SOCKET_NAME "lazy-pages.socket" /* criu/uffd.c, LAZY_PAGES_SOCK_NAME */

/* By way of /proc, since a socket's path ends at 107 bytes. */
static int listen_in(const char *work, struct error *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int dir = open(work, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (dir < 0 || fd < 0)
		return error_errno(err, "open %s", work);
	unlinkat(dir, SOCKET_NAME, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/%s", dir, SOCKET_NAME);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		return error_errno(err, "listen on %s/%s", work, SOCKET_NAME);
	return take_fd(&fd);
}

/* One fd for each task. */
static void raise_limit(void)
{
	const struct rlimit want = { 1 << 20, 1 << 20 };
	struct rlimit have;

	if (setrlimit(RLIMIT_NOFILE, &want) < 0 && getrlimit(RLIMIT_NOFILE, &have) == 0) {
		have.rlim_cur = have.rlim_max;
		setrlimit(RLIMIT_NOFILE, &have);
	}
}

void process_keep(void)
{
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	/* Not everybody may (CAP_SYS_RESOURCE). */
	if (fd >= 0 && write(fd, "-1000", 5) < 0)
		return;
}

static void __attribute__((noreturn)) be_filler(int listen_fd, int control_fd, int monitor_fd, pid_t monitor)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != monitor)
		_exit(1);
	/* It maps the memory of the application: no core of it (monitor.c tells why one byte). */
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 1 });
	prctl(PR_SET_NAME, "pm-filler");
	raise_limit();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fill_main(listen_fd, control_fd, monitor_fd);
}

int filler_start(const char *work, struct filler *ret, struct error *err)
{
	cleanup_close int listen_fd = listen_in(work, err), ours = -1, its = -1, monitor = -1;
	pid_t pid, self = getpid();
	int pair[2];

	if (listen_fd < 0)
		return listen_fd;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "socketpair");
	ours = pair[0];
	its = pair[1];
	monitor = (int)syscall(SYS_pidfd_open, self, 0);
	if (monitor < 0)
		return error_errno(err, "pidfd_open");
	/* As fork(2), but for the open files; this process has one thread. */
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		return error_errno(err, "clone");
	if (pid == 0)
		be_filler(listen_fd, its, monitor, self);
	take_fd(&listen_fd);
	take_fd(&monitor);
	*ret = (struct filler){ .pid = pid, .fd = take_fd(&ours), .its_fd = take_fd(&its), .pidfd = (int)syscall(SYS_pidfd_open, pid, 0) };
	if (ret->pidfd >= 0)
		return 0;
	error_errno(err, "pidfd_open");
	filler_stop(ret);
	return -EIO;
}

int filler_give(const struct filler *f, int list_fd, int store_fd, int later_fd, struct error *err)
{
	const int fds[] = { list_fd, store_fd, later_fd };
	size_t len = later_fd < 0 ? sizeof(fds) - sizeof(fds[0]) : sizeof(fds);
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(fds))];
	} control = { 0 };
	char word = FILL_GIVE;
	struct iovec iov = { &word, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_SPACE(len) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), fds, len);
	return sendmsg(f->fd, &m, MSG_NOSIGNAL) < 0 ? error_errno(err, "give the list of pages to the filler") : 0;
}

/* When this fails it is dead, and filler_hear will tell. */
void filler_barrier(const struct filler *f)
{
	const char word = FILL_BARRIER;

	if (f->fd >= 0)
		send(f->fd, &word, 1, MSG_NOSIGNAL);
}

static bool is_dead(const struct filler *f)
{
	struct pollfd p = { f->pidfd, POLLIN, 0 };

	return f->pidfd < 0 || poll(&p, 1, 0) != 0;
}

int filler_open(const struct filler *f, const int cut[2], struct error *err)
{
	struct fill_open m = { .word = FILL_OPEN, .cut = { cut ? cut[0] : -1, cut ? cut[1] : -1 } };

	if (f->done && is_dead(f))
		return 0;
	if (is_dead(f) || send(f->fd, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		return error_set(err, -ESRCH, "the process that fills the memory has ended");
	return 0;
}

static void close_all(struct filler *f)
{
	int *const fds[] = { &f->fd, &f->its_fd, &f->pidfd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(take_fd(fds[i]));
}

/* Nothing more to hear. */
static int hear_end(struct filler *f, struct error *err)
{
	close_all(f);
	return f->done || f->gone ? 0 : error_set(err, -EIO, "the process that fills the memory has ended");
}

int filler_hear(struct filler *f, struct error *err)
{
	char text[sizeof(err->message) + 1];
	unsigned long long pages = 0;
	bool dead = is_dead(f);
	long long micros = 0;
	ssize_t n = f->fd < 0 ? -1 : recv(f->fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n <= 0)
		return dead ? hear_end(f, err) : 0;
	text[n] = '\0';
	switch (text[0]) {
	case FILL_FAILED:
		return error_set(err, -EIO, "%s", text + 1);
	case FILL_GONE:
		f->gone = true;
		return 0;
	case FILL_READY:
		f->ready = true;
		return 1;
	default:
		if (text[0] != FILL_DONE || sscanf(text + 1, "%llu %lld", &pages, &micros) != 2)
			return error_set(err, -EPROTO, "the process that fills the memory says nothing that is understood");
		f->done = true;
		f->pages = pages;
		f->micros = micros;
		return 1;
	}
}

void filler_reaped(struct filler *f)
{
	f->pid = 0;
}

/* The filler's, in the table that was shared with it. */
static void close_userfaultfds(void)
{
	cleanup_closedir DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		char target[32];
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		if (n < 0)
			continue;
		target[n] = '\0';
		if (!strcmp(target, "anon_inode:[userfaultfd]"))
			close((int)strtol(e->d_name, NULL, 10));
	}
}

void filler_stop(struct filler *f)
{
	close_all(f);
	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
		close_userfaultfds();
	}
	f->pid = 0;
}
