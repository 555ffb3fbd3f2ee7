/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "migration/names.h"
#include "migration/reason.h"
#include "names.h"
#include "view.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- conditions --- */

#define SLOWED_SIZE 1024

enum truth { UNKNOWN, FALSE, TRUE };
static const char *const truth_name[] = { "Unknown", "False", "True" };

struct condition {
	enum truth truth;
	const char *reason, *message;   /* NULL: as it was, or a default */
};

/* What the conditions are computed from. */
struct now {
	const struct status_change *c;
	enum decision decision;
	enum source_state state;
	bool ended, stuck, not_thawed, not_lifted;
	bool completes;                 /* with PostCopy */
	bool attention;                 /* a person was asked for */
	const char *reason, *message;   /* of the migration as a whole */
	char slowed[SLOWED_SIZE];       /* which containers, by how much; "" none */
};

static struct condition migratable(const struct now *n)
{
	if (!n->c->migratable)
		return (struct condition){ UNKNOWN, NULL, NULL };
	if (n->c->migratable[0])
		return (struct condition){ FALSE, reason_name(n->c->migratable_reason != REASON_NONE ? n->c->migratable_reason : n->c->reason), n->c->migratable };
	return (struct condition){ TRUE, "Checked", "the pod can be moved there" };
}

/* It never was there, was deleted by somebody else, or has ended. */
static bool no_source(const struct now *n)
{
	return n->ended && (n->c->reason == REASON_PodNotFound || n->c->reason == REASON_SourceLost);
}

static struct condition source_frozen(const struct now *n)
{
	if (no_source(n) && !n->not_thawed)
		return (struct condition){ FALSE, "Gone", "no source pod runs" };
	switch (n->state) {
	case SOURCE_Freezing:
	case SOURCE_Restoring:
	case SOURCE_Committed:
	case SOURCE_Completing:
		if (n->ended && n->c->source_gone)
			return (struct condition){ FALSE, "Gone", "the source pod is gone" };
		if (n->ended)
			return (struct condition){ UNKNOWN, "NotReported", "the agent has not reported whether the source was thawed" };
		return (struct condition){ TRUE, "Frozen", "all containers of the source stand still" };
	case SOURCE_Running:
		return (struct condition){ TRUE, "Moved", "the source was frozen until it was deleted" };
	case SOURCE_Aborted:
		if (n->not_thawed)
			return (struct condition){ TRUE, "NotThawed", "the agent could not thaw the source" };
		return (struct condition){ FALSE, "Thawed", "the source runs" };
	default:
		return (struct condition){ FALSE, "NotFrozen", "the source runs" };
	}
}

static struct condition destination_prepared(const struct now *n)
{
	if (n->decision == DECISION_COMMIT)
		return (struct condition){ TRUE, "Prepared", "all containers were restored before the commit" };
	if (n->ended || n->decision == DECISION_ABORT)
		return (struct condition){ FALSE, "Aborted", "the destination was given up" };
	if (n->c->phase < PHASE_Transferring)
		return (struct condition){ FALSE, "WaitingForPod", "the destination pod does not run yet" };
	return (struct condition){ FALSE, "PodRunning", "the destination pod waits for the state of the source" };
}

static struct condition committed(const struct now *n)
{
	if (n->decision == DECISION_COMMIT && n->state == SOURCE_Aborted)
		return (struct condition){ FALSE, "GivenBack", "nothing ran at the destination; the source has the only running copy" };
	if (n->decision == DECISION_COMMIT)
		return (struct condition){ TRUE, "Committed", "the destination has the only running copy" };
	if (no_source(n))
		return (struct condition){ FALSE, "Aborted", "no source pod runs" };
	if (n->decision == DECISION_ABORT || n->ended)
		return (struct condition){ FALSE, "Aborted", "the source has the only running copy" };
	return (struct condition){ UNKNOWN, "Undecided", "neither committed nor aborted yet" };
}

/* PostCopy only. */
static struct condition memory_complete(const struct now *n)
{
	if (n->completes && n->stuck && n->state >= SOURCE_Committed)
		return (struct condition){ FALSE, "Lost", n->message };
	if (n->state == SOURCE_Completing)
		return (struct condition){ FALSE, "PostCopy", "the destination runs, and memory of it is still at the source: if that or the link is lost for 60 s, the pod is lost" };
	if (n->completes && n->state == SOURCE_Running)
		return (struct condition){ TRUE, "Complete", "nothing of the pod is at the source any more" };
	return (struct condition){ UNKNOWN, NULL, NULL };
}

