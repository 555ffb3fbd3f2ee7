/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "probe.h"
#include "record.h"
#include "runtime.h"

/* Ours, and the application is not there (yet, or never came). */
static bool before_restored(const struct oci_args *a, struct record *r)
{
	return record_load(a->id, r) && !record_is_runcs(r);
}

static int refuse(const struct oci_args *a, const char *why)
{
	struct error err = { 0 };

	error_set(&err, -EBUSY, "%s: %s", a->command, why);
	return report_error(a, &err);
}

/* A monitor runs from the moment it is created; `runc start` would fail on what it has restored. */
int command_start(const struct oci_args *a)
{
	struct record r;

	return record_load(a->id, &r) && r.state != STATE_COLD ? 0 : runc_exec(a);
}

static bool is_sigkill(const char *s)
{
	static const char *const names[] = { "9", "KILL", "SIGKILL" };

	for (size_t i = 0; s && i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(s, names[i]))
			return true;
	return false;
}

/* Any other signal means "end" as well: there is no application that could know what it is for. */
int command_kill(const struct oci_args *a)
{
	struct record r;
	int fd, rc;

	if (!before_restored(a, &r))
		return runc_exec(a);
	fd = record_monitor(&r);
	if (fd < 0)
		/* runc's words, which the shim knows (containerd: process/utils.go, checkKillError). */
		return refuse(a, "container not running");
	rc = (int)syscall(SYS_pidfd_send_signal, fd, is_sigkill(a->operand) ? SIGKILL : SIGTERM, NULL, 0);
	close(fd);
	return rc < 0 ? refuse(a, "container not running") : 0;
}

int command_state(const struct oci_args *a)
{
	cleanup_buf struct buf b = BUF_INIT(8192);
	char now[CLOCK_RFC3339_SIZE], rootfs[1100];
	struct record r;
	int fd;

	if (!before_restored(a, &r))
		return runc_exec(a);
	fd = record_monitor(&r);
	clock_rfc3339(r.created * 1000000ll, 1, now);
	if (path_format(rootfs, sizeof(rootfs), "%s/rootfs", r.bundle) < 0 || buf_puts(&b, "{\"ociVersion\":\"1.0.2\"") < 0 ||
	    json_put_member(&b, "id", a->id) < 0 || buf_printf(&b, ",\"pid\":%d", fd >= 0 ? r.pid : 0) < 0 ||
	    json_put_member(&b, "status", fd >= 0 ? "running" : "stopped") < 0 || json_put_member(&b, "bundle", r.bundle) < 0 ||
	    json_put_member(&b, "rootfs", rootfs) < 0 || json_put_member(&b, "created", now) < 0 || buf_puts(&b, "}\n") < 0)
		return refuse(a, "the container's paths are too long");
	if (fd >= 0)
		close(fd);
	return write_full(STDOUT_FILENO, b.data, b.len) < 0;
}

/*
 * As JSON, as the shim asks for it (`ps --format json ID`).  A containerd that is started anew asks each shim for its container's processes, and takes a shim that names none
 * for one that a crash has left behind: it forgets the container and lets the kubelet start another one (containerd 2.1: core/runtime/v2/shim_load.go, loadShim).
 */
int command_ps(const struct oci_args *a)
{
	cleanup_buf struct buf b = BUF_INIT(32);
	struct record r;
	int fd;

	if (!before_restored(a, &r))
		return runc_exec(a);
	fd = record_monitor(&r);
	if (fd < 0)
		return refuse(a, "container not running");
	close(fd);
	return buf_printf(&b, "[%d]\n", r.pid) < 0 || write_full(STDOUT_FILENO, b.data, b.len) < 0;
}

int command_update(const struct oci_args *a)
{
	struct record r;

	/* The kubelet updates resources of containers it has just started; `runc restore` takes them from config.json. */
	return before_restored(a, &r) ? 0 : runc_exec(a);
}

int command_refused(const struct oci_args *a)
{
	struct record r;

	return before_restored(a, &r) ? refuse(a, "the container waits for its migrated state") : runc_exec(a);
}

/* --- exec --- */

int command_exec(const struct oci_args *a)
{
	struct record r;
	bool waiting = before_restored(a, &r);

	/* A container that was started cold after a crash has the probe too, and no program of that name. */
	if (probe_is_ours(a->process))
		return probe_answer(a, waiting ? &r : NULL);
	return waiting ? refuse(a, "the container waits for its migrated state") : runc_exec(a);
}
