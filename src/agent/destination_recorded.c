/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "destination.h"
#include "migration/reason.h"

/*
 * A source in the other cluster has given its word and stands still until it hears the outcome, and the record says Abort long before this side would ask it, at the commit.  That word is for ever, and
 * nobody opens anything without the other one: so what is told is true at any time, while memory comes in, during a restore, with a commit under way that will be refused, and if this worker ends behind it.
 */

bool destination_tell_abort(struct destination *d, const struct error *cause)
{
	bool there;

	pthread_mutex_lock(&d->wire_lock);
	there = d->wire != NULL;
	if (there && !d->told_abort)
		destination_say_no(d, WIRE_ABORT, cause);
	d->told_abort = there;
	pthread_mutex_unlock(&d->wire_lock);
	return there;
}

/* A source that sends does not read; it sees at once that nobody listens any more, and then reads what was said last. */
static void end_stream(struct destination *d)
{
	pthread_mutex_lock(&d->wire_lock);
	if (d->wire)
		wire_interrupt(d->wire);
	pthread_mutex_unlock(&d->wire_lock);
}

static void on_abort(void *ctx)
{
	struct destination *d = ctx;
	const struct error *own = destination_own_failure(d);
	struct error cause = { 0 };

	error_reason(&cause, 0, REASON_Cancelled, "%s", DESTINATION_ABORTED);
	destination_tell_abort(d, own ? own : &cause);
	end_stream(d);
	/* What is restored meanwhile is restored in vain, and the source wants the processor. */
	destination_abort(d);
	log_info("the record says that it is given up", LOG_S("migration", d->note.migration));
}

void destination_watch_record(struct destination *d)
{
	struct error why = { 0 };

	if (record_watch(d->record, on_abort, d, &why) < 0)
		log_warning("that the migration is given up will be heard at the commit only", LOG_S("migration", d->note.migration), LOG_S("err", why.message));
}

bool destination_is_aborted(const struct destination *d)
{
	return d->record && record_is_aborted(d->record);
}