/* "container app: 60 % of the CPU time that it used (350m), container .." */
static void find_slowed(const cJSON *migration, char *out, size_t size)
{
	const cJSON *c;
	size_t n = 0;

	out[0] = '\0';
	cJSON_ArrayForEach(c, json_at(migration, "status/source/containers")) {
		int64_t percent;

		if (json_int(c, "cpuPercent", 1, 100, &percent) < 0 || n >= size)
			continue;
		n += (size_t)snprintf(out + n, size - n, "%scontainer %.253s: %" PRId64 " %% of the CPU time that it used (%.24s)", n ? ", " : "", json_str_or(c, "name", "?"), percent,
				      json_str_or(c, "cpuLimit", "?"));
	}
}

static enum source_state state_of(const cJSON *migration)
{
	return view_receipt(migration) ? SOURCE_Running : view_source_state(migration);
}

static bool is_not_lifted(const cJSON *migration)
{
	return strstr(json_str_or(migration, "status/source/error/message", ""), PM_NOT_LIFTED) != NULL;
}

/* PreCopy with allowAutoConverge only. */
static struct condition source_throttled(const struct now *n)
{
	if (!n->slowed[0])
		return (struct condition){ UNKNOWN, NULL, NULL };
	if (n->not_lifted)
		return (struct condition){ TRUE, "NotLifted", "the agent could not put back the CPU limits of the source; it tries again" };
	if (n->state >= SOURCE_Freezing)
		return (struct condition){ FALSE, "Lifted", "the source has its own CPU limits again; status.source.containers tells how far it was slowed down" };
	if (n->ended)
		return (struct condition){ UNKNOWN, "NotReported", "the agent has not reported whether the source has its own CPU limits again; it puts them back as soon as it runs" };
	return (struct condition){ TRUE, "AutoConverge", n->slowed };
}

static struct condition succeeded(const struct now *n)
{
	if (n->c->phase == PHASE_Succeeded)
		return (struct condition){ TRUE, n->decision == DECISION_COMMIT ? "Succeeded" : "DryRun", n->message };
	return (struct condition){ n->ended ? FALSE : UNKNOWN, n->reason, n->message };
}

/* The three that kstatus, Flux and Argo CD go by. */
static struct condition ready(const struct now *n)
{
	return (struct condition){ n->c->phase == PHASE_Succeeded ? TRUE : FALSE, n->reason, n->message };
}

static struct condition reconciling(const struct now *n)
{
	return (struct condition){ n->ended || n->stuck ? FALSE : TRUE, n->ended ? "Ended" : n->reason, n->message };
}

static struct condition stalled(const struct now *n)
{
	bool failed = n->stuck || (n->ended && n->c->phase != PHASE_Succeeded);

	return (struct condition){ failed ? TRUE : FALSE, failed ? n->reason : "NotStalled", failed ? n->message : "" };
}

const cJSON *status_not_migratable(const cJSON *migration)
{
	const cJSON *c = view_condition(migration, "Migratable");

	return strcmp(json_str_or(c, "status", ""), "False") ? NULL : c;
}

const char *status_throttled(const cJSON *migration)
{
	const cJSON *c = view_condition(migration, "SourceThrottled");

	return strcmp(json_str_or(c, "status", ""), "True") ? "" : json_str_or(c, "message", "");
}

static bool throttle_changed(const cJSON *migration)
{
	const cJSON *old = view_condition(migration, "SourceThrottled");
	struct now n = { .state = state_of(migration), .ended = phase_ended(view_phase(migration)), .not_lifted = is_not_lifted(migration) };
	struct condition c;

	find_slowed(migration, n.slowed, sizeof(n.slowed));
	c = source_throttled(&n);
	return c.reason && (strcmp(json_str_or(old, "status", ""), truth_name[c.truth]) || strcmp(json_str_or(old, "message", ""), c.message));
}

