/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <stddef.h>

/* Restored, or so far that it could be: only what is dead and was not opened never runs. */
static bool may_still_run(const struct world *w)
{
	return w->dst_app == APP_RESTORING || w->dst_app == APP_BARRIER || w->dst_app == APP_OPEN;
}

/* By a dry run: anything but a destination pod that was asked for; nothing is sent to that one. */
static bool touched(const struct world *w)
{
	return w->was_frozen || w->o.phase == PHASE_Transferring || (w->source.state >= SRC_SendingAhead && w->source.state <= SRC_Moved) || (w->dst.there && w->dry != DRY_DESTINATION) || w->opened ||
	       w->o.decision == DECISION_COMMIT || (w->src.deleting && !w->user_src);
}

/* What must hold after every event. */
void judge_now(struct sim *s, const struct world *w)
{
	const struct object *o = &w->o;

	if (s->violation)
		return;
	if (w->src_app == APP_RUNNING && w->dst_app == APP_OPEN)
		violate(s, "TWO: the source and the destination run");
	else if (w->opened && w->thawed)
		violate(s, "TWO: opened at the destination and thawed at the source");
	else if (w->cold && w->src_app == APP_FROZEN && !w->user_src)
		violate(s, "COLD: started from its image, and only the frozen source holds its memory");
	else if (w->dst_app == APP_OPEN && o->exists && o->decision != DECISION_COMMIT)
		violate(s, "opened without a commit");
	else if (w->thawed && o->exists && o->decision == DECISION_COMMIT && may_still_run(w))
		violate(s, "thawed although it is committed and the destination may run");
	else if (w->dry && touched(w))
		violate(s, "a dry run has touched something");
	else if (w->dry == DRY_DESTINATION && o->exists && o->phase == PHASE_Succeeded && !w->welcomed)
		violate(s, "a dry run finds nothing in the way, and the destination was not asked");
	else if (!w->dry && o->exists && o->phase == PHASE_Succeeded && (w->src.there || !(w->opened || w->user_dst || w->dst_died)))
		violate(s, "Succeeded, and that is not what happened");
	else if (o->exists && (o->phase == PHASE_Failed || o->phase == PHASE_Cancelled) && (w->opened || (o->decision == DECISION_COMMIT && o->state != SOURCE_Aborted)))
		violate(s, "Failed or Cancelled, and that is not what happened");
	else if (o->exists && o->state == SOURCE_Aborted && o->decision == DECISION_NONE)
		violate(s, "reported Aborted, and it can still be committed");
	else if (o->exists && o->state == SOURCE_Running && !w->opened && !o->error)
		violate(s, "reported Running, and nothing was opened");
	else if ((w->receipt_there || w->receipt_home || o->receipt) && !(w->opened && (!w->later || w->filled)))
		violate(s, "a receipt is given, and it does not run there, or not whole");
	else if (o->exists && w->src.deleting && !w->user_src && (o->decision != DECISION_COMMIT || !w->opened))
		violate(s, "the source is deleted before the destination runs");
}

/* A container that dies before it was opened is no loss as long as its agent lives to tell. */
static bool lost_to_a_person_or_a_crash(const struct world *w)
{
	return w->user_dst || w->dst_lost || (w->dst_power && w->dst_app != APP_WAITING) || (w->dst_died && (w->opened || w->dst_crashed));
}

/* Without the pod network: memory that is still at the source cannot come, and a destination that never ran cannot say so.  The source is whole, and a person is told. */
static bool cut_off(const struct world *w)
{
	return w->severed && !w->remote && !w->opened && (w->later || w->dst_died) && (w->src_app == APP_FROZEN || w->user_src);
}

static const char *judge_copies(const struct world *w)
{
	bool committed = w->o.exists ? w->o.decision == DECISION_COMMIT : w->opened;

	/* Given back; or a person has deleted the source meanwhile. */
	if (committed && !w->opened && w->o.state == SOURCE_Aborted)
		return w->src_app == APP_RUNNING || w->user_src ? NULL : "NONE: given back, and the source does not run";
	if (committed)
		return w->dst_app == APP_OPEN || lost_to_a_person_or_a_crash(w) || cut_off(w) ? NULL : "NONE: committed, and nothing runs at the destination";
	return w->src_app == APP_RUNNING || w->user_src || (!w->o.exists && (lost_to_a_person_or_a_crash(w) || cut_off(w))) ? NULL :
	       "NONE: not committed, and the source does not run";
}

/* Nothing has gone wrong, and nobody has come between. */
static bool quiet(const struct world *w)
{
	return !w->faulty && !w->sever_at && !w->user_src && !w->user_dst && !w->o.cancel && !w->o.deleting;
}

static const char *judge_record(const struct world *w)
{
	const struct object *o = &w->o;
	bool person = o->exists && o->phase == PHASE_Committed && o->stuck && (lost_to_a_person_or_a_crash(w) || cut_off(w));

	if (!o->exists || person)
		return NULL;
	if (!phase_ended((enum phase)o->phase))
		return "NO END: the phase is not an end";
	if (o->finalizer)
		return "NO END: the finalizer was not taken off";
	if ((o->phase != PHASE_Succeeded || w->dry) && w->dst.there)
		return "a destination pod is left behind";
	if (w->dry && w->src.there && w->src.order != ORDER_NONE)
		return "a dry run has left an order on the pod";
	/* Who begins may dial too early, and ends then; at home it is asked by the object itself. */
	if (w->dry == DRY_DESTINATION && quiet(w) && o->phase != PHASE_Succeeded && w->remote && !w->source.started)
		return "a dry run that nothing stood in the way of is not Succeeded";
	/* With faults the word of the agent that has asked the destination may come late, or the pod not go in time. */
	if (w->dry && dry_done(o) && (w->dry == DRY_SOURCE || quiet(w)) && o->phase != PHASE_Succeeded)
		return "a dry run has found nothing in the way, and is not Succeeded";
	if ((o->phase == PHASE_Cancelled) != (o->by_person || (o->decision == DECISION_NONE && o->cancel)) && o->phase != PHASE_Succeeded &&
	    o->decision == DECISION_ABORT)
		return "Cancelled or Failed, and it was the other";
	return w->journal ? "a journal is left behind" : NULL;
}

/* What must hold when nothing more happens by itself. */
void judge_end(struct sim *s, const struct world *w)
{
	const char *bad = judge_copies(w);

	if (!bad)
		bad = judge_record(w);
	if (bad)
		violate(s, bad);
}
