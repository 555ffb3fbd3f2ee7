/* SPDX-License-Identifier: Apache-2.0 */
#include "act.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "destination_pod.h"
#include "facts.h"
#include "handover.h"
#include "migration/machine.h"
#include "migration/reason.h"
#include "names.h"
#include "notify.h"
#include "order.h"
#include "preflight.h"
#include "secrets.h"
#include "seen.h"
#include "status.h"
#include "view.h"

#define NAME_ATTEMPTS 8
#define DELETE_GRACE_S 1

int path_of(char out[1024], const char *gv, const char *ns, const char *plural, const char *name, const char *sub, struct error *err)
{
	int r = kube_path(out, 1024, gv, ns, plural, name, sub);

	return r < 0 ? error_set(err, r, "not a valid name: %s %s/%s", plural, ns ? ns : "", name ? name : "") : 0;
}

static int migration_path(const cJSON *m, const char *sub, char out[1024], struct error *err)
{
	return path_of(out, MIGRATION_API, view_namespace(m), MIGRATION_PLURAL, view_name(m), sub, err);
}

/* A policy, a webhook, a right that is missing: the same would be said the next time. */
static bool is_refusal(int r)
{
	return r == -EACCES || r == -EINVAL;
}

/* --- the PodMigration --- */

/* The server's answer becomes what we know. */
static void take_answer(struct worker *w, struct turn *t, cJSON *answer)
{
	if (!answer)
		return;
	store_put_migration(w->c->store, answer);
	cJSON_Delete(t->migration);
	t->migration = answer;
}

static void set_gone(struct worker *w, struct turn *t)
{
	store_remove_migration(w->c->store, t->migration);
	t->gone = true;
}

int act_reread(struct worker *w, struct turn *t, struct error *err)
{
	char path[1024];
	cJSON *o = NULL;
	int r = migration_path(t->migration, NULL, path, err);

	if (r == 0)
		r = kube_get(w->client, path, &o, err);
	if (r == 0 && strcmp(view_uid(o), view_uid(t->migration))) {
		store_put_migration(w->c->store, o);
		cJSON_Delete(o);
		t->gone = true;
		return 0;
	}
	if (r == -ENOENT) {
		set_gone(w, t);
		return 0;
	}
	if (r == 0)
		take_answer(w, t, o);
	return r;
}

/* A merge patch that is refused when the object is not the one that was read. */
static cJSON *guarded_patch(const cJSON *m)
{
	cJSON *p = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(p, "metadata");

	cJSON_AddStringToObject(meta, "uid", view_uid(m));
	cJSON_AddStringToObject(meta, "resourceVersion", json_str_or(m, "metadata/resourceVersion", ""));
	return p;
}

static int patch_migration(struct worker *w, struct turn *t, const char *sub, const cJSON *patch, struct error *err)
{
	char path[1024];
	cJSON *answer = NULL;
	int r = migration_path(t->migration, sub, path, err);

	if (r == 0)
		r = kube_merge_patch(w->client, path, PM_MANAGER_CONTROLLER, patch, &answer, err);
	if (r == -ENOENT) {
		set_gone(w, t);
		return 0;
	}
	take_answer(w, t, answer);
	return r;
}

static int patch_finalizers(struct worker *w, struct turn *t, bool add, struct error *err)
{
	cleanup_json cJSON *patch = guarded_patch(t->migration);
	cJSON *list = cJSON_AddArrayToObject(cJSON_GetObjectItemCaseSensitive(patch, "metadata"), "finalizers");
	const cJSON *e;
	int r;

	cJSON_ArrayForEach(e, json_at(t->migration, "metadata/finalizers")) {
		if (cJSON_IsString(e) && strcmp(e->valuestring, PM_FINALIZER))
			cJSON_AddItemToArray(list, cJSON_CreateString(e->valuestring));
	}
	if (add)
		cJSON_AddItemToArray(list, cJSON_CreateString(PM_FINALIZER));
	r = patch_migration(w, t, NULL, patch, err);
	/* With its last finalizer a deleted object is gone; the answer was its last state. */
	if (r == 0 && !add && view_deleting(t->migration) && !json_at(t->migration, "metadata/finalizers/0"))
		set_gone(w, t);
	return r;
}

/* built: from status.h, NULL when there is nothing to write; it is freed. */
static int apply_status(struct worker *w, struct turn *t, cJSON *built, struct error *err)
{
	cleanup_json cJSON *o = built;
	cJSON *answer = NULL;
	char path[1024];
	int r;

	t->unchanged = !o;
	if (!o)
		return 0;
	r = migration_path(t->migration, "status", path, err);
	if (r == 0)
		r = kube_apply(w->client, path, PM_MANAGER_CONTROLLER, true, o, &answer, err);
	if (r == -ENOENT) {
		set_gone(w, t);
		return 0;
	}
	if (r == 0)
		take_answer(w, t, answer);
	return r;
}

