/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <errno.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"

uint64_t deed_answers(const struct deed_row *row, enum side side)
{
	return row->both | (side == SIDE_DECIDER ? row->decider : row->participant);
}

static const char *state_name(const struct driver *d, int state)
{
	return d->m->states[state].name;
}

/* The table is checked by the unit tests for all that a deed may answer; a mistake that is left must neither thaw nor open: the state stays. */
static uint8_t no_row(const struct driver *d, enum input in)
{
	log_error("this input has no row in the table; the state stays", LOG_S("machine", d->m->name), LOG_S("migration", d->key),
		  LOG_S("state", state_name(d, d->state)), LOG_S("input", input_name(in)));
	return d->state;
}

static void move(struct driver *d, enum input in)
{
	int next = machine_next(d->m, d->state, in, d->side);
	uint8_t from = d->state, to = next < 0 ? no_row(d, in) : (uint8_t)next;

	log_debug("move", LOG_S("machine", d->m->name), LOG_S("migration", d->key), LOG_S("from", state_name(d, from)), LOG_S("input", input_name(in)),
		  LOG_S("to", state_name(d, to)));
	if (d->moved)
		d->moved(d->ctx, from, in, to);
	d->state = to;
}

static bool order_counts(const struct driver *d)
{
	return d->ordered(d->ctx) && machine_next(d->m, d->state, INPUT_OrderAbort, d->side) >= 0;
}

/* What was done a moment ago and is to be done again waits its turn; what goes on for long waits longer. */
static void keep_pace(struct driver *d)
{
	int64_t *entered = &d->entered_us[d->state], pace = (int64_t)DRIVER_RETRY_US << d->repeated[d->state], left;

	if (pace > DRIVER_RETRY_LAST_US)
		pace = DRIVER_RETRY_LAST_US;
	left = *entered ? *entered + pace - clock_mono_us() : 0;
	if (left > 0)
		d->pause(d->ctx, left);
	if (*entered && d->repeated[d->state] < 8)
		d->repeated[d->state]++;
	*entered = clock_mono_us();
}

static enum input do_deed(struct driver *d)
{
	const struct machine_state *s = &d->m->states[d->state];
	const struct deed_row *row = &d->deeds[s->deed];
	enum input in = row->fn ? row->fn(d->ctx) : INPUT_Failed;

	if (!row->fn || !(deed_answers(row, d->side) & 1ull << in))
		log_error("a deed answers what it may not", LOG_S("machine", d->m->name), LOG_S("migration", d->key), LOG_S("deed", deed_name(s->deed)),
			  LOG_S("input", input_name(in)));
	return in;
}

int driver_run(struct driver *d, enum input first)
{
	enum input in = first;

	if (machine_next(d->m, 0, first, d->side) < 0) {
		no_row(d, first);
		return -EINVAL;
	}
	for (;;) {
		move(d, in);
		FAULT_STATE(d->m->name, state_name(d, d->state), d->key);
		if (d->m->states[d->state].at & AT_END)
			return d->state;
		keep_pace(d);
		/* An order that comes while the deed is done counts for more than its answer. */
		if (!order_counts(d))
			in = do_deed(d);
		if (order_counts(d))
			in = INPUT_OrderAbort;
	}
}
