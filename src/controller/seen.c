/* SPDX-License-Identifier: Apache-2.0 */
#include "seen.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/names.h"
#include "migration/ready.h"
#include "migration/reason.h"
#include "names.h"
#include "order.h"
#include "status.h"
#include "view.h"

/* --- writing --- */

void step_say(struct step *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->message, sizeof(s->message), fmt, ap);
	va_end(ap);
}

/* Always true, so that a fact can end with it. */
static bool __attribute__((format(printf, 3, 4))) because(struct step *s, int reason, const char *fmt, ...)
{
	va_list ap;

	s->reason = reason;
	va_start(ap, fmt);
	vsnprintf(s->message, sizeof(s->message), fmt, ap);
	va_end(ap);
	return true;
}

bool seen_over(const struct observed *o, struct step *s, int64_t t, int64_t limit)
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

const char *seen_source_name(const struct observed *o)
{
	return json_str_or(o->migration, "status/sourcePod/name", "?");
}

const char *seen_destination_name(const struct observed *o)
{
	return json_str_or(o->migration, "status/destinationPod/name", "?");
}

static const char *source_node(const struct observed *o)
{
	return json_str_or(o->migration, "status/sourcePod/node", "?");
}

/* As its agent has told it, who is behind a virtual node. */
static const char *destination_node(const struct observed *o)
{
	return json_str_or(o->migration, "status/destination/node", json_str_or(o->migration, "status/destinationPod/node", "?"));
}

static int64_t entered(const struct observed *o, enum phase p)
{
	return view_phase_time_us(o->migration, p);
}

static enum source_state state_of(const struct observed *o)
{
	return view_source_state(o->migration);
}

static bool has_error(const struct observed *o)
{
	const char *message;
	int reason;

	return view_source_error(o->migration, &reason, &message);
}

/* An agent that only follows the abort says so, too, and one that has asked the destination in vain for anything in the way. */
static bool has_error_of_its_own(const struct observed *o)
{
	const char *message;
	int reason;

	return view_source_error(o->migration, &reason, &message) && reason != REASON_Cancelled && reason != REASON_DryRun;
}

/* Of a dry run: the source's agent has, or will have in a moment, the address to ask at. */
static bool asks(const struct observed *o)
{
	return view_rehearses(o->migration) && json_str(o->migration, "status/destinationPod/podIP");
}

/*
 * Whether this order of this migration stands on a pod ("UID ACTION TIME", order.c).  One that nobody has heard of for a while stands no longer, and is written once more: the kubelet
 * can miss a change of the file it goes by.  Its loop over all pods (desired_state_of_world_populator.go) that has begun before the change, with the pod as it was, and ends
 * after the pod was marked to be looked at again, takes the mark away; then it is a minute until the next look.
 */
static bool ordered(const struct observed *o, struct step *s, const cJSON *pod, enum order_action action, bool heard)
{
	const char *text = pod ? view_annotation(pod, ANN_ORDERED) : "", *name = order_action_name(action);
	size_t n = strlen(view_uid(o->migration)), len = strlen(name);

	if (!order_is_ours(o->migration, pod) || strncmp(text + n + 1, name, len))
		return false;
	text += n + 1 + len;
	return heard || !*text || (*text == ' ' && !seen_over(o, s, time_parse_us(text + 1), ORDER_AGAIN));
}

static int64_t abort_time(const struct observed *o)
{
	int64_t t = view_time_us(o->migration, "status/abort/time");

	return t ? t : view_time_us(o->migration, "status/source/updated");
}

void seen_final_cause(const struct observed *o, struct step *s)
{
	const char *agent_message = "";
	int ours = reason_from_name(json_str(o->migration, "status/abort/reason")), agents = REASON_InternalError;
	bool have_ours = json_str(o->migration, "status/abort/reason") != NULL;
	bool have_agents = view_source_error(o->migration, &agents, &agent_message);

	/* What an agent saw from near explains more than what the controller saw from afar, unless the agent only followed. */
	if (have_agents && (!have_ours || ((ours == REASON_DestinationPodFailed || ours == REASON_DestinationLost) && agents != REASON_Cancelled)))
		because(s, agents, "%s", agent_message);
	else if (have_ours)
		because(s, ours, "%s", json_str_or(o->migration, "status/abort/message", ""));
	else
		because(s, REASON_InternalError, "given up by an agent without a word");
}