static int write_status(struct worker *w, struct turn *t, struct status_change *c, struct error *err)
{
	enum phase from = view_phase(t->migration);
	enum attention before;
	char slowed[1024];
	int r;

	if ((from != c->phase && !phase_may_follow(from, c->phase)) ||
	    (c->phase == PHASE_Succeeded && from != PHASE_Committed && from != c->phase && !json_bool(t->migration, "spec/dryRun")))
		return error_reason(err, -EPROTO, REASON_InternalError, "phase %s may not follow %s", phase_name(c->phase), phase_name(from));
	c->epoch = w->c->epoch;
	c->now_us = clock_real_us();
	before = status_attention(t->migration);
	snprintf(slowed, sizeof(slowed), "%s", status_throttled(t->migration));
	r = apply_status(w, t, status_build(t->migration, c), err);
	if (r < 0 || t->unchanged || t->gone)
		return r;
	if (from != c->phase)
		notify_phase(w->c, t->migration, from, c->phase, c->reason, c->message);
	if (status_attention(t->migration) != ATTENTION_NONE && status_attention(t->migration) != before)
		notify_attention(w->c, t->migration, status_attention(t->migration));
	if (status_throttled(t->migration)[0] && strcmp(status_throttled(t->migration), slowed))
		notify_throttled(w->c, t->migration, status_throttled(t->migration), !slowed[0]);
	return 0;
}

int act_live(struct worker *w, struct turn *t, struct error *err)
{
	struct status_change c = { .source_gone = !t->source };

	if (!status_live_changed(t->migration))
		return 0;
	status_keep(t->migration, &c);
	return write_status(w, t, &c, err);
}

int act_note(struct worker *w, struct turn *t, const char *violated, struct error *err)
{
	struct status_change c = { .violated = violated, .source_gone = !t->source };

	status_keep(t->migration, &c);
	return write_status(w, t, &c, err);
}

/* "step: METHOD path: HTTP 403": the server's own words may be others each time (addresses, numbers of requests). */
static size_t head_of(const char *refusal)
{
	const char *http = strstr(refusal, ": HTTP ");

	return http ? (size_t)(http - refusal) + strlen(": HTTP 403") : strlen(refusal);
}

int act_tell(struct worker *w, struct turn *t, const char *why, struct error *err)
{
	const char *said = json_str_or(view_condition(t->migration, "Succeeded"), "message", "");
	struct status_change c = { .source_gone = !t->source };
	char text[sizeof(t->step.message)];
	int64_t since = view_phase_time_us(t->migration, PHASE_Committed);
	int r, reason;

	status_keep(t->migration, &c);
	reason = c.reason;
	/* Up to the commit there are limits of time; behind it a person has to be asked for, but not for an API server that only just comes up. */
	if (c.phase == PHASE_Committed && reason == REASON_NONE && since && clock_real_us() > since + LIMIT_RUNNING)
		c.reason = REASON_RequestRefused;
	snprintf(text, sizeof(text), STATUS_CANNOT "%s", why);
	if (c.reason == reason && !strncmp(said, text, head_of(text)))
		return 0;
	c.message = text;
	r = write_status(w, t, &c, err);
	if (r == 0 && !t->gone && !t->unchanged)
		notify_refused(w->c, t->migration, text);
	return r;
}

int act_observe(struct worker *w, struct turn *t, struct error *err)
{
	return apply_status(w, t, status_observe(t->migration, w->c->epoch), err);
}

/* --- pods --- */

static int pod_path(const cJSON *m, const char *name, char out[1024], struct error *err)
{
	return path_of(out, "v1", view_namespace(m), "pods", name, NULL, err);
}

static void forget_pod(struct worker *w, const cJSON *pod)
{
	char ignored[STORE_KEY_SIZE];

	store_remove_pod(w->c->store, pod, ignored);
}

static void remember_pod(struct worker *w, const cJSON *pod)
{
	char ignored[STORE_KEY_SIZE];

	if (view_label(pod, PM_LABEL_MIGRATION)[0])
		store_put_pod(w->c->store, pod, ignored);
}

