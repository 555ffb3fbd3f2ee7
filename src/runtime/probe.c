/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "json_scan.h"
#include "migration/names.h"
#include "runtime.h"

#define PROCESS_MAX (1u << 20)
/*
 * What the kubelet does next leaves the processors to the containers of the pod that are just being resumed.  Not for longer: with it begins what makes the pod Ready, and until
 * then a Service has no address that answers.
 */
#define SETTLE_MS 60

bool probe_is_ours(const char *process_file)
{
	cleanup_buf struct buf b = BUF_INIT(PROCESS_MAX);
	struct span process, args, at, first, second;

	if (!process_file || file_read(AT_FDCWD, process_file, &b, NULL) < 0 || json_scan(b.data, b.len, &process) < 0 ||
	    !json_member(process, "args", &args))
		return false;
	at = json_members(args);
	return json_next(&at, NULL, &first) && json_equals(first, PM_STARTED_COMMAND) && !json_next(&at, NULL, &second);
}

/* Until the monitor has said how it went, or has died: the probe's exit status. */
static int wait_started(const char *id, const struct record *r)
{
	cleanup_close int monitor = record_monitor(r), changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	struct pollfd p[] = { { monitor, POLLIN, 0 }, { changes, POLLIN, 0 } };
	char events[4096] __attribute__((aligned(8)));
	struct record now;

	if (monitor < 0 || changes < 0 || inotify_add_watch(changes, r->dir, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF) < 0)
		return 1;
	while (record_load(id, &now) && now.state != STATE_FAILED) {
		if (now.state == STATE_RUNNING) {
			poll(NULL, 0, SETTLE_MS);
			return 0;
		}
		if (p[0].revents)
			return 1;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return 1;
		while (read(changes, events, sizeof(events)) > 0)
			;
	}
	return 1;
}

/*
 * The shim wants a process of its own to wait for: it becomes the shim's when we end, and ends then (end of file on the pipe), not before, so that it is
 * never taken for our zombie.
 */
static void __attribute__((noreturn)) probe_main(const char *id, const struct record *waiting, int pipe_r, int pipe_w)
{
	char c;

	for (int fd = 0; fd < 3; fd++)
		close(fd);
	close(pipe_w);
	prctl(PR_SET_NAME, "pm-probe");
	while (read(pipe_r, &c, 1) < 0 && errno == EINTR)
		;
	_exit(waiting ? wait_started(id, waiting) : 0);
}

int probe_answer(const struct oci_args *a, const struct record *waiting)
{
	struct error err = { 0 };
	char text[16];
	int p[2], n;
	pid_t pid;

	if (!a->detach || !a->pid_file)
		return waiting ? wait_started(a->id, waiting) : 0;
	if (pipe2(p, O_CLOEXEC) < 0) {
		error_errno(&err, "exec: pipe");
		return report_error(a, &err);
	}
	pid = fork();
	if (pid < 0) {
		error_errno(&err, "exec: fork");
		return report_error(a, &err);
	}
	if (pid == 0)
		probe_main(a->id, waiting, p[0], p[1]);
	n = snprintf(text, sizeof(text), "%d", pid);
	if (file_write(AT_FDCWD, a->pid_file, text, (size_t)n, 0644, false, &err) == 0)
		return 0;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return report_error(a, &err);
}