/* --- the object --- */

static bool finalizer(const struct observed *o, struct step *s)
{
	(void)s;
	return view_has_finalizer(o->migration);
}

static bool deleting(const struct observed *o, struct step *s)
{
	(void)s;
	return view_deleting(o->migration);
}

/* Before the decision: a person wants an end; after Abort: that was the reason. */
static bool cancel(const struct observed *o, struct step *s)
{
	if (view_decision(o->migration) == DECISION_ABORT) {
		seen_final_cause(o, s);
		return s->reason == REASON_Cancelled;
	}
	if (!view_deleting(o->migration) && !json_bool(o->migration, "spec/cancel"))
		return false;
	return because(s, REASON_Cancelled, view_deleting(o->migration) ? "the PodMigration was deleted" : "cancelled by spec.cancel");
}

static bool expired(const struct observed *o, struct step *s)
{
	int64_t ttl;

	return view_ttl_us(o->migration, &ttl) && (ttl == 0 || seen_over(o, s, view_time_us(o->migration, "status/completionTime"), ttl));
}

/* --- reasons to give up --- */

/* After the commit: the destination has said that nothing ran there, and the source was thawed. */
static bool given_back(const struct observed *o, struct step *s)
{
	const char *message = "the destination could not run it, and the agent did not say why";
	int reason = REASON_RestoreFailed;

	if (state_of(o) != SOURCE_Aborted)
		return false;
	view_source_error(o->migration, &reason, &message);
	return because(s, reason, "%s", message);
}

static bool agent_gave_up(const struct observed *o, struct step *s)
{
	const char *message = "";
	int reason = REASON_InternalError;
	bool error = view_source_error(o->migration, &reason, &message);

	if (!error && state_of(o) != SOURCE_Aborted)
		return false;
	return because(s, reason, "%s", error ? message : "the agent gave the migration up without saying why");
}

static bool source_unfit(const struct observed *o, struct step *s)
{
	const char *name = seen_source_name(o);

	if (!o->source)
		return because(s, REASON_SourceLost, "source pod %s is gone", name);
	if (view_pod_ended(o->source))
		return because(s, REASON_SourceLost, "source pod %s has ended (%s)", name, json_str_or(o->source, "status/phase", ""));
	return view_deleting(o->source) && because(s, REASON_PodTerminating, "source pod %s is being deleted", name);
}

/* Since the freeze was seen; where it was not, since the step behind it was. */
static bool frozen_too_long(const struct observed *o, struct step *s)
{
	int64_t since = entered(o, PHASE_Freezing), limit;
	enum phase p = view_phase(o->migration);
	char text[32];

	if ((p != PHASE_Freezing && p != PHASE_Restoring) || !view_freeze_timeout_us(o->migration, &limit))
		return false;
	if (!seen_over(o, s, since ? since : entered(o, p), limit))
		return false;
	duration_format(limit, text, sizeof(text));
	return because(s, REASON_TimedOut, "the pod stood still for more than freezeTimeout (%s)", text);
}

static bool timed_out(const struct observed *o, struct step *s)
{
	const char *said = json_str_or(view_condition(o->migration, "Succeeded"), "message", "");
	bool told;
	char text[32];

	if (frozen_too_long(o, s))
		return true;
	if (!seen_over(o, s, entered(o, PHASE_Preparing), view_timeout_us(o->migration)))
		return false;
	duration_format(view_timeout_us(o->migration), text, sizeof(text));
	told = !strncmp(said, STATUS_CANNOT, strlen(STATUS_CANNOT));
	return because(s, REASON_TimedOut, "not committed within %s; it was %s%s%s", text, phase_name(view_phase(o->migration)), told ? ": " : "", told ? said : "");
}

/* The agents tell more than an exit code when a restore fails, or when the stream broke before, but a little later. */
static bool agent_will_tell(const struct observed *o, struct step *s)
{
	enum phase p = view_phase(o->migration);
	int64_t since = view_time_us(o->migration, "status/source/updated");
	const cJSON *e;

	if (p != PHASE_Freezing && p != PHASE_Restoring && (p != PHASE_Transferring || state_of(o) <= SOURCE_Ready) && !asks(o))
		return false;
	cJSON_ArrayForEach(e, json_at(o->destination, "status/containerStatuses")) {
		int64_t t = view_time_us(e, "state/terminated/finishedAt");

		since = t > since ? t : since;
	}
	/* These times are of other nodes' clocks: one that is ahead must not have the pod stand still until ours has come there. */
	return since <= o->now_us + GRACE_AGENT_REPORT && !seen_over(o, s, since, GRACE_AGENT_REPORT);
}