/* While the pod stands still nothing is written for people only. */
static bool more_is_sent(const cJSON *migration)
{
	int64_t now, before = 0;

	if (view_phase(migration) != PHASE_Transferring || json_int(migration, "status/source/bytesTransferred", 0, INT64_MAX, &now) < 0)
		return false;
	json_int(migration, "status/bytesTransferred", 0, INT64_MAX, &before);
	return now != before;
}

bool status_live_changed(const cJSON *migration)
{
	return throttle_changed(migration) || more_is_sent(migration);
}

/* --- conditions that are only there when there was a reason --- */

#define A(name, text) #name,
static const char *const attention_names[ATTENTION_COUNT] = { "None", ATTENTION_LIST(A) };
#undef A
#define A(name, text) text,
static const char *const attention_advices[ATTENTION_COUNT] = { "", ATTENTION_LIST(A) };
#undef A

const char *attention_name(enum attention a)
{
	return (unsigned)a < ATTENTION_COUNT ? attention_names[a] : "?";
}

const char *attention_advice(enum attention a)
{
	return (unsigned)a < ATTENTION_COUNT ? attention_advices[a] : "";
}

enum attention status_attention(const cJSON *migration)
{
	const cJSON *c = view_condition(migration, "AttentionNeeded");

	for (int i = 1; i < ATTENTION_COUNT; i++)
		if (!strcmp(json_str_or(c, "status", ""), "True") && !strcmp(json_str_or(c, "reason", ""), attention_names[i]))
			return (enum attention)i;
	return ATTENTION_NONE;
}

static enum attention attention_of(const struct now *n)
{
	bool given_up = n->ended && n->c->phase != PHASE_Succeeded;
	bool owes = n->not_thawed || (n->state >= SOURCE_Freezing && n->state <= SOURCE_Committed && n->decision == DECISION_ABORT);

	if (given_up && owes && !n->c->source_gone)
		return ATTENTION_SourceNotThawed;
	if (given_up && n->c->destination_stays)
		return ATTENTION_DestinationNotRemoved;
	if (n->stuck && n->c->reason == REASON_RequestRefused)
		return ATTENTION_RequestRefused;
	if (n->stuck && n->state == SOURCE_Running && n->c->reason == REASON_DestinationPodFailed)
		return ATTENTION_DestinationNotReady;
	return n->stuck ? ATTENTION_CommittedNotRunning : ATTENTION_NONE;
}

static struct condition attention_needed(const struct now *n)
{
	enum attention a = attention_of(n);

	if (a != ATTENTION_NONE)
		return (struct condition){ TRUE, attention_name(a), attention_advice(a) };
	if (n->attention)
		return (struct condition){ FALSE, "Resolved", "it was put right" };
	return (struct condition){ UNKNOWN, NULL, NULL };
}

static struct condition invariant_violated(const struct now *n)
{
	if (!n->c->violated)
		return (struct condition){ UNKNOWN, NULL, NULL };
	return (struct condition){ TRUE, "Violated", n->c->violated };
}

static const struct {
	const char *type;
	struct condition (*compute)(const struct now *n);
	bool rare;                      /* absent until there is something to say */
} conditions[] = {
	{ "Migratable", migratable, false }, { "SourceFrozen", source_frozen, false }, { "DestinationPrepared", destination_prepared, false },
	{ "Committed", committed, false }, { "Succeeded", succeeded, false }, { "Ready", ready, false },
	{ "Reconciling", reconciling, false }, { "Stalled", stalled, false },
	{ "SourceThrottled", source_throttled, true }, { "MemoryComplete", memory_complete, true }, { "AttentionNeeded", attention_needed, true }, { "InvariantViolated", invariant_violated, true },
};

static void put_number(cJSON *o, const char *key, int64_t n)
{
	cJSON_DeleteItemFromObjectCaseSensitive(o, key);
	cJSON_AddNumberToObject(o, key, (double)n);
}