int act_read_pod(struct worker *w, const char *ns, const char *name, const char *uid, cJSON **ret, struct error *err)
{
	cJSON *pod = NULL;
	char path[1024];
	int r = path_of(path, "v1", ns, "pods", name, NULL, err);

	*ret = NULL;
	if (r == 0)
		r = kube_get(w->client, path, &pod, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	if (strcmp(view_uid(pod), uid)) {
		cJSON_Delete(pod);
		return 0;
	}
	remember_pod(w, pod);
	*ret = pod;
	return 0;
}

/*
 * Was a write by name and UID answered so because the pod is gone, or another one has its name by now?  A UID that does not match is a conflict, in a patch an invalid
 * change; but invalid, and even a bad request, is also what policies and webhooks refuse: then it is there.
 */
static bool is_another(struct worker *w, const cJSON *pod, int r)
{
	cleanup_json cJSON *now = NULL;
	struct error ignored = { 0 };

	if (r != -EINVAL)
		return r == -ENOENT || r == -EAGAIN;
	return act_read_pod(w, view_namespace(pod), view_name(pod), view_uid(pod), &now, &ignored) == 0 && !now;
}

/* Deletes exactly this pod and looks at what has become of it. */
static int delete_pod(struct worker *w, struct turn *t, cJSON **pod, struct error *err)
{
	cleanup_json cJSON *old = take_ptr(*pod);
	char path[1024];
	int r = pod_path(t->migration, view_name(old), path, err);

	if (r == 0)
		r = kube_delete(w->client, path, view_uid(old), DELETE_GRACE_S, err);
	if (r < 0 && !is_another(w, old, r)) {
		error_wrap(err, r, "delete pod %s", view_name(old));
		*pod = take_ptr(old);
		return r;
	}
	r = act_read_pod(w, view_namespace(old), view_name(old), view_uid(old), pod, err);
	if (r == 0 && !*pod)
		forget_pod(w, old);
	return r;
}

/*
 * Marks the source pod with the migration, so that the watch of labelled pods sees it; uid NULL takes the mark away.  version: only when the pod has not
 * changed since (-EAGAIN), or NULL.
 */
static int label_source(struct worker *w, const cJSON *m, const cJSON *pod, const char *version, const char *migration_uid, struct error *err)
{
	cleanup_json cJSON *patch = cJSON_CreateObject(), *answer = NULL;
	cJSON *meta = cJSON_AddObjectToObject(patch, "metadata"), *labels;
	char path[1024];
	int r = pod_path(m, view_name(pod), path, err);

	cJSON_AddStringToObject(meta, "uid", view_uid(pod));
	if (version)
		cJSON_AddStringToObject(meta, "resourceVersion", version);
	labels = cJSON_AddObjectToObject(meta, "labels");
	if (migration_uid)
		cJSON_AddStringToObject(labels, PM_LABEL_MIGRATION, migration_uid);
	else
		cJSON_AddNullToObject(labels, PM_LABEL_MIGRATION);
	if (r == 0)
		r = kube_merge_patch(w->client, path, PM_MANAGER_CONTROLLER, patch, &answer, err);
	if (r == 0)
		remember_pod(w, answer);
	return r < 0 ? error_wrap(err, r, "label pod %s", view_name(pod)) : 0;
}

/* --- Pending: preflight --- */

static cJSON *source_json(const cJSON *pod, const struct preflight *p)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "name", view_name(pod));
	cJSON_AddStringToObject(o, "uid", view_uid(pod));
	cJSON_AddStringToObject(o, "node", json_str_or(pod, "spec/nodeName", ""));
	if (p->source_cluster[0])
		cJSON_AddStringToObject(o, "cluster", p->source_cluster);
	return o;
}

static cJSON *destination_json(const char *name, const char *uid, const char *cluster, const char *node, const char *ip)
{
	const struct {
		const char *key, *value;
	} fields[] = { { "name", name }, { "uid", uid }, { "cluster", cluster }, { "node", node }, { "podIP", ip } };
	cJSON *o = cJSON_CreateObject();

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i].value && fields[i].value[0])
			cJSON_AddStringToObject(o, fields[i].key, fields[i].value);
	return o;
}

/* The end of what a dry run that was to ask the destination tells when it did not. */
static const char *who_was_not_asked(bool source_is_remote)
{
	return source_is_remote ? "neither the agent of the source's node nor that of the destination's was asked" : "the agent of the destination's node was not asked";
}

static int refuse(struct worker *w, struct turn *t, const struct preflight *p, struct error *err)
{
	char all[4096 + 128];
	struct status_change c = { .phase = PHASE_Failed, .reason = p->findings[0].reason, .message = all, .migratable = all };
	size_t n;

	preflight_message(p, all, 4096);
	n = strlen(all);
	if (view_rehearses(t->migration))
		snprintf(all + n, sizeof(all) - n, "; %s", who_was_not_asked(p->source_cluster[0]));
	return write_status(w, t, &c, err);
}