static bool runs(const struct observed *o)
{
	return json_str(o->destination, "status/podIP") && view_pod_all_running(o->destination);
}

/*
 * Liqo tells only the remote cluster (an event of the ShadowPod there) when that cluster's admission refuses the pod; at home its status stays empty.  By far the
 * most frequent cause is that podmigration is not installed there.
 */
static bool never_created(const struct observed *o)
{
	return json_str(o->migration, "status/destinationPod/cluster") && !json_at(o->destination, "status/conditions/0") &&
	       !json_at(o->destination, "status/containerStatuses/0");
}

/* When the destination pod's time began.  That of a dry run is made when the source's agent has looked, which is told by the API server's clock alone. */
static int64_t made(const struct observed *o)
{
	int64_t t = view_time_us(o->destination, "metadata/creationTimestamp"), prepares = entered(o, PHASE_Preparing);

	return view_rehearses(o->migration) && t > prepares ? t : prepares;
}

/* Nothing in its status is wrong, and it does not come: its Events say why, or nothing does. */
static bool does_not_come(const struct observed *o, struct step *s)
{
	const char *cluster = json_str_or(o->migration, "status/destinationPod/cluster", "?"), *name = seen_destination_name(o);
	int64_t since = made(o);
	bool told = o->events.reason != REASON_NONE;

	if (view_phase(o->migration) != PHASE_Preparing || !o->looked || runs(o))
		return false;
	if (told && seen_over(o, s, since, o->events.patience_us))
		return because(s, o->events.reason, "%s", o->events.message);
	if (never_created(o) && seen_over(o, s, since, LIMIT_REMOTE_POD))
		return because(s, REASON_RuntimeClassMissing,
			       "cluster %s does not create the destination pod: RuntimeClass podmigration is missing there, its admission refuses the pod (see the events of "
			       "shadowpod %s in that cluster), or its peering stands still", cluster, name);
	if (o->pulling || !seen_over(o, s, since, LIMIT_DESTINATION_POD))
		return false;
	return because(s, told ? o->events.reason : REASON_DestinationPodFailed, "destination pod %s does not run after %d s: %s", name,
		       (int)(LIMIT_DESTINATION_POD / 1000000), told ? o->events.message : "neither its status nor its events say why");
}

static bool destination_recorded(const struct observed *o, struct step *s)
{
	(void)s;
	return json_str_or(o->migration, "status/destinationPod/uid", "")[0] != '\0';
}

static bool destination_unfit(const struct observed *o, struct step *s)
{
	struct problem p = { 0 };

	if (!destination_recorded(o, s))
		return false;
	if (!o->destination)
		return because(s, REASON_DestinationLost, "destination pod %s is gone", seen_destination_name(o));
	problem_of_pod(o->destination, &p);
	if (p.reason == REASON_NONE)
		return does_not_come(o, s);
	if (!seen_over(o, s, made(o), p.patience_us) || agent_will_tell(o, s))
		return false;
	return because(s, p.reason, "%s", p.message);
}

/* By its node's clock: when the last of its containers began to wait for the source. */
static int64_t began_to_wait(const cJSON *pod)
{
	int64_t since = 0;
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(pod, "status/containerStatuses")) {
		int64_t t = view_time_us(e, "state/running/startedAt");

		since = t > since ? t : since;
	}
	return since;
}

/* In a dry run no phase begins with the address; an agent of a version that does not know of it goes on waiting for Transferring. */
static bool does_not_ask(const struct observed *o, struct step *s)
{
	int64_t since = began_to_wait(o->destination);
	bool remote = view_source_is_remote(o->migration);

	if (view_phase(o->migration) != PHASE_Preparing || !asks(o) || state_of(o) > SOURCE_Ready || !seen_over(o, s, since > made(o) ? since : made(o), remote ? LIMIT_ORDER : LIMIT_AGENT))
		return false;
	if (remote)
		return because(s, REASON_AgentUnavailable, "nothing has come from the agent of the source's node, in cluster %s; is it of an older version, which takes no order of a dry run?",
			       json_str_or(o->migration, "status/sourcePod/cluster", "?"));
	return because(s, REASON_AgentUnavailable, "the podmigration-agent of node %s has not asked that of the destination's node; is it of an older version?", source_node(o));
}

