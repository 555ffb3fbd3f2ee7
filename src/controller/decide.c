/* SPDX-License-Identifier: Apache-2.0 */
#include "decide.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "migration/machine.h"
#include "migration/reason.h"
#include "seen.h"
#include "view.h"

static const char *const action_names[ACTION_COUNT] = {
	[ACT_WAIT] = "Wait", [ACT_ADD_FINALIZER] = "AddFinalizer", [ACT_PREFLIGHT] = "Preflight", [ACT_PREPARE] = "Prepare",
	[ACT_LOOK] = "Look", [ACT_RECORD] = "Record", [ACT_ORDER] = "Order", [ACT_ABORT] = "Abort", [ACT_ORDER_ABORT] = "OrderAbort",
	[ACT_DELETE_DESTINATION] = "DeleteDestination", [ACT_DELETE_SOURCE] = "DeleteSource", [ACT_END] = "End",
	[ACT_ORDER_COMMIT] = "OrderCommit", [ACT_NOTE_RECEIPT] = "NoteReceipt",
	[ACT_HAND_OVER] = "HandOver", [ACT_RELEASE] = "Release", [ACT_DELETE_OBJECT] = "DeleteObject",
};

const char *action_name(enum action a)
{
	return (unsigned)a < ACTION_COUNT ? action_names[a] : "?";
}

/* --- the row that applies --- */

/* All facts of a mask; waits: for each, when time alone may change it. */
static uint64_t facts_of(const struct observed *o, uint64_t asked, int64_t waits[FACT_COUNT])
{
	struct step scratch;
	uint64_t facts = 0;

	for (int i = 0; i < FACT_COUNT; i++) {
		scratch.wait_us = 0;
		scratch.reason = REASON_NONE;
		if (asked & 1ull << i && seen_fact(o, i, &scratch))
			facts |= 1ull << i;
		waits[i] = scratch.wait_us;
	}
	return facts;
}

/* The same table and the same search as in the simulator.  What was asked on the way to the row says when to look again. */
static const struct controller_row *find_row(const struct observed *o, struct step *s)
{
	enum phase p = view_phase(o->migration);
	enum decision d = view_decision(o->migration);
	int64_t waits[FACT_COUNT];
	uint64_t facts = facts_of(o, controller_asked(controller_rows, controller_rows_n, p, d), waits), asked;
	const struct controller_row *row = controller_next(controller_rows, controller_rows_n, p, d, facts);

	asked = controller_asked(controller_rows, (int)(row - controller_rows) + 1, p, d);
	for (int i = 0; i < FACT_COUNT; i++)
		if (asked & 1ull << i && waits[i] && (!s->wait_us || waits[i] < s->wait_us))
			s->wait_us = waits[i];
	for (int i = 0; i < FACT_COUNT; i++)
		if (row->need & 1ull << i)
			seen_fact(o, i, s);
	return row;
}

/* --- what the step says --- */

static void await_pod(const struct observed *o, struct step *s)
{
	int64_t since = view_phase_time_us(o->migration, PHASE_Preparing), waited = o->now_us - since;

	step_say(s, "waiting for destination pod %s to run on node %s", seen_destination_name(o), json_str_or(o->migration, "status/destinationPod/node", "?"));
	if (!seen_over(o, s, since, LOOK_EVERY))
		return;
	/* Each look has the API server go through all Events of the namespace, which it does not keep in its cache. */
	if (o->looked)
		seen_over(o, s, o->now_us, waited / 2 > LOOK_EVERY ? waited / 2 : LOOK_EVERY);
	else
		s->action = ACT_LOOK;
}

/* The destination's receipt comes as an Event, and nobody tells of those: they are looked at, less often when it takes long. */
static void await_receipt(const struct observed *o, struct step *s)
{
	struct step ignored = { 0 };
	bool ordered = seen_fact(o, FACT_AT_OrderedCommit, &ignored), runs = seen_fact(o, FACT_AT_SeenRunning, &ignored);

	if (!ordered || runs || !o->destination)
		return;
	if (o->looked)
		seen_over(o, s, o->now_us, seen_over(o, &ignored, view_phase_time_us(o->migration, PHASE_Committed), LIMIT_READY) ? LOOK_OWED : LOOK_EVERY);
	else
		s->action = ACT_LOOK;
}

/* Only a dry run records it. */
static void say_asks(const struct observed *o, struct step *s)
{
	s->reason = REASON_NONE;
	step_say(s, "dry run: destination pod %s is there, at %s; the agents compare their nodes", seen_destination_name(o), json_str_or(o->destination, "status/podIP", ""));
}

static void say_there(const struct observed *o, struct step *s)
{
	step_say(s, "destination pod %s is there, at %s", seen_destination_name(o), json_str_or(o->destination, "status/podIP", ""));
}

static void say_frozen(const struct observed *o, struct step *s)
{
	(void)o;
	step_say(s, "the source is frozen; memory and files are being copied");
}