static int refuse_for(struct worker *w, struct turn *t, struct error *err)
{
	int reason = problem_of_refusal(err->message);
	char text[sizeof(err->message) + 64];
	struct status_change c = { .phase = PHASE_Failed, .reason = reason, .message = text, .migratable = text };

	snprintf(text, sizeof(text), "%s: %s", reason_name(reason), err->message);
	return write_status(w, t, &c, err);
}

/*
 * What must be there before an agent sees the phase Preparing: the label and, for an agent of this cluster, the key.  A dry run touches no source pod of this cluster: it has no claim to it, and needs
 * none, since its destination pod has a name of its own.  One in another cluster must carry the order to look, and only one migration may write orders there.
 */
static int begin(struct worker *w, struct turn *t, const cJSON *pod, const struct preflight *p, struct error *err)
{
	cleanup_json cJSON *source = NULL, *destination = NULL;
	struct status_change c = { .phase = PHASE_Preparing, .message = "the pod can be moved; the destination pod is being created", .migratable = "" };
	char name[POD_NAME_SIZE];
	bool dry = view_rehearses(t->migration), claims = !dry || p->source_cluster[0];
	int r = destination_pod_name(pod, view_uid(t->migration), 0, name, err);

	if (!claims)
		c.message = "dry run: the agent of the source's node looks at the processes, before that of the destination's node is asked";
	if (r == 0 && claims)
		r = label_source(w, t->migration, pod, json_str(pod, "metadata/resourceVersion"), view_uid(t->migration), err);
	if (is_refusal(r))
		return refuse_for(w, t, err);
	if (r == 0 && !p->source_cluster[0])
		r = secrets_create_for_agent(w, view_uid(t->migration), err);
	if (r < 0)
		return r;
	source = source_json(pod, p);
	destination = destination_json(name, NULL, p->cluster, p->node, NULL);
	c.source_pod = source;
	c.destination_pod = destination;
	return write_status(w, t, &c, err);
}

/*
 * As far as the source's agent must see it: no label, no Secret, no destination pod.  It looks also when something was found already, that a person hears of all at once; of the destination nothing is
 * asked then.
 */
static int begin_dry(struct worker *w, struct turn *t, const cJSON *pod, const struct preflight *p, struct error *err)
{
	cleanup_json cJSON *source = source_json(pod, p);
	char all[4096];
	struct status_change c = { .phase = PHASE_Preparing, .message = "dry run: the agent of the source's node looks at the processes", .migratable = all,
				   .migratable_reason = p->n ? p->findings[0].reason : REASON_NONE, .source_pod = source };

	preflight_message(p, all, sizeof(all));
	if (p->source_cluster[0]) {
		c.phase = PHASE_Succeeded;
		c.message = "dry run: nothing is in the way, as far as can be seen from this cluster; the node of the source was not asked, since that takes an order on the pod (dryRunScope: Destination). "
			    "Nothing was touched";
	}
	return write_status(w, t, &c, err);
}

static int do_preflight(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *facts = NULL;
	bool dry = json_bool(t->migration, "spec/dryRun"), asks;
	struct preflight p;
	int r = facts_read(w, t->migration, &facts, err);

	if (r < 0)
		return error_wrap(err, r, "preflight");
	preflight_check(t->migration, facts, &p);
	asks = view_rehearses(t->migration) && !p.n;
	if (p.n && !(dry && preflight_agent_can_look(&p)))
		return refuse(w, t, &p, err);
	return (dry && !asks ? begin_dry : begin)(w, t, json_at(facts, "pod"), &p, err);
}

/* --- Preparing: the destination pod --- */

static int do_abort(struct worker *w, struct turn *t, struct error *err);

static int abort_for(struct worker *w, struct turn *t, int reason, const char *message, struct error *err)
{
	t->step.reason = reason;
	snprintf(t->step.message, sizeof(t->step.message), "%s", message);
	return do_abort(w, t, err);
}

/* Without its key it could not be restored; and it is recorded, so that it is found and deleted. */
static int abort_mismatch(struct worker *w, struct turn *t, struct error *err)
{
	char text[512];

	snprintf(text, sizeof(text), "the destination pod was changed when it was created (admission webhooks?): %s", t->mismatch);
	return abort_for(w, t, REASON_DestinationPodFailed, text, err);
}

