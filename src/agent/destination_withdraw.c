/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"

/*
 * What is committed and cannot run here may go on at the source, if it never ran here and never will.  That is known of a container whose claim says `used` when its
 * monitor has ended: the claim is rewritten before a barrier opens (src/runtime/monitor_restore.c), and nobody but the monitor opens it.  Nothing is guessed: a
 * monitor that does not answer may have been told to open, and does it when it wakes up.
 */

#define END_TIMEOUT_US 20000000
#define TRIES 3                         /* a connection may be closed by a monitor that lives */

static enum monitor_claim claim_of(const struct destination *d, int i)
{
	return monitor_claim(d->o, d->first.pod_uid, d->containers[i].info.name);
}

bool destination_opened_any(const struct destination *d)
{
	for (int i = 0; i < d->n; i++)
		if (claim_of(d, i) >= MONITOR_OPENED)
			return true;
	return false;
}

bool destination_ran(const struct destination_container *c)
{
	return claim_of(c->d, c->index) == MONITOR_RAN;
}

static bool is_used(const struct destination *d)
{
	for (int i = 0; i < d->n; i++)
		if (claim_of(d, i) != MONITOR_USED)
			return false;
	return true;
}

/* -ECONNREFUSED, -ENOENT: nobody listens any more. */
static int connect_again(struct destination_container *c)
{
	struct error ignored = { 0 };

	monitor_close(c->monitor);
	c->monitor = NULL;
	return c->info.id[0] ? monitor_connect(c->d->o, c->info.id, &c->monitor, &ignored) : -ENOENT;
}

/* Told to abort, and seen to have ended. */
static bool ends(struct destination_container *c, int64_t deadline_us)
{
	for (int i = 0; i < TRIES && clock_mono_us() < deadline_us; i++) {
		struct error ignored = { 0 };
		int r = connect_again(c);

		if (r < 0)
			return r == -ECONNREFUSED || r == -ENOENT;
		r = monitor_abort(c->monitor, &ignored);
		if (r == 0)
			r = monitor_wait(c->monitor, "failed", deadline_us, &ignored);
		if (r == -EIO)
			return true;
	}
	return false;
}

static bool all_end(struct destination *d)
{
	int64_t deadline = clock_mono_us() + END_TIMEOUT_US;

	for (int i = 0; i < d->n; i++)
		if (!ends(&d->containers[i], deadline))
			return false;
	return is_used(d);
}

/* A monitor that was asleep may have opened, and refuse the abort when it wakes up: that must not be taken for the answer to what it is asked next. */
static void forget_aborts(struct destination *d)
{
	for (int i = 0; i < d->n; i++)
		monitor_close(take_ptr(d->containers[i].monitor));
}

bool destination_never_ran(struct destination *d)
{
	if (!is_used(d))
		return false;
	destination_abort(d);
	if (all_end(d))
		return true;
	forget_aborts(d);
	return false;
}
