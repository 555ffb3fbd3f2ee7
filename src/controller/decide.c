/* SPDX-License-Identifier: Apache-2.0 */
#include "decide.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/names.h"
#include "migration/reason.h"
#include "names.h"
#include "view.h"

static const char *const action_names[ACTION_COUNT] = {
	[ACT_WAIT] = "Wait", [ACT_ADD_FINALIZER] = "AddFinalizer", [ACT_PREFLIGHT] = "Preflight", [ACT_PREPARE] = "Prepare",
	[ACT_LOOK] = "Look", [ACT_RECORD] = "Record", [ACT_ORDER] = "Order", [ACT_ABORT] = "Abort", [ACT_ORDER_ABORT] = "OrderAbort",
	[ACT_DELETE_DESTINATION] = "DeleteDestination", [ACT_DELETE_SOURCE] = "DeleteSource", [ACT_END] = "End",
	[ACT_RELEASE] = "Release", [ACT_DELETE_OBJECT] = "DeleteObject",
};

const char *action_name(enum action a)
{
	return (unsigned)a < ACTION_COUNT ? action_names[a] : "?";
}

/* --- writing the step --- */

static void __attribute__((format(printf, 2, 3))) say(struct step *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->message, sizeof(s->message), fmt, ap);
	va_end(ap);
}

static void act(struct step *s, enum action a)
{
	s->action = a;
}

static void record(struct step *s, enum phase p)
{
	s->action = ACT_RECORD;
	s->phase = p;
}

static void end(struct step *s, enum phase p, int reason)
{
	s->action = ACT_END;
	s->phase = p;
	s->reason = reason;
}

static void __attribute__((format(printf, 3, 4))) abort_with(struct step *s, int reason, const char *fmt, ...)
{
	va_list ap;

	s->action = ACT_ABORT;
	s->reason = reason;
	va_start(ap, fmt);
	vsnprintf(s->message, sizeof(s->message), fmt, ap);
	va_end(ap);
}

/* True when limit has passed since t; else remembers when it will have. An unknown t has just begun. */
static bool over(const struct observed *o, struct step *s, int64_t t, int64_t limit)
{
	int64_t left = t ? t + limit - o->now_us : limit;

	if (left <= 0)
		return true;
	/* A clock that was set back must not stretch the wait. */
	if (left > limit)
		left = limit;
	if (!s->wait_us || left < s->wait_us)
		s->wait_us = left;
	return false;
}

/* --- reading --- */

static const char *source_name(const struct observed *o)
{
	return json_str_or(o->migration, "status/sourcePod/name", "?");
}

static const char *source_node(const struct observed *o)
{
	return json_str_or(o->migration, "status/sourcePod/node", "?");
}

static const char *destination_name(const struct observed *o)
{
	return json_str_or(o->migration, "status/destinationPod/name", "?");
}

static bool destination_recorded(const struct observed *o)
{
	return json_str_or(o->migration, "status/destinationPod/uid", "")[0] != '\0';
}

/* Which order for the source stands on it: "migrate", "abort", or "". */
static const char *ordered(const struct observed *o)
{
	const char *text = o->source ? view_annotation(o->source, ANN_ORDERED) : "", *uid = view_uid(o->migration);
	size_t n = strlen(uid);

	return n && !strncmp(text, uid, n) && text[n] == ' ' ? text + n + 1 : "";
}

static int64_t entered(const struct observed *o, enum phase p)
{
	return view_phase_time_us(o->migration, p);
}

/* --- before the decision: is there a reason to give up?  In the order in which a person would want to hear of them. --- */

typedef bool (*doubt)(const struct observed *o, struct step *s);

static bool by_person(const struct observed *o, struct step *s)
{
	if (!view_deleting(o->migration) && !json_bool(o->migration, "spec/cancel"))
		return false;
	abort_with(s, REASON_Cancelled, view_deleting(o->migration) ? "the PodMigration was deleted" : "cancelled by spec.cancel");
	return true;
}

static bool by_agent(const struct observed *o, struct step *s)
{
	const char *message = "";
	int reason = REASON_InternalError;
	bool error = view_source_error(o->migration, &reason, &message);

	if (!error && view_source_state(o->migration) != SOURCE_Aborted)
		return false;
	abort_with(s, reason, "%s", error ? message : "the agent gave the migration up without saying why");
	return true;
}