/* Creates the pod, or finds the one that an earlier try has created.  -EEXIST when the name belongs to another pod. */
static int create_or_adopt(struct worker *w, const cJSON *m, const cJSON *pod, cJSON **ret, struct error *err)
{
	char path[1024];
	cJSON *there = NULL;
	int r = path_of(path, "v1", view_namespace(m), "pods", NULL, NULL, err);

	if (r == 0)
		r = kube_create(w->client, path, pod, ret, err);
	if (r != -EEXIST)
		return r;
	r = pod_path(m, view_name(pod), path, err);
	if (r == 0)
		r = kube_get(w->client, path, &there, err);
	if (r < 0)
		return r == -ENOENT ? -EAGAIN : r;
	if (strcmp(view_label(there, PM_LABEL_MIGRATION), view_uid(m)) || strcmp(view_annotation(there, PM_ANN_MIGRATION), view_uid(m))) {
		cJSON_Delete(there);
		return -EEXIST;
	}
	*ret = there;
	return 0;
}

/* mismatch: how the pod that is there differs from what it was to be; "" else. */
static int create_destination(struct worker *w, const cJSON *m, const cJSON *source, cJSON **ret, char *mismatch, size_t size, struct error *err)
{
	struct destination_spec spec = {
		.node = json_str_or(m, "status/destinationPod/node", ""),
		.cluster = json_str_or(m, "status/destinationPod/cluster", ""),
	};
	int r = -EEXIST;

	for (int attempt = 0; r == -EEXIST && attempt < NAME_ATTEMPTS; attempt++) {
		cleanup_json cJSON *pod = NULL;
		char name[POD_NAME_SIZE];

		r = destination_pod_name(source, view_uid(m), attempt, name, err);
		spec.name = name;
		if (r == 0)
			r = destination_pod_build(m, source, &spec, &pod, err);
		if (r < 0)
			return r;
		r = create_or_adopt(w, m, pod, ret, err);
		if (r == 0)
			destination_pod_matches(pod, *ret, mismatch, size);
	}
	return r;
}

static int record_destination(struct worker *w, struct turn *t, const cJSON *pod, struct error *err)
{
	const cJSON *m = t->migration;
	cleanup_json cJSON *destination = destination_json(view_name(pod), view_uid(pod), json_str(m, "status/destinationPod/cluster"),
							   json_str(m, "status/destinationPod/node"), NULL);
	struct status_change c = { .phase = PHASE_Preparing, .message = "waiting for the destination pod to run", .destination_pod = destination };

	return write_status(w, t, &c, err);
}

static int do_prepare(struct worker *w, struct turn *t, struct error *err)
{
	const char *name = json_str_or(t->migration, "status/sourcePod/name", ""), *uid = json_str_or(t->migration, "status/sourcePod/uid", "");
	cleanup_json cJSON *source = NULL, *pod = NULL;
	char why[sizeof(err->message)];
	int r = act_read_pod(w, view_namespace(t->migration), name, uid, &source, err);

	if (r < 0)
		return r;
	if (!source)
		return abort_for(w, t, REASON_SourceLost, "the source pod is gone", err);
	FAULT_POINT("controller.create", view_name(t->migration));
	r = create_destination(w, t->migration, source, &pod, t->mismatch, sizeof(t->mismatch), err);
	if (r == -EINVAL || r == -EACCES || r == -EEXIST)
		return abort_for(w, t, problem_of_refusal(err->message), err->message, err);
	if (r < 0)
		return error_wrap(err, r, "create the destination pod");
	remember_pod(w, pod);
	if (!t->mismatch[0])
		r = secrets_create_for_pod(w, view_uid(t->migration), pod, err);
	FAULT_POINT("controller.created", view_name(t->migration));
	/* It is recorded first, so that it is found and deleted. */
	if (is_refusal(r)) {
		snprintf(why, sizeof(why), "%s", err->message);
		r = record_destination(w, t, pod, err);
		return r == 0 ? abort_for(w, t, problem_of_refusal(why), why, err) : r;
	}
	if (r == 0)
		r = record_destination(w, t, pod, err);
	return r == 0 && t->mismatch[0] ? abort_mismatch(w, t, err) : r;
}

/* --- orders to the agent of a pod's node, and its receipt --- */

static int patch_ordered(struct worker *w, struct turn *t, const cJSON *pod, const cJSON *patch, struct error *err)
{
	cleanup_json cJSON *answer = NULL;
	char path[1024];
	int r = pod_path(t->migration, view_name(pod), path, err);

	if (r == 0)
		r = kube_merge_patch(w->client, path, PM_MANAGER_CONTROLLER, patch, &answer, err);
	if (r < 0 && is_another(w, pod, r)) {
		forget_pod(w, pod);
		return 0;
	}
	if (r < 0)
		return error_wrap(err, r, "order to the agent of pod %s", view_name(pod));
	remember_pod(w, answer);
	return 0;
}

