/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <stdio.h>

#include "base/json.h"
#include "base/log.h"
#include "migration/reason.h"
#include "names.h"
#include "view.h"

/* What the Event of a phase says when the step has no message of its own. */
static const struct {
	const char *action, *text;
} texts[PHASE_COUNT] = {
	[PHASE_Pending] = { "Check", "waiting" },
	[PHASE_Preparing] = { "CreateDestinationPod", "the pod can be moved; the destination pod is being created" },
	[PHASE_Transferring] = { "Connect", "the destination pod is there; the agents connect" },
	[PHASE_Freezing] = { "Freeze", "the source is frozen" },
	[PHASE_Restoring] = { "Restore", "the destination restores the containers" },
	[PHASE_Committed] = { "Commit", "committed" },
	[PHASE_Succeeded] = { "Finish", "the pod runs at the destination" },
	[PHASE_Failed] = { "Abort", "the migration failed; the source goes on" },
	[PHASE_Cancelled] = { "Abort", "the migration was cancelled; the source goes on" },
};

static void event(struct controller *c, const cJSON *m, const char *type, const char *reason, const char *action, const char *note)
{
	struct kube_object_ref migration = { MIGRATION_API, MIGRATION_KIND, view_namespace(m), view_name(m), view_uid(m) };
	struct kube_object_ref pod = { "v1", "Pod", view_namespace(m), json_str_or(m, "status/sourcePod/name", ""), json_str_or(m, "status/sourcePod/uid", "") };

	kube_event(c->events, &migration, pod.uid[0] ? &pod : NULL, type, reason, action, note);
	if (pod.uid[0])
		kube_event(c->events, &pod, &migration, type, reason, action, note);
}

void notify_phase(struct controller *c, const cJSON *m, enum phase from, enum phase to, int reason, const char *message)
{
	bool bad = to == PHASE_Failed || to == PHASE_Cancelled;
	const char *name = bad ? reason_name(reason) : phase_name(to), *text = message[0] ? message : texts[to].text;
	char note[1024];

	if (to == PHASE_Succeeded && !json_bool(m, "spec/dryRun"))
		snprintf(note, sizeof(note), "%s; downtime %s, %s transferred", text, json_str_or(m, "status/downtime", "not measured"),
			 json_str_or(m, "status/transferred", "not measured"));
	else
		snprintf(note, sizeof(note), "%s", text);
	event(c, m, bad ? "Warning" : "Normal", name, texts[to].action, note);
	metrics_phase(c->metrics, m, from, to, reason);
	log_info("phase", LOG_S("namespace", view_namespace(m)), LOG_S("name", view_name(m)), LOG_S("migration", view_uid(m)),
		 LOG_S("from", phase_name(from)), LOG_S("to", phase_name(to)), LOG_S("reason", bad ? reason_name(reason) : ""), LOG_S("message", text));
}

void notify_attention(struct controller *c, const cJSON *m, enum attention a)
{
	event(c, m, "Warning", attention_name(a), "Attend", attention_advice(a));
	metrics_attention(c->metrics, a);
	log_error("a person is needed", LOG_S("namespace", view_namespace(m)), LOG_S("name", view_name(m)), LOG_S("migration", view_uid(m)),
		  LOG_S("why", attention_name(a)));
}

void notify_throttled(struct controller *c, const cJSON *m, const char *message, bool first)
{
	event(c, m, "Normal", "SourceThrottled", "Converge", message);
	if (first)
		metrics_throttled(c->metrics);
	log_info("the source is slowed down", LOG_S("namespace", view_namespace(m)), LOG_S("name", view_name(m)), LOG_S("migration", view_uid(m)),
		 LOG_S("message", message));
}

void notify_violation(struct controller *c, const cJSON *m, enum invariant i, const char *text)
{
	char note[1024];

	snprintf(note, sizeof(note), "%s: %s (it must hold that %s)", invariant_name(i), text, invariant_text(i));
	event(c, m, "Warning", "InvariantViolated", "Inspect", note);
	metrics_violation(c->metrics, i);
	log_error("invariant violated", LOG_S("namespace", view_namespace(m)), LOG_S("name", view_name(m)), LOG_S("migration", view_uid(m)),
		  LOG_S("invariant", invariant_name(i)), LOG_S("err", text));
}

void notify_refused(struct controller *c, const cJSON *m, const char *message)
{
	event(c, m, "Warning", reason_name(REASON_RequestRefused), "Retry", message);
}

void notify_abort(struct controller *c, const cJSON *m, int reason, const char *message)
{
	/* How a dry run ends. */
	if (reason == REASON_DryRun)
		return;
	event(c, m, "Warning", "Aborting", "Abort", message);
	log_warning("aborting", LOG_S("namespace", view_namespace(m)), LOG_S("name", view_name(m)), LOG_S("migration", view_uid(m)),
		    LOG_S("reason", reason_name(reason)), LOG_S("message", message));
}
