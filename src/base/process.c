/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

/* What the child says on its status pipe when it fails before exec. */
struct failure {
	int code;
	char what[32];
};

static void __attribute__((noreturn)) child_fail(int fd, const char *what)
{
	struct failure f = { errno, "" };

	snprintf(f.what, sizeof(f.what), "%s", what);
	if (write(fd, &f, sizeof(f)) < 0)
		_exit(126);
	_exit(127);
}

/* Opened before the first setns: afterwards /proc of another pid namespace's mount could answer. */
static const struct {
	const char *name;
	int type;
} host_ns[] = {
	{ "cgroup", CLONE_NEWCGROUP }, { "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS }, { "net", CLONE_NEWNET }, { "mnt", CLONE_NEWNS },
};
#define N_HOST_NS (sizeof(host_ns) / sizeof(host_ns[0]))

static void enter_host(pid_t pid, int status_fd)
{
	int fd[N_HOST_NS], root;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		child_fail(status_fd, "open the node's root");
	for (size_t i = 0; i < N_HOST_NS; i++) {
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, host_ns[i].name);
		fd[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fd[i] < 0)
			child_fail(status_fd, "open the node's namespaces");
	}
	for (size_t i = 0; i < N_HOST_NS; i++)
		if (setns(fd[i], host_ns[i].type) < 0)
			child_fail(status_fd, "enter the node's namespaces");
	/* setns(CLONE_NEWNS) sets the root to the namespace's own; a node may itself be chrooted below it. */
	if (fchdir(root) < 0 || chroot(".") < 0)
		child_fail(status_fd, "enter the node's root");
}

static bool kept(const int *keep, int fd)
{
	for (; keep && *keep >= 0; keep++)
		if (*keep == fd)
			return true;
	return false;
}

/* Everything above 2 becomes close-on-exec except what the caller keeps. */
static void close_rest(const int *keep)
{
	syscall(SYS_close_range, 3u, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC, kernel 5.11 */);
	for (; keep && *keep >= 0; keep++)
		fcntl(*keep, F_SETFD, 0);
}

static void set_stdio(int fd, int target, int fallback, int status_fd)
{
	if (fd < 0)
		fd = fallback;
	if (fd < 0)
		fd = open("/dev/null", target == 0 ? O_RDONLY : O_WRONLY);
	if (fd < 0 || (fd != target && dup2(fd, target) < 0) || (fd == target && fcntl(fd, F_SETFD, 0) < 0))
		child_fail(status_fd, "set up stdio");
}

static void __attribute__((noreturn)) child_main(const struct process_spec *s, int out, int status_fd)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (s->die_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		child_fail(status_fd, "set parent death signal");
	for (const int *fd = s->cgroup_fds; fd && *fd >= 0; fd++)
		if (write(*fd, "0", 1) != 1)
			child_fail(status_fd, "join a cgroup");
	if (s->host_root_pid > 0)
		enter_host(s->host_root_pid, status_fd);
	if (s->netns_fd > 0 && setns(s->netns_fd, CLONE_NEWNET) < 0)
		child_fail(status_fd, "enter the network namespace");
	if (chdir(s->cwd ? s->cwd : "/") < 0)
		child_fail(status_fd, "change folder");
	set_stdio(s->stdin_fd, 0, -1, status_fd);
	set_stdio(s->stdout_fd, 1, out, status_fd);
	set_stdio(s->stderr_fd, 2, out, status_fd);
	close_rest(s->keep_fds);
	if (!kept(s->keep_fds, status_fd))
		fcntl(status_fd, F_SETFD, FD_CLOEXEC);
	if (s->env)
		execvpe(s->argv[0], (char *const *)(uintptr_t)s->argv, (char *const *)(uintptr_t)s->env);
	else
		execvp(s->argv[0], (char *const *)(uintptr_t)s->argv);
	child_fail(status_fd, "run");
}

/* Moves an fd above the range that the child's stdio setup overwrites. */
static int above_stdio(int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	close(fd);
	return up;
}

static int make_pipe(int p[2])
{
	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	if (p[0] < 3)
		p[0] = above_stdio(p[0]);
	if (p[1] < 3)
		p[1] = above_stdio(p[1]);
	return p[0] < 0 || p[1] < 0 ? -1 : 0;
}