static int write_order(struct worker *w, struct turn *t, const cJSON *pod, enum order_action action, struct error *err)
{
	cleanup_json cJSON *patch = NULL;
	uint8_t bringing[PM_KEY_SIZE], key[PM_KEY_SIZE];
	int r = secrets_key(w, view_annotation(pod, PM_ANN_MIGRATION), bringing, err);

	if (r == 0)
		r = secrets_key(w, view_uid(t->migration), key, err);
	if (r == 0)
		r = order_patch(t->migration, pod, action, bringing, key, clock_real_us(), &patch, err);
	explicit_bzero(bringing, sizeof(bringing));
	explicit_bzero(key, sizeof(key));
	return r == 0 ? patch_ordered(w, t, pod, patch, err) : r;
}

/*
 * The source with all of its annotations, of which the watch keeps only those that decisions are made of: a dry run puts back what it has found.  NULL: it has changed since this step was
 * decided, and that is decided anew.
 */
static int read_whole_source(struct worker *w, struct turn *t, cJSON **ret, struct error *err)
{
	int r = act_read_pod(w, view_namespace(t->source), view_name(t->source), view_uid(t->source), ret, err);

	if (r == 0 && *ret && strcmp(json_str_or(*ret, "metadata/resourceVersion", ""), json_str_or(t->source, "metadata/resourceVersion", "")))
		cJSON_Delete(take_ptr(*ret));
	return r;
}

static int ask(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *pod = NULL;
	int r = read_whole_source(w, t, &pod, err);

	return r == 0 && pod ? write_order(w, t, pod, ORDER_ASK, err) : r;
}

static int do_order(struct worker *w, struct turn *t, struct error *err)
{
	return view_rehearses(t->migration) ? ask(w, t, err) : write_order(w, t, t->source, ORDER_MIGRATE, err);
}

/* Of a dry run: an agent that has begun ends when its destination goes, and one that has not need not begin any more. */
static int withdraw_order(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *pod = NULL, *patch = NULL;
	int r = read_whole_source(w, t, &pod, err);

	if (r < 0 || !pod)
		return r;
	patch = order_withdraw_patch(pod);
	return patch_ordered(w, t, pod, patch, err);
}

static int do_order_abort(struct worker *w, struct turn *t, struct error *err)
{
	return view_rehearses(t->migration) ? withdraw_order(w, t, err) : write_order(w, t, t->source, ORDER_ABORT, err);
}

static int do_order_commit(struct worker *w, struct turn *t, struct error *err)
{
	log_warning("the agents do not hear each other after the commit; the destination is told by way of its pod",
		    LOG_S("namespace", view_namespace(t->migration)), LOG_S("name", view_name(t->migration)));
	return write_order(w, t, t->destination, ORDER_COMMIT, err);
}

/* Who reads this may delete the source: it is on record before, and stays when the Event has lived its hour. */
static int do_note_receipt(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *patch = guarded_patch(t->migration);
	cJSON *pod = cJSON_AddObjectToObject(cJSON_AddObjectToObject(patch, "status"), "destinationPod");
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_real_us(), 0, now);
	cJSON_AddStringToObject(pod, "receiptTime", now);
	return patch_migration(w, t, "status", patch, err);
}

/* --- phases, decision, end --- */

static int do_record(struct worker *w, struct turn *t, struct error *err)
{
	const cJSON *m = t->migration;
	cleanup_json cJSON *destination = NULL;
	struct status_change c = { .phase = t->step.phase, .reason = t->step.reason, .message = t->step.message };

	/* With its address: for a dry run, or for all. */
	if (t->step.phase == PHASE_Preparing || t->step.phase == PHASE_Transferring) {
		destination = destination_json(json_str(m, "status/destinationPod/name"), json_str(m, "status/destinationPod/uid"),
					       json_str(m, "status/destinationPod/cluster"), json_str(m, "status/destinationPod/node"),
					       json_str(t->destination, "status/podIP"));
		c.destination_pod = destination;
	}
	return write_status(w, t, &c, err);
}

/*
 * The race against the commit: the resource version makes it a compare-and-swap, the CRD's rule a fence.  A refusal (-EAGAIN or -EINVAL) means that
 * something was written in between, perhaps the commit: it is read and decided anew.
 */
