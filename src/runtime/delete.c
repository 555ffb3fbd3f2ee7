/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "cgroups.h"
#include "json_scan.h"
#include "lent.h"
#include "record.h"
#include "runtime.h"

/* What CRIU needs to undo a restore, with room; the shim's patience is longer. */
#define UNDO_MS 5000
#define KILL_MS 5000

static bool wait_gone(int pidfd, int ms)
{
	int64_t deadline = clock_mono_us() + ms * 1000ll;

	for (;;) {
		struct pollfd p = { pidfd, POLLIN, 0 };
		int64_t left = (deadline - clock_mono_us()) / 1000;

		if (poll(&p, 1, left > 0 ? (int)left : 0) > 0)
			return true;
		if (left <= 0)
			return false;
	}
}

static void signal_pidfd(int pidfd, int number)
{
	syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

/* In good order first: a monitor that restores makes CRIU give up. */
static void end_process(int pidfd, int first_signal)
{
	if (first_signal)
		signal_pidfd(pidfd, first_signal);
	if (wait_gone(pidfd, UNDO_MS))
		return;
	signal_pidfd(pidfd, SIGKILL);
	wait_gone(pidfd, KILL_MS);
}

/* CRIU that stands by, or will in a moment: the named pipe opened and closed is an empty image, at which it ends. */
static void refuse_at_gate(const struct record *r, int pidfd)
{
	char path[RECORD_DIR_MAX + 32];

	if (path_format(path, sizeof(path), "%s/%s", r->dir, RECORD_GATE) < 0)
		return;
	for (int ms = 0; ms < UNDO_MS && access(path, F_OK) == 0 && !wait_gone(pidfd, 5); ms += 5) {
		int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0)
			close(fd);
	}
}

/* A `runc restore` whose monitor was killed: runc and CRIU, who spoke through it, find nobody and give up by themselves. */
static void end_runc(const struct record *r)
{
	cleanup_buf struct buf b = BUF_INIT(256);
	char path[RECORD_DIR_MAX + 32];
	int64_t pid, started;
	struct span o;
	int fd;

	if (path_format(path, sizeof(path), "%s/%s", r->dir, RECORD_RUNC) < 0 || file_read(AT_FDCWD, path, &b, NULL) < 0 ||
	    json_scan(b.data, b.len, &o) < 0 || json_number_at(o, "pid", 2, RECORD_PID_MAX, &pid) < 0 ||
	    json_number_at(o, "started", 0, INT64_MAX, &started) < 0)
		return;
	fd = process_open((pid_t)pid, started);
	if (fd < 0)
		return;
	if (r->state == STATE_STARTING || r->state == STATE_STANDBY)
		refuse_at_gate(r, fd);
	end_process(fd, 0);
	close(fd);
}

static int remove_all(const struct oci_args *a, const struct record *r, struct error *err)
{
	struct cgroups all;
	char dir[1024];
	int rc;

	lent_remove(a->id);
	if (r->state != STATE_WAITING) {
		end_runc(r);
		rc = program_dir(dir, sizeof(dir));
		if (rc == 0 && (a->root || r->root[0]))
			rc = runc_delete(dir, a->root ? a->root : r->root, a->systemd_cgroup, a->id, err);
		if (rc < 0)
			return rc;
	}
	if (r->cgroup[0] && cgroups_current(&all, NULL) == 0)
		cgroups_remove(&all, r->cgroup);
	return tree_remove(AT_FDCWD, r->dir, err);
}

/* The application runs, or did: runc's to delete, then our folder.  monitor: -1 when it has none. */
static int delete_running(const struct oci_args *a, const struct record *r, int monitor)
{
	struct error err = { 0 };
	int status;

	/* A monitor that was killed in between has left them. */
	lent_remove(a->id);
	status = runc_wait(a);
	if (status)
		return status;
	if (a->force && monitor >= 0)
		end_process(monitor, 0);
	return tree_remove(AT_FDCWD, r->dir, &err) < 0 ? report_error(a, &err) : 0;
}

int command_delete(const struct oci_args *a)
{
	cleanup_close int monitor = -1;
	struct error err = { 0 };
	struct record r;

	if (!record_load(a->id, &r))
		return runc_exec(a);
	monitor = record_monitor(&r);
	if ((monitor >= 0 && r.state == STATE_RUNNING) || r.state == STATE_COLD)
		return delete_running(a, &r, monitor);
	if (monitor >= 0 && !a->force) {
		error_set(&err, -EBUSY, "cannot delete container %s that is not stopped: running", a->id);
		return report_error(a, &err);
	}
	if (monitor >= 0)
		end_process(monitor, SIGTERM);
	/* The monitor is what containerd takes for the application: when it has ended, nothing of the container may be left. */
	return remove_all(a, &r, &err) < 0 ? report_error(a, &err) : 0;
}