/* A home source's agent reports by itself; of a remote source nothing is heard before the state arrives. */
static bool silent(const struct observed *o, struct step *s)
{
	enum phase p = view_phase(o->migration);
	bool remote = view_source_is_remote(o->migration);

	if (p == PHASE_Preparing && !remote && state_of(o) == SOURCE_None && seen_over(o, s, entered(o, PHASE_Preparing), LIMIT_AGENT))
		return because(s, REASON_AgentUnavailable, "the podmigration-agent of node %s has not reported", source_node(o));
	if (does_not_ask(o, s))
		return true;
	if (p != PHASE_Transferring || state_of(o) > SOURCE_Ready || !seen_over(o, s, entered(o, PHASE_Transferring), remote ? LIMIT_ORDER : LIMIT_AGENT))
		return false;
	return because(s, REASON_AgentUnavailable, remote ? "nothing has come from the source, whose node is %s" :
		       "the podmigration-agent of node %s has not begun to connect", source_node(o));
}

/* --- where the agents and pods are --- */

static bool destination_runs(const struct observed *o, struct step *s)
{
	(void)s;
	return runs(o);
}

static bool remote(const struct observed *o, struct step *s)
{
	(void)s;
	return view_source_is_remote(o->migration);
}

static bool ordered_migrate(const struct observed *o, struct step *s)
{
	return ordered(o, s, o->source, view_rehearses(o->migration) ? ORDER_ASK : ORDER_MIGRATE, state_of(o) > SOURCE_Ready);
}

/* A dry run takes its order back instead: nothing was begun that could be given up. */
static bool ordered_abort(const struct observed *o, struct step *s)
{
	if (view_rehearses(o->migration))
		return !order_is_ours(o->migration, o->source);
	return ordered(o, s, o->source, ORDER_ABORT, false);
}

static bool dry_run(const struct observed *o, struct step *s)
{
	if (!json_bool(o->migration, "spec/dryRun"))
		return false;
	if (status_not_migratable(o->migration))
		return because(s, REASON_DryRun, "dry run: the agent of node %s found nothing beside what the checks did; nothing was touched", source_node(o));
	if (view_rehearses(o->migration) && view_source_is_remote(o->migration))
		return because(s, REASON_DryRun, "dry run: the checks, the agent of the source's node in cluster %s and that of node %s, the destination's, found nothing in the way; the pod carried the order to look, "
			       "which is taken back, and was not touched else, and pod %s, which was made for this, is removed", json_str_or(o->migration, "status/sourcePod/cluster", "?"),
			       destination_node(o), seen_destination_name(o));
	if (view_rehearses(o->migration))
		return because(s, REASON_DryRun, "dry run: the checks, the agent of node %s and that of node %s, the destination's, found nothing in the way; the pod was not touched, and pod %s, "
			       "which was made for this, is removed", source_node(o), destination_node(o), seen_destination_name(o));
	return because(s, REASON_DryRun, "dry run: the checks and the agent of node %s found nothing in the way; nothing was touched", source_node(o));
}

/* What the checks have found is all that is asked for: the pod would not get there. */
static bool asks_destination(const struct observed *o, struct step *s)
{
	(void)s;
	return view_rehearses(o->migration) && !status_not_migratable(o->migration);
}

static bool address_recorded(const struct observed *o, struct step *s)
{
	(void)s;
	return json_str(o->migration, "status/destinationPod/podIP") != NULL;
}

static bool dry_run_done(const struct observed *o, struct step *s)
{
	struct step cause = { 0 };

	(void)s;
	seen_final_cause(o, &cause);
	return cause.reason == REASON_DryRun && !has_error_of_its_own(o) && !status_not_migratable(o->migration);
}

static bool seen_ready(const struct observed *o, struct step *s)
{
	(void)s;
	return state_of(o) == SOURCE_Ready && !has_error(o);
}

static bool seen_freezing(const struct observed *o, struct step *s)
{
	(void)s;
	return state_of(o) == SOURCE_Freezing;
}