static void say_restoring(const struct observed *o, struct step *s)
{
	(void)o;
	step_say(s, "everything was copied; the destination restores the containers");
}

static void say_committed(const struct observed *o, struct step *s)
{
	/* Being stuck has said so already. */
	if (s->reason != REASON_NONE)
		return;
	if (seen_fact(o, FACT_AT_Withheld, s) && s->reason == REASON_NONE)
		step_say(s, "the destination runs; it takes the place of source pod %s at its owner when it is Ready", seen_source_name(o));
	else if (s->reason == REASON_NONE && seen_fact(o, FACT_AT_SeenRunning, s))
		step_say(s, "the destination runs; source pod %s is terminating", seen_source_name(o));
	else if (s->reason == REASON_NONE)
		step_say(s, "committed; waiting for the destination to run");
}

static void say_succeeded(const struct observed *o, struct step *s)
{
	/* The fact has said so. */
	if (s->reason == REASON_DryRun) {
		s->reason = REASON_NONE;
		return;
	}
	step_say(s, "pod %s runs as %s", seen_source_name(o), seen_destination_name(o));
}

static void append(struct step *s, const char *text)
{
	size_t n = strlen(s->message);

	snprintf(s->message + n, sizeof(s->message) - n, "%s", text);
}

static void say_given_up(const struct observed *o, struct step *s)
{
	if (view_decision(o->migration) != DECISION_ABORT)
		return;
	seen_final_cause(o, s);
	if (seen_fact(o, FACT_AT_MayBeFrozen, s))
		append(s, "; WHETHER THE SOURCE WAS THAWED IS NOT KNOWN: its agent has not reported for 30 s. It thaws the source as soon as it runs again");
	if (!o->destination)
		return;
	append(s, "; the destination pod is still terminating");
	/* That is in the way of the next one, and all that was found. */
	if (s->reason == REASON_DryRun)
		s->reason = REASON_DestinationPodFailed;
}

typedef void (*say_fn)(const struct observed *o, struct step *s);

static const say_fn says[PHASE_COUNT] = {
	[PHASE_Preparing] = say_asks, [PHASE_Transferring] = say_there, [PHASE_Freezing] = say_frozen, [PHASE_Restoring] = say_restoring, [PHASE_Committed] = say_committed,
	[PHASE_Succeeded] = say_succeeded, [PHASE_Failed] = say_given_up, [PHASE_Cancelled] = say_given_up,
};

static const enum action actions[MOVE_COUNT] = {
	[MOVE_Wait] = ACT_WAIT, [MOVE_AddFinalizer] = ACT_ADD_FINALIZER, [MOVE_Preflight] = ACT_PREFLIGHT, [MOVE_Prepare] = ACT_PREPARE,
	[MOVE_AwaitPod] = ACT_WAIT, [MOVE_Record] = ACT_RECORD, [MOVE_Order] = ACT_ORDER, [MOVE_Abort] = ACT_ABORT,
	[MOVE_OrderAbort] = ACT_ORDER_ABORT, [MOVE_OrderCommit] = ACT_ORDER_COMMIT, [MOVE_NoteReceipt] = ACT_NOTE_RECEIPT,
	[MOVE_DeleteDestination] = ACT_DELETE_DESTINATION, [MOVE_HandOver] = ACT_HAND_OVER,
	[MOVE_DeleteSource] = ACT_DELETE_SOURCE, [MOVE_End] = ACT_END, [MOVE_Release] = ACT_RELEASE,
	[MOVE_DeleteObject] = ACT_DELETE_OBJECT,
};

/* --- when to look again, if nothing is heard --- */

static bool going(const cJSON *pod)
{
	return pod && view_deleting(pod);
}

static void look_again(const struct observed *o, struct step *s)
{
	bool ended = phase_ended(view_phase(o->migration));

	if (s->action != ACT_WAIT && s->action != ACT_RECORD)
		return;
	if (!ended && view_decision(o->migration) != DECISION_NONE && (going(o->source) || going(o->destination)))
		seen_over(o, s, o->now_us, LOOK_GOING);
	/* The source has our label no more: that it goes is seen only by looking. */
	if (ended && view_has_finalizer(o->migration))
		seen_over(o, s, o->now_us, LOOK_OWED);
}

void decide(const struct observed *o, struct step *ret)
{
	const struct controller_row *row;

	memset(ret, 0, sizeof(*ret));
	row = find_row(o, ret);
	ret->when = row->when;
	ret->action = actions[row->move];
	if (ret->action == ACT_WAIT) {
		ret->reason = REASON_NONE;
		ret->message[0] = '\0';
	}
	if (row->move == MOVE_AwaitPod)
		await_pod(o, ret);
	if (row->move == MOVE_Record || row->move == MOVE_End) {
		ret->phase = (enum phase)row->phase;
		if (says[ret->phase])
			says[ret->phase](o, ret);
	}
	if (row->move == MOVE_Record && row->phase == PHASE_Committed)
		await_receipt(o, ret);
	look_again(o, ret);
}