static cJSON *condition_json(const cJSON *migration, const char *type, const struct condition *c, int64_t generation, int64_t now_us)
{
	const cJSON *old = view_condition(migration, type);
	char when[CLOCK_RFC3339_SIZE];
	cJSON *j, *message;

	/* kstatus wants all of them to be of the generation that was seen. */
	if (old && !c->reason) {
		j = cJSON_Duplicate(old, 1);
		put_number(j, "observedGeneration", generation);
		return j;
	}
	clock_rfc3339(now_us, 1, when);
	j = cJSON_CreateObject();
	cJSON_AddStringToObject(j, "type", type);
	cJSON_AddStringToObject(j, "status", truth_name[c->truth]);
	cJSON_AddNumberToObject(j, "observedGeneration", (double)generation);
	/* Only a change of status is a transition (Kubernetes API conventions). */
	cJSON_AddStringToObject(j, "lastTransitionTime",
				old && !strcmp(json_str_or(old, "status", ""), truth_name[c->truth]) ? json_str_or(old, "lastTransitionTime", when) : when);
	cJSON_AddStringToObject(j, "reason", c->reason ? c->reason : "NotChecked");
	message = cJSON_AddStringToObject(j, "message", c->message ? c->message : "");
	/* One byte that is no text, and the API server refuses the whole status; that would be the end that is never written. */
	if (message)
		text_clean(message->valuestring);
	return j;
}

static cJSON *conditions_json(const cJSON *migration, const struct status_change *change, int64_t generation)
{
	const cJSON *old = view_condition(migration, "Succeeded");
	struct now n = {
		.c = change,
		.decision = view_decision(migration),
		.state = state_of(migration),
		.ended = phase_ended(change->phase),
		.completes = !strcmp(json_str_or(migration, "spec/strategy", ""), "PostCopy"),
		.attention = status_attention(migration) != ATTENTION_NONE,
		.not_thawed = strstr(json_str_or(migration, "status/source/error/message", ""), PM_NOT_THAWED) != NULL,
		.not_lifted = is_not_lifted(migration),
		.stuck = change->reason != REASON_NONE && !phase_ended(change->phase),
		.reason = change->reason != REASON_NONE ? reason_name(change->reason) : phase_name(change->phase),
		.message = change->message[0] ? change->message : json_str_or(old, "message", ""),
	};
	cJSON *list = cJSON_CreateArray();

	find_slowed(migration, n.slowed, sizeof(n.slowed));
	for (size_t i = 0; i < COUNT(conditions); i++) {
		struct condition c = conditions[i].compute(&n);

		if (conditions[i].rare && !c.reason && !view_condition(migration, conditions[i].type))
			continue;
		cJSON_AddItemToArray(list, condition_json(migration, conditions[i].type, &c, generation, change->now_us));
	}
	return list;
}

/* --- the other fields --- */

void bytes_format(int64_t bytes, char *out, size_t size)
{
	static const char *const unit[] = { "Ki", "Mi", "Gi", "Ti" };
	double v = (double)bytes;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(out, size, "%" PRId64, bytes);
		return;
	}
	for (v /= 1024; v >= 1024 && i + 1 < COUNT(unit); i++)
		v /= 1024;
	snprintf(out, size, "%.1f%s", v, unit[i]);
}

static cJSON *transitions_json(const cJSON *migration, const struct status_change *c)
{
	const cJSON *old = json_at(migration, "status/phaseTransitionTimestamps");
	cJSON *list = cJSON_IsArray(old) ? cJSON_Duplicate(old, 1) : cJSON_CreateArray(), *e;
	char when[CLOCK_RFC3339_SIZE];

	if (view_phase_time_us(migration, c->phase))
		return list;
	clock_rfc3339(c->now_us, 0, when);
	e = cJSON_CreateObject();
	cJSON_AddStringToObject(e, "phase", phase_name(c->phase));
	cJSON_AddStringToObject(e, "time", when);
	cJSON_AddItemToArray(list, e);
	return list;
}

static void keep_or_set(cJSON *status, const cJSON *migration, const char *key, const cJSON *fresh)
{
	const cJSON *v = fresh ? fresh : cJSON_GetObjectItemCaseSensitive(json_at(migration, "status"), key);

	if (v)
		cJSON_AddItemToObject(status, key, cJSON_Duplicate(v, 1));
}

static void add_numbers(cJSON *status, const cJSON *migration)
{
	int64_t downtime, bytes;
	char text[32];

	if (json_int(migration, "status/source/downtimeMicroseconds", 0, INT64_MAX, &downtime) == 0) {
		duration_format(downtime, text, sizeof(text));
		cJSON_AddStringToObject(status, "downtime", text);
	}
	if (json_int(migration, "status/source/bytesTransferred", 0, INT64_MAX, &bytes) == 0) {
		cJSON_AddNumberToObject(status, "bytesTransferred", (double)bytes);
		bytes_format(bytes, text, sizeof(text));
		cJSON_AddStringToObject(status, "transferred", text);
	}
}