static bool seen_restoring(const struct observed *o, struct step *s)
{
	(void)s;
	return state_of(o) == SOURCE_Restoring;
}

/* A container that was started anew has lost its memory; as long as the source is whole, that is no success. */
static const char *started_cold(const struct observed *o)
{
	return o->source && !view_deleting(o->source) ? view_cold_container(o->migration, o->destination) : NULL;
}

static bool seen_running(const struct observed *o, struct step *s)
{
	(void)s;
	return ((state_of(o) == SOURCE_Running && !has_error(o)) || view_receipt(o->migration)) && !started_cold(o);
}

/* Both words go over the stream, in some 10 ms.  A destination that has answered, be it with an error, has heard; one whose loss a person may let go must hear before. */
static bool unheard(const struct observed *o, struct step *s)
{
	if (seen_running(o, s) || state_of(o) == SOURCE_Completing || state_of(o) == SOURCE_Running)
		return false;
	return (view_deleting(o->migration) && has_error(o)) || seen_over(o, s, entered(o, PHASE_Committed), LIMIT_HEARD);
}

static bool ordered_commit(const struct observed *o, struct step *s)
{
	return ordered(o, s, o->destination, ORDER_COMMIT, seen_running(o, s));
}

static bool receipt_seen(const struct observed *o, struct step *s)
{
	(void)s;
	return o->receipt;
}

static bool is_stuck(struct step *s, int reason, const char *text, const char *advice)
{
	return because(s, reason, "committed, and the source stays frozen, but %s. %s", text, advice);
}

static bool stuck(const struct observed *o, struct step *s)
{
	const char *message = "";
	int reason = REASON_DestinationLost;

	if (seen_running(o, s))
		return false;
	if (view_source_error(o->migration, &reason, &message))
		return is_stuck(s, reason, message, "Save what the source pod still holds, then delete the pods and this PodMigration.");
	if (started_cold(o))
		return because(s, REASON_RestoreFailed, "committed, but container %s of the destination has ended and was started anew from its image; the source stays "
			       "frozen and holds its memory. Save what it still holds, then delete the source pod or this PodMigration.", started_cold(o));
	if (!o->destination)
		return is_stuck(s, REASON_DestinationLost, "the destination pod is gone", "The agent of the source reports when it is sure of the loss.");
	/* It runs, and its memory comes: if nothing comes any more the destination ends by itself (started_cold). */
	if (state_of(o) == SOURCE_Completing)
		return false;
	return seen_over(o, s, entered(o, PHASE_Committed), LIMIT_RUNNING) &&
	       is_stuck(s, REASON_AgentUnavailable, "no agent has reported that the destination runs",
			"Check the podmigration-agent of both nodes; it goes on from here by itself.");
}

static bool reported_committed(const struct observed *o, struct step *s)
{
	(void)s;
	return state_of(o) >= SOURCE_Committed;
}

static bool is_ready(const cJSON *pod)
{
	return !strcmp(json_str_or(view_condition(pod, "Ready"), "status", ""), "True");
}

/* Its agent has taken it out of its Services; the kubelet may say Ready again at any moment. */
static bool was_ready(const cJSON *pod)
{
	return is_ready(pod) || (pod_is_taken_out(pod) && pod_would_be_ready(pod));
}

/* Of two pods a ReplicaSet deletes the one that is not Ready: the destination must not be that one (docs/architecture.md, "Pods with an owner"). */
static bool may_hand_over(const struct observed *o, struct step *s)
{
	(void)s;
	return is_ready(o->destination) || !o->source || view_deleting(o->source) || !was_ready(o->source);
}

static bool withheld(const struct observed *o, struct step *s)
{
	if (!o->destination || !view_annotation(o->destination, ANN_WITHHELD)[0] || !seen_running(o, s))
		return false;
	if (!may_hand_over(o, s) && seen_over(o, s, entered(o, PHASE_Committed), LIMIT_READY))
		because(s, REASON_DestinationPodFailed, "the destination runs, but it is not Ready, and its owner would delete it and keep the frozen source. "
			"Find out why its readiness probe fails, or delete source pod %s", seen_source_name(o));
	return true;
}

/* A Service may select it: it has a label that is not ours. */
static bool has_labels(const cJSON *pod)
{
	const cJSON *l;

	cJSON_ArrayForEach(l, json_at(pod, "metadata/labels")) {
		if (strcmp(l->string, PM_LABEL_MIGRATION))
			return true;
	}
	return false;
}