static bool by_source(const struct observed *o, struct step *s)
{
	if (!o->source)
		abort_with(s, REASON_SourceLost, "source pod %s is gone", source_name(o));
	else if (view_pod_ended(o->source))
		abort_with(s, REASON_SourceLost, "source pod %s has ended (%s)", source_name(o), json_str_or(o->source, "status/phase", ""));
	else if (view_deleting(o->source))
		abort_with(s, REASON_PodTerminating, "source pod %s is being deleted", source_name(o));
	else
		return false;
	return true;
}

static bool by_timeout(const struct observed *o, struct step *s)
{
	char text[32];

	if (!over(o, s, entered(o, PHASE_Preparing), view_timeout_us(o->migration)))
		return false;
	duration_format(view_timeout_us(o->migration), text, sizeof(text));
	abort_with(s, REASON_TimedOut, "not committed within %s; it was %s", text, phase_name(view_phase(o->migration)));
	return true;
}

/* The agents tell more than an exit code when a restore fails, but a little later. */
static bool agent_will_tell(const struct observed *o, struct step *s)
{
	enum phase p = view_phase(o->migration);
	int64_t since = view_time_us(o->migration, "status/source/updated");
	const cJSON *e;

	if (p != PHASE_Freezing && p != PHASE_Restoring)
		return false;
	cJSON_ArrayForEach(e, json_at(o->destination, "status/containerStatuses")) {
		int64_t t = view_time_us(e, "state/terminated/finishedAt");

		since = t > since ? t : since;
	}
	return !over(o, s, since, GRACE_AGENT_REPORT);
}

static bool by_destination(const struct observed *o, struct step *s)
{
	struct problem p = { 0 };

	if (!destination_recorded(o))
		return false;
	if (!o->destination) {
		abort_with(s, REASON_DestinationLost, "destination pod %s is gone", destination_name(o));
		return true;
	}
	problem_of_pod(o->destination, &p);
	if (p.reason == REASON_NONE || !over(o, s, entered(o, PHASE_Preparing), p.patience_us) || agent_will_tell(o, s))
		return false;
	abort_with(s, p.reason, "%s", p.message);
	return true;
}

/* A home source's agent reports by itself; of a remote source nothing is heard before the state arrives. */
static bool by_silence(const struct observed *o, struct step *s)
{
	enum source_state state = view_source_state(o->migration);
	enum phase p = view_phase(o->migration);
	bool remote = view_source_is_remote(o->migration);

	if (p == PHASE_Preparing && !remote && state == SOURCE_None && over(o, s, entered(o, PHASE_Preparing), LIMIT_AGENT)) {
		abort_with(s, REASON_AgentUnavailable, "the podmigration-agent of node %s has not reported", source_node(o));
		return true;
	}
	if (p != PHASE_Transferring || state > SOURCE_Ready || !over(o, s, entered(o, PHASE_Transferring), LIMIT_AGENT))
		return false;
	abort_with(s, REASON_AgentUnavailable, remote ? "nothing has come from the source, whose node is %s" :
		   "the podmigration-agent of node %s has not begun to connect", source_node(o));
	return true;
}

static bool reason_to_abort(const struct observed *o, struct step *s)
{
	static const doubt doubts[] = { by_person, by_agent, by_source, by_timeout, by_destination, by_silence };

	for (size_t i = 0; i < sizeof(doubts) / sizeof(doubts[0]); i++)
		if (doubts[i](o, s))
			return true;
	return false;
}

/* --- before the decision: forward --- */

/*
 * Liqo tells only the remote cluster (an event of the ShadowPod there) when that cluster's admission refuses the pod; at home its status stays empty.  By far the
 * most frequent cause is that podmigration is not installed there.
 */
static bool never_created(const struct observed *o)
{
	return json_str(o->migration, "status/destinationPod/cluster") && !json_at(o->destination, "status/conditions/0") &&
	       !json_at(o->destination, "status/containerStatuses/0");
}

