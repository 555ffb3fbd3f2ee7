/* SPDX-License-Identifier: Apache-2.0 */
#include "fill.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
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

/* The monitor's standard streams are the container's: who holds them keeps the shim waiting for their end. */
static void keep_two(int *a, int *b)
{
	const struct rlimit want = { 1 << 20, 1 << 20 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), x = fcntl(*a, F_DUPFD_CLOEXEC, 100), y = fcntl(*b, F_DUPFD_CLOEXEC, 100);
	struct rlimit have;

	for (int i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	syscall(SYS_close_range, 3u, 99u, 0u);
	*a = dup3(x, 3, O_CLOEXEC);
	*b = dup3(y, 4, O_CLOEXEC);
	syscall(SYS_close_range, 5u, ~0u, 0u);
	/* One fd for each task. */
	if (setrlimit(RLIMIT_NOFILE, &want) < 0 && getrlimit(RLIMIT_NOFILE, &have) == 0) {
		have.rlim_cur = have.rlim_max;
		setrlimit(RLIMIT_NOFILE, &have);
	}
}

static void __attribute__((noreturn)) be_filler(int listen_fd, int control_fd, pid_t monitor)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != monitor)
		_exit(1);
	/* It maps the memory of the application: no core of it (monitor.c tells why one byte). */
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 1 });
	prctl(PR_SET_NAME, "pm-filler");
	keep_two(&listen_fd, &control_fd);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fill_main(listen_fd, control_fd);
}

int filler_start(const char *work, struct filler *ret, struct error *err)
{
	cleanup_close int listen_fd = listen_in(work, err), ours = -1, its = -1;
	pid_t pid, self = getpid();
	int pair[2];

	if (listen_fd < 0)
		return listen_fd;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_errno(err, "socketpair");
	ours = pair[0];
	its = pair[1];
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork");
	if (pid == 0)
		be_filler(listen_fd, its, self);
	*ret = (struct filler){ .pid = pid, .fd = take_fd(&ours) };
	return 0;
}

int filler_give(const struct filler *f, int list_fd, int store_fd, struct error *err)
{
	const int fds[2] = { list_fd, store_fd };
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(fds))];
	} control = { 0 };
	char word = FILL_GIVE;
	struct iovec iov = { &word, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(c), fds, sizeof(fds));
	return sendmsg(f->fd, &m, MSG_NOSIGNAL) < 0 ? error_errno(err, "give the list of pages to the filler") : 0;
}

/* When this fails it is dead, and filler_hear will tell. */
void filler_barrier(const struct filler *f)
{
	const char word = FILL_BARRIER;

	if (f->fd >= 0)
		send(f->fd, &word, 1, MSG_NOSIGNAL);
}

int filler_hear(struct filler *f, struct error *err)
{
	char text[sizeof(err->message) + 1];
	unsigned long long pages = 0;
	long long micros = 0;
	ssize_t n = recv(f->fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		close(take_fd(&f->fd));
		return f->done || f->gone ? 0 : error_set(err, -EIO, "the process that fills the memory has ended");
	}
	text[n] = '\0';
	if (text[0] == FILL_FAILED)
		return error_set(err, -EIO, "%s", text + 1);
	if (text[0] == FILL_GONE) {
		f->gone = true;
		return 0;
	}
	if (text[0] != FILL_DONE || sscanf(text + 1, "%llu %lld", &pages, &micros) != 2)
		return error_set(err, -EPROTO, "the process that fills the memory says nothing that is understood");
	f->done = true;
	f->pages = pages;
	f->micros = micros;
	return 1;
}

void filler_stop(struct filler *f)
{
	if (f->fd >= 0)
		close(take_fd(&f->fd));
	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
	}
	f->pid = 0;
}