int process_start(const struct process_spec *spec, bool capture, struct process *ret, struct error *err)
{
	cleanup_close int status_r = -1, status_w = -1, out_r = -1, out_w = -1;
	struct failure f;
	int p[2], pidfd;
	pid_t pid;

	if (make_pipe(p) < 0)
		return error_errno(err, "pipe for %s", spec->argv[0]);
	status_r = p[0];
	status_w = p[1];
	if (capture) {
		if (make_pipe(p) < 0)
			return error_errno(err, "pipe for %s", spec->argv[0]);
		out_r = p[0];
		out_w = p[1];
	}
	pid = fork();
	if (pid < 0)
		return error_errno(err, "fork for %s", spec->argv[0]);
	if (pid == 0)
		child_main(spec, out_w, status_w);
	close(take_fd(&status_w));
	if (read_full(status_r, &f, sizeof(f)) == 0) {
		waitpid(pid, NULL, 0);
		errno = f.code;
		return error_errno(err, "%s %s", f.what, spec->argv[0]);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		int r = error_errno(err, "pidfd of %s", spec->argv[0]);

		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return r;
	}
	*ret = (struct process){ pid, pidfd, take_fd(&out_r) };
	return 0;
}

static void drain(struct process *p, struct buf *out)
{
	char chunk[4096];
	ssize_t n = read(p->out_fd, chunk, sizeof(chunk));

	if (n > 0 && out)
		buf_append(out, chunk, (size_t)n);
	if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
		close(take_fd(&p->out_fd));
}

/* Output that is already in the pipe when the child has ended; a grandchild may hold the pipe open for ever. */
static void drain_rest(struct process *p, struct buf *out)
{
	struct pollfd f = { p->out_fd, POLLIN, 0 };

	while (p->out_fd >= 0 && poll(&f, 1, 0) > 0)
		drain(p, out);
	if (p->out_fd >= 0)
		close(take_fd(&p->out_fd));
}

static int reap(struct process *p, int *ret_status)
{
	int st = 0;

	while (waitpid(p->pid, &st, 0) < 0)
		if (errno != EINTR)
			return -errno;
	close(take_fd(&p->pidfd));
	*ret_status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
	return 0;
}

static int poll_until(struct pollfd *f, nfds_t n, int64_t deadline_us)
{
	int64_t left = deadline_us - clock_mono_us();

	if (!deadline_us)
		return poll(f, n, -1);
	if (left <= 0)
		return 0;
	return poll(f, n, left / 1000 > 3600000 ? 3600000 : (int)((left + 999) / 1000));
}

int process_wait(struct process *p, int64_t deadline_us, struct buf *out, int *ret_status, struct error *err)
{
	int ignored = 0;
	int *status = ret_status ? ret_status : &ignored;

	for (;;) {
		struct pollfd f[2] = { { p->pidfd, POLLIN, 0 }, { p->out_fd, POLLIN, 0 } };
		int n = poll_until(f, 2, deadline_us);

		if (n < 0 && errno != EINTR)
			return error_errno(err, "wait for a child process");
		if (n == 0 && deadline_us && clock_mono_us() >= deadline_us) {
			kill(p->pid, SIGKILL);
			reap(p, status);
			drain_rest(p, out);
			return error_set(err, -ETIMEDOUT, "did not end in time and was killed");
		}
		if (n > 0 && f[1].revents)
			drain(p, out);
		if (n > 0 && f[0].revents) {
			drain_rest(p, out);
			return reap(p, status);
		}
	}
}

static const char *last_line(struct buf *b)
{
	char *nl;

	while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == ' '))
		b->data[--b->len] = '\0';
	nl = b->data ? strrchr(b->data, '\n') : NULL;
	return nl ? nl + 1 : b->data ? b->data : "";
}

int process_run(const struct process_spec *spec, int64_t timeout_us, struct buf *out, struct error *err)
{
	cleanup_buf struct buf own = BUF_INIT(65536);
	struct buf *text = out ? out : &own;
	struct process p;
	int r, status;

	r = process_start(spec, true, &p, err);
	if (r < 0)
		return r;
	r = process_wait(&p, clock_mono_us() + timeout_us, text, &status, err);
	if (r < 0)
		return error_wrap(err, r, "%s", spec->argv[0]);
	if (status != 0)
		return error_set(err, -EIO, "%s ended with status %d: %s", spec->argv[0], status, last_line(text));
	return 0;
}