static void wait_for_destination(const struct observed *o, struct step *s)
{
	const char *cluster = json_str_or(o->migration, "status/destinationPod/cluster", "?");
	int64_t since = entered(o, PHASE_Preparing);

	say(s, "waiting for destination pod %s to run on node %s", destination_name(o), json_str_or(o->migration, "status/destinationPod/node", "?"));
	if (!over(o, s, since, LOOK_EVERY))
		return;
	if (!o->looked) {
		act(s, ACT_LOOK);
		return;
	}
	if (o->events.reason != REASON_NONE && over(o, s, since, o->events.patience_us))
		abort_with(s, o->events.reason, "%s", o->events.message);
	else if (never_created(o) && over(o, s, since, LIMIT_REMOTE_POD))
		abort_with(s, REASON_RuntimeClassMissing,
			   "cluster %s does not create the destination pod: RuntimeClass podmigration is missing there, or its admission refuses the pod "
			   "(see the events of shadowpod %s in that cluster)", cluster, destination_name(o));
	else if (!o->pulling && over(o, s, since, LIMIT_DESTINATION_POD))
		abort_with(s, o->events.reason != REASON_NONE ? o->events.reason : REASON_DestinationPodFailed,
			   "destination pod %s does not run after %d s: %s", destination_name(o), (int)(LIMIT_DESTINATION_POD / 1000000),
			   o->events.reason != REASON_NONE ? o->events.message : "neither its status nor its events say why");
	else
		over(o, s, o->now_us, LOOK_EVERY);
}

static void preparing(const struct observed *o, struct step *s)
{
	if (!destination_recorded(o)) {
		act(s, ACT_PREPARE);
		return;
	}
	if (!json_str(o->destination, "status/podIP") || !view_pod_all_running(o->destination)) {
		wait_for_destination(o, s);
		return;
	}
	record(s, PHASE_Transferring);
	say(s, "destination pod %s is there, at %s", destination_name(o), json_str_or(o->destination, "status/podIP", ""));
}

static void transferring(const struct observed *o, struct step *s)
{
	static const struct {
		enum source_state state;
		enum phase phase;
		const char *text;
	} seen[] = {
		{ SOURCE_Freezing, PHASE_Freezing, "the source is frozen; memory and files are being copied" },
		{ SOURCE_Restoring, PHASE_Restoring, "everything was copied; the destination restores the containers" },
	};
	enum source_state state = view_source_state(o->migration);

	if (view_source_is_remote(o->migration) && !ordered(o)[0]) {
		act(s, ACT_ORDER);
		return;
	}
	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
		if (state == seen[i].state && view_phase(o->migration) < seen[i].phase) {
			record(s, seen[i].phase);
			say(s, "%s", seen[i].text);
		}
}

static void undecided(const struct observed *o, struct step *s)
{
	enum phase p = view_phase(o->migration);

	if (p == PHASE_Pending) {
		if (!by_person(o, s)) {
			act(s, ACT_PREFLIGHT);
			return;
		}
		end(s, PHASE_Cancelled, REASON_Cancelled);
	} else if (!reason_to_abort(o, s)) {
		if (p == PHASE_Preparing)
			preparing(o, s);
		else
			transferring(o, s);
	}
}

/* --- after Abort: back to what was, then the end --- */

static void final_cause(const struct observed *o, struct step *s)
{
	const char *agent_message = "";
	int ours = reason_from_name(json_str(o->migration, "status/abort/reason")), agents = REASON_InternalError;
	bool have_ours = json_str(o->migration, "status/abort/reason") != NULL;
	bool have_agents = view_source_error(o->migration, &agents, &agent_message);

	/* What an agent saw from near explains more than what the controller saw from afar, unless the agent only followed. */
	if (have_agents && (!have_ours || ((ours == REASON_DestinationPodFailed || ours == REASON_DestinationLost) && agents != REASON_Cancelled))) {
		s->reason = agents;
		say(s, "%s", agent_message);
	} else if (have_ours) {
		s->reason = ours;
		say(s, "%s", json_str_or(o->migration, "status/abort/message", ""));
	} else {
		s->reason = REASON_InternalError;
		say(s, "given up by an agent without a word");
	}
	s->phase = s->reason == REASON_Cancelled ? PHASE_Cancelled : PHASE_Failed;
}

static void append(struct step *s, const char *text)
{
	size_t n = strlen(s->message);

	snprintf(s->message + n, sizeof(s->message) - n, "%s", text);
}

static bool may_be_frozen(const struct observed *o)
{
	enum source_state state = view_source_state(o->migration);

	return o->source && (state == SOURCE_Freezing || state == SOURCE_Restoring || state == SOURCE_Committed);
}