static void add_completion(cJSON *status, const cJSON *migration, const struct status_change *c)
{
	char when[CLOCK_RFC3339_SIZE];

	if (!phase_ended(c->phase))
		return;
	clock_rfc3339(c->now_us, 1, when);
	cJSON_AddStringToObject(status, "completionTime", json_str_or(migration, "status/completionTime", when));
}

void status_keep(const cJSON *migration, struct status_change *ret)
{
	const cJSON *stalled = view_condition(migration, "Stalled");

	ret->phase = view_phase(migration);
	ret->message = "";
	ret->reason = !strcmp(json_str_or(stalled, "status", ""), "True") ? reason_from_name(json_str(stalled, "reason")) : REASON_NONE;
}

/* Nothing in the new status differs from what is there. */
static bool same(const cJSON *migration, const cJSON *status)
{
	const cJSON *old = json_at(migration, "status"), *e;

	cJSON_ArrayForEach(e, status) {
		if (!cJSON_Compare(e, cJSON_GetObjectItemCaseSensitive(old, e->string), 1))
			return false;
	}
	return true;
}

static cJSON *status_json(const cJSON *migration, const struct status_change *c)
{
	cJSON *status = cJSON_CreateObject();
	int64_t generation = 0;

	json_int(migration, "metadata/generation", 0, INT64_MAX, &generation);
	cJSON_AddNumberToObject(status, "observedGeneration", (double)generation);
	cJSON_AddStringToObject(status, "phase", phase_name(c->phase));
	cJSON_AddItemToObject(status, "phaseTransitionTimestamps", transitions_json(migration, c));
	cJSON_AddNumberToObject(status, "epoch", (double)c->epoch);
	keep_or_set(status, migration, "sourcePod", c->source_pod);
	keep_or_set(status, migration, "destinationPod", c->destination_pod);
	add_numbers(status, migration);
	add_completion(status, migration, c);
	cJSON_AddItemToObject(status, "conditions", conditions_json(migration, c, generation));
	return status;
}

/* For kube_apply: the object that was read, and no other. */
static cJSON *object_json(const cJSON *migration, cJSON *status)
{
	cJSON *o = cJSON_CreateObject(), *meta;

	cJSON_AddStringToObject(o, "apiVersion", MIGRATION_API);
	cJSON_AddStringToObject(o, "kind", MIGRATION_KIND);
	meta = cJSON_AddObjectToObject(o, "metadata");
	cJSON_AddStringToObject(meta, "name", view_name(migration));
	cJSON_AddStringToObject(meta, "namespace", view_namespace(migration));
	cJSON_AddStringToObject(meta, "uid", view_uid(migration));
	cJSON_AddStringToObject(meta, "resourceVersion", json_str_or(migration, "metadata/resourceVersion", ""));
	cJSON_AddItemToObject(o, "status", status);
	return o;
}

cJSON *status_build(const cJSON *migration, const struct status_change *change)
{
	cJSON *status = status_json(migration, change);

	if (same(migration, status)) {
		cJSON_Delete(status);
		return NULL;
	}
	return object_json(migration, status);
}

cJSON *status_observe(const cJSON *migration, int64_t epoch)
{
	/* What status_json writes; applying less would take it away. */
	static const char *const ours[] = { "phase", "phaseTransitionTimestamps", "sourcePod", "destinationPod", "downtime", "bytesTransferred", "transferred",
					    "completionTime", "conditions" };
	int64_t generation = 0, observed = 0;
	cJSON *status, *c;

	if (json_int(migration, "metadata/generation", 0, INT64_MAX, &generation) < 0 || json_int(migration, "status/observedGeneration", 0, INT64_MAX, &observed) < 0 ||
	    observed >= generation)
		return NULL;
	status = cJSON_CreateObject();
	for (size_t i = 0; i < COUNT(ours); i++)
		keep_or_set(status, migration, ours[i], NULL);
	put_number(status, "observedGeneration", generation);
	put_number(status, "epoch", epoch);
	cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(status, "conditions"))
		put_number(c, "observedGeneration", generation);
	return object_json(migration, status);
}
