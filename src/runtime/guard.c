/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "fill.h"

#define KILL_TRIES 500
#define KILL_PAUSE_MS 10        /* nobody tells when a cgroup is empty, in version 1 */
#define END_MS 1000

/* Nothing of the container's or the monitor's: a stream or pipe that is held here has no end. */
static int keep_only(int fd)
{
	int kept = dup3(fcntl(fd, F_DUPFD_CLOEXEC, 1), 0, O_CLOEXEC);

	syscall(SYS_close_range, 1u, ~0u, 0u);
	return kept;
}

static void __attribute__((noreturn)) be_guard(const struct cgroups *all, const char *cgroups_path, int monitor)
{
	struct pollfd p = { .events = POLLIN };

	prctl(PR_SET_NAME, "pm-guard");
	p.fd = keep_only(monitor);
	process_keep();
	while (poll(&p, 1, -1) < 0)
		continue;
	for (int i = 0; i < KILL_TRIES && cgroups_kill(all, cgroups_path); i++)
		poll(NULL, 0, KILL_PAUSE_MS);
	_exit(0);
}

int guard_start(const struct cgroups *all, const char *cgroups_path, struct guard *ret, struct error *err)
{
	cleanup_close int monitor = (int)syscall(SYS_pidfd_open, getpid(), 0);
	pid_t pid;

	if (monitor < 0)
		return error_errno(err, "pidfd_open");
	pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid < 0)
		return error_errno(err, "clone");
	if (pid == 0)
		be_guard(all, cgroups_path, monitor);
	ret->fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return ret->fd < 0 ? error_errno(err, "pidfd_open") : 0;
}

void guard_end(struct guard *g)
{
	struct pollfd p = { g->fd, POLLIN, 0 };

	if (g->fd < 0)
		return;
	syscall(SYS_pidfd_send_signal, g->fd, SIGKILL, NULL, 0);
	poll(&p, 1, END_MS);
	close(take_fd(&g->fd));
}