static void aborted(const struct observed *o, struct step *s)
{
	int64_t since = view_time_us(o->migration, "status/abort/time");
	bool pod_stays;

	if (!since)
		since = view_time_us(o->migration, "status/source/updated");
	if (o->source && !strcmp(ordered(o), "migrate")) {
		act(s, ACT_ORDER_ABORT);
		return;
	}
	if (o->destination && !view_deleting(o->destination)) {
		act(s, ACT_DELETE_DESTINATION);
		return;
	}
	if (may_be_frozen(o) && !over(o, s, since, LIMIT_THAW))
		return;
	pod_stays = o->destination && over(o, s, since, LIMIT_POD_GONE);
	if (o->destination && !pod_stays) {
		over(o, s, o->now_us, LOOK_GOING);
		return;
	}
	act(s, ACT_END);
	final_cause(o, s);
	if (may_be_frozen(o))
		append(s, "; WHETHER THE SOURCE WAS THAWED IS NOT KNOWN: its agent has not reported for 30 s. It thaws the source as soon as it runs again");
	if (pod_stays)
		append(s, "; the destination pod is still terminating");
}

/* --- after Commit: only forward --- */

static void stuck(const struct observed *o, struct step *s, int reason, const char *text, const char *advice)
{
	record(s, PHASE_Committed);
	s->reason = reason;
	say(s, "committed, and the source stays frozen, but %s. %s", text, advice);
	/* A person has seen it and lets go: both pods stay as they are, for that person to deal with. */
	if (view_deleting(o->migration) && view_source_state(o->migration) >= SOURCE_Committed)
		act(s, ACT_RELEASE);
}

static void await_running(const struct observed *o, struct step *s)
{
	const char *message = "";
	int reason = REASON_DestinationLost;

	record(s, PHASE_Committed);
	say(s, "committed; waiting for the destination to run");
	if (view_source_error(o->migration, &reason, &message))
		stuck(o, s, reason, message, "Save what the source pod still holds, then delete the pods and this PodMigration.");
	else if (!o->destination)
		stuck(o, s, REASON_DestinationLost, "the destination pod is gone", "The agent of the source reports when it is sure of the loss.");
	else if (over(o, s, entered(o, PHASE_Committed), LIMIT_RUNNING))
		stuck(o, s, REASON_AgentUnavailable, "no agent has reported that the destination runs",
		      "Check the podmigration-agent of both nodes; it goes on from here by itself.");
}

static void committed(const struct observed *o, struct step *s)
{
	const char *message;
	int reason;

	if (view_phase(o->migration) != PHASE_Committed) {
		record(s, PHASE_Committed);
		say(s, "committed; waiting for the destination to run");
		return;
	}
	if (view_source_state(o->migration) != SOURCE_Running || view_source_error(o->migration, &reason, &message)) {
		await_running(o, s);
		return;
	}
	if (o->source && !view_deleting(o->source)) {
		act(s, ACT_DELETE_SOURCE);
	} else if (o->source) {
		record(s, PHASE_Committed);
		say(s, "the destination runs; source pod %s is terminating", source_name(o));
		over(o, s, o->now_us, LOOK_GOING);
	} else {
		end(s, PHASE_Succeeded, REASON_NONE);
		say(s, "pod %s runs as %s", source_name(o), destination_name(o));
	}
}

/* --- after the end --- */

static void ended(const struct observed *o, struct step *s)
{
	int64_t ttl;

	if (view_has_finalizer(o->migration))
		act(s, ACT_RELEASE);
	else if (!view_deleting(o->migration) && view_ttl_us(o->migration, &ttl) &&
		 (ttl == 0 || over(o, s, view_time_us(o->migration, "status/completionTime"), ttl)))
		act(s, ACT_DELETE_OBJECT);
}

void decide(const struct observed *o, struct step *ret)
{
	enum decision d = view_decision(o->migration);

	memset(ret, 0, sizeof(*ret));
	if (phase_ended(view_phase(o->migration)))
		ended(o, ret);
	else if (!view_has_finalizer(o->migration))
		act(ret, view_deleting(o->migration) ? ACT_WAIT : ACT_ADD_FINALIZER);
	else if (d == DECISION_COMMIT)
		committed(o, ret);
	else if (d == DECISION_ABORT)
		aborted(o, ret);
	else
		undecided(o, ret);
}