static int do_abort(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *patch = guarded_patch(t->migration);
	cJSON *status = cJSON_AddObjectToObject(patch, "status"), *abort;
	char now[CLOCK_RFC3339_SIZE];
	int r;

	clock_rfc3339(clock_real_us(), 0, now);
	cJSON_AddStringToObject(status, "decision", "Abort");
	abort = cJSON_AddObjectToObject(status, "abort");
	cJSON_AddStringToObject(abort, "reason", reason_name(t->step.reason));
	cJSON_AddStringToObject(abort, "message", t->step.message);
	cJSON_AddStringToObject(abort, "time", now);
	r = patch_migration(w, t, "status", patch, err);
	if (r == 0 && !t->gone)
		notify_abort(w->c, t->migration, t->step.reason, t->step.message);
	if (r != -EINVAL)
		return r;
	r = act_reread(w, t, err);
	return r < 0 || t->gone || view_decision(t->migration) != DECISION_NONE ? r : error_set(err, -EIO, "the abort was refused: %s", err->message);
}

static int do_delete_destination(struct worker *w, struct turn *t, struct error *err)
{
	return delete_pod(w, t, &t->destination, err);
}

/* --- a pod with an owner --- */

/* Of the two the ReplicaSet shall delete the source, if it comes to that before we do. */
static int cheapen_source(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *patch = cJSON_CreateObject(), *answer = NULL;
	cJSON *meta = cJSON_AddObjectToObject(patch, "metadata");
	char path[1024];
	int r;

	if (!t->source || view_deleting(t->source))
		return 0;
	cJSON_AddStringToObject(meta, "uid", view_uid(t->source));
	cJSON_AddStringToObject(cJSON_AddObjectToObject(meta, "annotations"), ANN_DELETION_COST, DELETION_COST_LOWEST);
	r = pod_path(t->migration, view_name(t->source), path, err);
	if (r == 0)
		r = kube_merge_patch(w->client, path, PM_MANAGER_CONTROLLER, patch, &answer, err);
	if (r < 0 && is_another(w, t->source, r))
		return 0;
	return r < 0 ? error_wrap(err, r, "deletion cost of pod %s", view_name(t->source)) : 0;
}

/*
 * One write gives the destination the owner and the labels; whoever watches pods sees it after the source's cost and before the source's deletion.  The pod is
 * read anew, and the write is refused when it has changed since: that it is Ready must still be true.
 */