/*
 * kube-proxy writes its rules once a second at most (minSyncPeriod).  A deletion that comes just before the destination is Ready takes that second for itself, and changes nothing: a Service
 * without ready endpoints goes on sending to the one that is terminating.  So the destination first; but a pod that does not become Ready is no reason to keep the source.
 */
static bool awaits_ready(const struct observed *o, struct step *s)
{
	return o->destination && !may_hand_over(o, s) && has_labels(o->destination) && !seen_over(o, s, entered(o, PHASE_Committed), LIMIT_SERVES);
}

static bool source_there(const struct observed *o, struct step *s)
{
	(void)s;
	return o->source != NULL;
}

static bool source_deleting(const struct observed *o, struct step *s)
{
	(void)s;
	return o->source && view_deleting(o->source);
}

static bool destination_there(const struct observed *o, struct step *s)
{
	(void)s;
	return o->destination != NULL;
}

static bool destination_deleting(const struct observed *o, struct step *s)
{
	(void)s;
	return o->destination && view_deleting(o->destination);
}

static bool may_be_frozen(const struct observed *o, struct step *s)
{
	(void)s;
	return o->source && (state_of(o) == SOURCE_Freezing || state_of(o) == SOURCE_Restoring || state_of(o) == SOURCE_Committed);
}

/* It may have gone further than it could report; Ready is where it begins to. */
static bool agent_owes(const struct observed *o, struct step *s)
{
	(void)s;
	return state_of(o) >= SOURCE_Ready && state_of(o) < SOURCE_Running;
}

static bool thaw_over(const struct observed *o, struct step *s)
{
	return seen_over(o, s, abort_time(o), LIMIT_THAW);
}

static bool gone_over(const struct observed *o, struct step *s)
{
	return seen_over(o, s, abort_time(o), LIMIT_POD_GONE);
}

typedef bool (*fact_fn)(const struct observed *o, struct step *s);

static const fact_fn functions[FACT_COUNT] = {
	[FACT_AT_Finalizer] = finalizer, [FACT_AT_Deleting] = deleting, [FACT_AT_Cancel] = cancel, [FACT_AT_Expired] = expired,
	[FACT_AT_AgentGaveUp] = agent_gave_up, [FACT_AT_SourceUnfit] = source_unfit, [FACT_AT_TimedOut] = timed_out,
	[FACT_AT_DestinationUnfit] = destination_unfit, [FACT_AT_Silent] = silent, [FACT_AT_DestinationRecorded] = destination_recorded,
	[FACT_AT_DestinationRuns] = destination_runs, [FACT_AT_Remote] = remote, [FACT_AT_OrderedMigrate] = ordered_migrate,
	[FACT_AT_OrderedAbort] = ordered_abort, [FACT_AT_DryRun] = dry_run, [FACT_AT_AsksDestination] = asks_destination, [FACT_AT_AddressRecorded] = address_recorded, [FACT_AT_DryRunDone] = dry_run_done, [FACT_AT_SeenReady] = seen_ready,
	[FACT_AT_SeenFreezing] = seen_freezing, [FACT_AT_SeenRestoring] = seen_restoring,
	[FACT_AT_SeenRunning] = seen_running, [FACT_AT_GivenBack] = given_back, [FACT_AT_Stuck] = stuck, [FACT_AT_ReportedCommitted] = reported_committed,
	[FACT_AT_Unheard] = unheard, [FACT_AT_OrderedCommit] = ordered_commit, [FACT_AT_ReceiptSeen] = receipt_seen,
	[FACT_AT_Withheld] = withheld, [FACT_AT_MayHandOver] = may_hand_over, [FACT_AT_AwaitsReady] = awaits_ready,
	[FACT_AT_SourceThere] = source_there, [FACT_AT_SourceDeleting] = source_deleting, [FACT_AT_DestinationThere] = destination_there,
	[FACT_AT_DestinationDeleting] = destination_deleting, [FACT_AT_MayBeFrozen] = may_be_frozen, [FACT_AT_AgentOwes] = agent_owes,
	[FACT_AT_ThawOver] = thaw_over, [FACT_AT_GoneOver] = gone_over,
};

bool seen_fact(const struct observed *o, int at, struct step *s)
{
	return functions[at](o, s);
}
