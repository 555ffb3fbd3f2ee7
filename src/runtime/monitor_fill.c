/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "fill.h"
#include "monitor.h"
#include "runtime/monitor.h"

int fill_prepare(struct monitor *m, const char *work, struct error *err)
{
	int r = filler_start(work, &m->filler, err);

	m->lazy = r == 0;
	return r;
}

int fill_take(struct monitor *m, struct error *err)
{
	int r;

	if (m->given[1] < 0)
		return error_set(err, -EINVAL, "no list of pages and page store came along");
	r = filler_give(&m->filler, m->given[0], m->given[1], m->given[2], err);
	fill_drop(m);
	return r;
}

void fill_drop(struct monitor *m)
{
	for (size_t i = 0; i < sizeof(m->given) / sizeof(m->given[0]); i++)
		if (m->given[i] >= 0)
			close(take_fd(&m->given[i]));
}

/* Where the source agent of a later migration looks: a process that lacks pages cannot be dumped. */
static int note_filling(const struct monitor *m, struct error *err)
{
	char path[RECORD_DIR_MAX + 32];

	if (path_format(path, sizeof(path), "%s/%s", m->dir, MONITOR_FILLING) < 0)
		return error_set(err, -ENAMETOOLONG, "restore: a path is too long");
	return file_write(AT_FDCWD, path, "", 0, 0600, false, err);
}

static void note_filled(const struct monitor *m)
{
	char path[RECORD_DIR_MAX + 32];

	if (path_format(path, sizeof(path), "%s/%s", m->dir, MONITOR_FILLING) == 0)
		unlink(path);
}

/* Kernel log of the node: the agent may be gone. */
static void tell_node(const struct monitor *m)
{
	cleanup_close int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		dprintf(fd, "<3>podmigration: container %s is killed: %s\n", m->spec->id, m->error.message);
}

/*
 * The program runs and lacks pages that nobody can bring any more.  Whoever touches one waits: nothing wrong is ever read, but nothing goes on either.  So it is
 * ended as by the kernel when memory runs out, and the kubelet starts the container anew.
 */
static void lose(struct monitor *m, const struct error *why)
{
	error_set(&m->error, -EIO, "the container was killed, its memory was not complete: %s", why->message);
	tell_node(m);
	agent_tell(m, m->error.message);
	if (m->init > 1)
		kill(m->init, SIGKILL);
	cgroups_kill(&m->home, m->spec->cgroups_path);
}

/* When CRIU has gone, runc tells why by its end. */
void fill_event(struct monitor *m)
{
	struct error err = { 0 };
	int r = filler_hear(&m->filler, &err);

	if (r == 1 && m->filler.done) {
		note_filled(m);
		if (m->opened)
			agent_tell(m, NULL);
	}
	if (r == 1)
		barrier_check(m);
	if (r >= 0 || m->aborting)
		return;
	if (m->opened) {
		lose(m, &err);
		return;
	}
	m->error = err;
	monitor_abort(m, MONITOR_EXIT_FAILED);
}

static void enter_barrier(struct monitor *m)
{
	FAULT_POINT("monitor.barrier", m->spec->migration);
	monitor_enter(m, STATE_BARRIER);
}

void barrier_check(struct monitor *m)
{
	struct error err = { 0 };

	if (m->state != STATE_RESTORING || m->aborting || !m->relay.held || (m->lazy && !m->filler.ready))
		return;
	if (m->lazy && !m->filler.done) {
		process_keep();
		if (note_filling(m, &err) < 0) {
			m->error = err;
			monitor_abort(m, MONITOR_EXIT_FAILED);
			return;
		}
	}
	enter_barrier(m);
}
