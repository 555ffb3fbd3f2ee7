/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "fill.h"
#include "monitor.h"

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
	r = filler_give(&m->filler, m->given[0], m->given[1], err);
	fill_drop(m);
	return r;
}

void fill_drop(struct monitor *m)
{
	for (int i = 0; i < 2; i++)
		if (m->given[i] >= 0)
			close(take_fd(&m->given[i]));
}

/* When CRIU has gone, runc tells why by its end. */
void fill_event(struct monitor *m)
{
	struct error err = { 0 };
	int r = filler_hear(&m->filler, &err);

	if (r == 1)
		barrier_check(m);
	if (r >= 0 || m->aborting || m->opened)
		return;
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
	if (m->state == STATE_RESTORING && !m->aborting && m->hook_fd >= 0 && (!m->lazy || m->filler.done))
		enter_barrier(m);
}