static int do_hand_over(struct worker *w, struct turn *t, struct error *err)
{
	cleanup_json cJSON *pod = NULL, *patch = NULL;
	struct observed o = { .migration = t->migration, .source = t->source, .now_us = clock_real_us() };
	cJSON *answer = NULL;
	char path[1024];
	int r = cheapen_source(w, t, err);

	if (r == 0)
		r = pod_path(t->migration, view_name(t->destination), path, err);
	if (r == 0)
		r = kube_get(w->client, path, &pod, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	remember_pod(w, pod);
	o.destination = pod;
	if (!seen_fact(&o, FACT_AT_MayHandOver, &t->step) || !view_annotation(pod, ANN_WITHHELD)[0])
		return 0;
	r = handover_patch(pod, &patch, err);
	if (r == 0)
		r = kube_merge_patch(w->client, path, PM_MANAGER_CONTROLLER, patch, &answer, err);
	if (r < 0)
		return error_wrap(err, r, "labels and owner of pod %s", view_name(pod));
	remember_pod(w, answer);
	cJSON_Delete(answer);
	/* At once, and with our short grace: a frozen process does not hear the signal that the owner would wait for. */
	return t->source ? delete_pod(w, t, &t->source, err) : 0;
}

static int do_delete_source(struct worker *w, struct turn *t, struct error *err)
{
	FAULT_POINT("controller.delete", view_name(t->migration));
	return delete_pod(w, t, &t->source, err);
}

/* It has changed since it was read: it is read, and this step decided anew.  0: it is gone. */
static int look_again(struct worker *w, const struct turn *t, struct error *err)
{
	cleanup_json cJSON *now = NULL;
	int r = act_read_pod(w, view_namespace(t->source), view_name(t->source), view_uid(t->source), &now, err);

	return r == 0 && now ? -EAGAIN : r;
}

/*
 * The source goes on as before: with the label of the migration that brought it, when one did.  A dry run that has written an order there leaves it as it was read: a controller that had been the leader may
 * have written its order just now, which nobody would take back any more; one that is written later finds another version, too (order_patch).
 */
static int unmark_source(struct worker *w, struct turn *t, struct error *err)
{
	const char *bringing = t->source ? view_annotation(t->source, PM_ANN_MIGRATION) : "";
	bool asked = view_rehearses(t->migration) && view_source_is_remote(t->migration);
	int r;

	if (!t->source || strcmp(view_label(t->source, PM_LABEL_MIGRATION), view_uid(t->migration)))
		return 0;
	r = label_source(w, t->migration, t->source, asked ? json_str(t->source, "metadata/resourceVersion") : NULL, bringing[0] ? bringing : NULL, err);
	/* A mark that may not be taken away is no reason to keep the migration from its end. */
	if (is_refusal(r))
		log_warning("the mark stays on the source", LOG_S("namespace", view_namespace(t->migration)), LOG_S("name", view_name(t->migration)), LOG_S("err", err->message));
	if (r == -EAGAIN && asked)
		return look_again(w, t, err);
	return is_refusal(r) || r == -ENOENT || r == -EAGAIN ? 0 : r;
}

/*
 * What the agent found before anything was moved is one of the checks.  Behind what the checks of a dry run had found, and what keeps the agent from an answer as well: the first names the
 * reason, as it does when all is known at once.
 */
static void add_findings(const struct turn *t, struct status_change *c, char *out, size_t size)
{
	const cJSON *before = status_not_migratable(t->migration);
	bool dry = json_bool(t->migration, "spec/dryRun"), not_asked = view_rehearses(t->migration) && !json_str(t->migration, "status/destinationPod/podIP");
	size_t n;

	if (c->phase != PHASE_Failed || view_phase(t->migration) != PHASE_Preparing || (!before && !dry && !json_at(t->migration, "status/source/error")))
		return;
	if (before && c->reason == REASON_DryRun)
		snprintf(out, size, "%s", json_str_or(before, "message", ""));
	else
		snprintf(out, size, "%s%s%s: %s", json_str_or(before, "message", ""), before ? "; " : "", reason_name(c->reason), c->message);
	n = strlen(out);
	if (not_asked)
		snprintf(out + n, size - n, "; %s", who_was_not_asked(view_source_is_remote(t->migration)));
	c->migratable = out;
	if (!before)
		return;
	c->message = out;
	c->reason = reason_from_name(json_str(before, "reason"));
}

static int do_end(struct worker *w, struct turn *t, struct error *err)
{
	struct status_change c = { .phase = t->step.phase, .reason = t->step.reason, .message = t->step.message };
	char found[sizeof(t->step.message) + 4096 + 128];
	int r = secrets_delete_for_agent(w, view_uid(t->migration), err);

	add_findings(t, &c, found, sizeof(found));
	c.source_gone = !t->source;
	c.destination_stays = t->step.phase != PHASE_Succeeded && t->destination;
	if (r == 0 && (t->step.phase != PHASE_Succeeded || view_rehearses(t->migration)))
		r = unmark_source(w, t, err);
	return r == 0 ? write_status(w, t, &c, err) : r;
}

static int do_add_finalizer(struct worker *w, struct turn *t, struct error *err)
{
	return patch_finalizers(w, t, true, err);
}

/* What was said to be left behind is not any more, or a person has let go. */
static int do_release(struct worker *w, struct turn *t, struct error *err)
{
	int r = phase_ended(view_phase(t->migration)) ? act_note(w, t, NULL, err) : secrets_delete_for_agent(w, view_uid(t->migration), err);

	return r == 0 && !t->gone ? patch_finalizers(w, t, false, err) : r;
}

static int do_delete_object(struct worker *w, struct turn *t, struct error *err)
{
	char path[1024];
	int r = migration_path(t->migration, NULL, path, err);

	if (r == 0)
		r = kube_delete(w->client, path, view_uid(t->migration), -1, err);
	if (r == 0 || r == -ENOENT)
		set_gone(w, t);
	return r == -ENOENT ? 0 : r;
}

typedef int (*act_fn)(struct worker *w, struct turn *t, struct error *err);

static const act_fn table[ACTION_COUNT] = {
	[ACT_ADD_FINALIZER] = do_add_finalizer,
	[ACT_PREFLIGHT] = do_preflight,
	[ACT_PREPARE] = do_prepare,
	[ACT_RECORD] = do_record,
	[ACT_ORDER] = do_order,
	[ACT_ABORT] = do_abort,
	[ACT_ORDER_ABORT] = do_order_abort,
	[ACT_ORDER_COMMIT] = do_order_commit,
	[ACT_NOTE_RECEIPT] = do_note_receipt,
	[ACT_DELETE_DESTINATION] = do_delete_destination,
	[ACT_HAND_OVER] = do_hand_over,
	[ACT_DELETE_SOURCE] = do_delete_source,
	[ACT_END] = do_end,
	[ACT_RELEASE] = do_release,
	[ACT_DELETE_OBJECT] = do_delete_object,
};

int act_do(struct worker *w, struct turn *t, struct error *err)
{
	act_fn fn = table[t->step.action];

	return fn ? fn(w, t, err) : 0;
}
