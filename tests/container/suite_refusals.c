/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../process_check.h"
#include "base/clock.h"
#include "base/file.h"
#include "box.h"
#include "check.h"
#include "dump.h"
#include "migration/reason.h"

#define GROUP "/container-test/podct-refuse"

/* CRIU fails: its own line is in the error, the reason is told, and the source lives. */
static void dump_fails(const struct place *at, struct box *b, struct freezer *f, int reason, const char *criu_text)
{
	struct error err = { 0 };
	struct dump d;
	int r;

	if (!check(dump_start(&d, at, b, &err) && freezer_freeze(f, clock_mono_us() + 20000000, &err) == 0 && dump_go(&d, &err),
		   "start a dump of it"))
		return;
	r = runc_dump_wait_ready(&d.dump, clock_mono_us() + 60000000, &err);
	check(r < 0 && err.reason == reason && strstr(err.message, criu_text), "CRIU cannot dump it (%s): %s",
	      reason_name(err.reason), err.message);
	runc_dump_abort(&d.dump);
	freezer_thaw(f, &err);
	check(dump_processes_left(&d) == 0 && !dump_traced(b->pid) && box_counts_on(b), "the source counts on");
	dump_end(&d);
}

static void refused(const struct place *at, const char *mode, int reason, const char *criu_text)
{
	struct box b = { 0 };
	struct freezer f;
	struct error err = { 0 };
	int r;

	if (!check(box_start(&b, at, "ct-refuse", GROUP, mode, 1), "start a container with: %s", mode)) {
		box_stop(&b);
		return;
	}
	r = process_check(b.pid, &err);
	check(r < 0 && err.reason == reason && strstr(err.message, "fd "), "found beforehand: %s", err.message);
	if (check(box_freezer(at, &b.pid, 1, &f, &err) == 0, "its group is found")) {
		dump_fails(at, &b, &f, reason, criu_text);
		freezer_close(&f);
	}
	box_stop(&b);
}

/* A listener outside of the container, in the folder it has bound. */
static pid_t outside(const struct place *at)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char dir[300];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	snprintf(dir, sizeof(dir), "%s%s/ct-refuse/data", at->here, at->base);
	snprintf(to.sun_path, sizeof(to.sun_path), "%.90s/outside", dir);
	if (dir_make(AT_FDCWD, dir, 0755, NULL) < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || listen(fd, 4) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		int peer = accept(fd, NULL, NULL);

		(void)peer;
		for (;;)
			pause();
	}
	close(fd);
	return pid;
}

void suite_refusals(const struct place *at)
{
	struct error err = { 0 };
	pid_t pid;

	refused(at, "io_uring", REASON_IOUringInUse, "send_fds failed");
	pid = outside(at);
	if (check(pid > 0, "a listener outside")) {
		refused(at, "unix", REASON_ExternalUnixSocket, "Can't dump half of stream unix connection");
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	check(process_check(1 << 30, &err) < 0, "a process that is not there: %s", err.message);
	check(runc_init_pid(&(struct runc){ .host_pid = at->host_pid, .root = "/run/ct-runc", .netns_fd = -1 }, "ct-nobody", &pid, &err) < 0,
	      "a container that is not there: %s", err.message);
}
