/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "act.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "controller.h"
#include "decide.h"
#include "invariants.h"
#include "migration/keys.h"
#include "migration/names.h"
#include "notify.h"
#include "secrets.h"
#include "view.h"

/* More steps than a migration has, that is, a loop: the key comes again by way of the queue. */
#define STEPS_MAX 24

/* --- seeing --- */

/* Of what has ended nobody asks the API server, but for what is to be put right first. */
static bool over_and_done(const cJSON *m)
{
	return phase_ended(view_phase(m)) && !view_has_finalizer(m);
}

/*
 * A pod as the watch has it.  When the watch has it not, the API server is asked: somebody may only have taken our label off, and a pod is believed to be gone
 * on no less than that.
 */
static int see_pod(struct worker *w, const cJSON *m, const char *which, cJSON **ret, struct error *err)
{
	const cJSON *status = json_at(m, "status"), *at = cJSON_GetObjectItemCaseSensitive(status, which);
	const char *uid = json_str_or(at, "uid", "");

	*ret = NULL;
	if (!uid[0] || over_and_done(m))
		return 0;
	*ret = store_pod(w->c->store, uid);
	return *ret ? 0 : act_read_pod(w, view_namespace(m), json_str_or(at, "name", ""), uid, ret, err);
}

/* A destination pod that was created but not recorded when a controller was stopped: found by its name, when the abort came before the record .. */
static int see_unrecorded(struct worker *w, const cJSON *m, cJSON **ret, struct error *err)
{
	const char *name = json_str_or(m, "status/destinationPod/name", "");
	cJSON *pod = NULL;
	char path[1024];
	int r;

	if (*ret || !name[0] || json_str(m, "status/destinationPod/uid") || view_decision(m) != DECISION_ABORT || over_and_done(m))
		return 0;
	r = path_of(path, "v1", view_namespace(m), "pods", name, NULL, err);
	if (r == 0)
		r = kube_get(w->client, path, &pod, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (!strcmp(view_annotation(pod, PM_ANN_MIGRATION), view_uid(m)))
		*ret = pod;
	else
		cJSON_Delete(pod);
	return 0;
}

/* .. or, at any time after, by its label. */
static void see_stray(struct worker *w, const cJSON *m, cJSON **ret)
{
	if (!*ret && phase_ended(view_phase(m)) && (view_phase(m) != PHASE_Succeeded || view_rehearses(m)))
		*ret = store_stray_pod(w->c->store, view_uid(m), json_str_or(m, "status/sourcePod/uid", ""));
}

static int see(struct worker *w, struct turn *t, struct error *err)
{
	int r;

	cJSON_Delete(t->source);
	cJSON_Delete(t->destination);
	t->source = t->destination = NULL;
	r = see_pod(w, t->migration, "sourcePod", &t->source, err);
	if (r == 0)
		r = see_pod(w, t->migration, "destinationPod", &t->destination, err);
	if (r == 0)
		r = see_unrecorded(w, t->migration, &t->destination, err);
	if (r == 0)
		see_stray(w, t->migration, &t->destination);
	return r;
}

/* One that was sealed with this migration's key; whatever else is written there is nobody's word. */
static int find_receipt(struct worker *w, const cJSON *m, const cJSON *events, bool *ret, struct error *err)
{
	uint8_t key[PM_KEY_SIZE];
	const cJSON *e;
	int r = view_decision(m) == DECISION_COMMIT ? secrets_key(w, view_uid(m), key, err) : 0;

	cJSON_ArrayForEach(e, json_at(events, "items")) {
		const char *text = view_annotation(e, PM_ANN_RECEIPT);

		if (r == 0 && text[0] && view_decision(m) == DECISION_COMMIT)
			*ret = *ret || receipt_open(key, view_uid(m), text, strlen(text), NULL) == 0;
	}
	explicit_bzero(key, sizeof(key));
	return r;
}

/* The destination pod's Events, core/v1, since those are what kubelet and Liqo write. */
static int look(struct worker *w, const struct turn *t, struct observed *o, struct error *err)
{
	char path[1024], query[1200];
	cleanup_json cJSON *list = NULL;
	int r = path_of(path, "v1", view_namespace(t->migration), "events", NULL, NULL, err);

	if (r < 0)
		return r;
	snprintf(query, sizeof(query), "%s?fieldSelector=involvedObject.uid%%3D%.64s", path, view_uid(t->destination));
	r = kube_get(w->client, query, &list, err);
	if (r < 0 && r != -EACCES)
		return error_wrap(err, r, "events of the destination pod");
	o->looked = true;
	if (r == 0)
		problem_of_events(list, &o->events, &o->pulling);
	return find_receipt(w, t->migration, list, &o->receipt, err);
}

static int see_and_decide(struct worker *w, struct turn *t, struct error *err)
{
	struct observed o = { .migration = t->migration };
	int r = see(w, t, err);

	if (r < 0)
		return r;
	o.source = t->source;
	o.destination = t->destination;
	o.now_us = clock_real_us();
	decide(&o, &t->step);
	if (t->step.action != ACT_LOOK)
		return 0;
	r = look(w, t, &o, err);
	if (r == 0)
		decide(&o, &t->step);
	return r;
}

/* --- doing --- */

/* An object that a later leader has written to is not ours to touch: we have lost the lease and do not know it yet. */
static int check_epoch(const struct worker *w, const cJSON *m, struct error *err)
{
	int64_t epoch = 0, ours = w->c->epoch;

	json_int(m, "status/epoch", 0, INT64_MAX, &epoch);
	return ours && epoch <= ours ? 0 : error_set(err, -ESTALE, "a newer leader has written to this PodMigration");
}

/* 1: more to do at once; 0: nothing but to wait; negative errno. */
static int one_step(struct worker *w, struct turn *t, struct error *err)
{
	int r = see_and_decide(w, t, err);

	if (r < 0 || t->step.action == ACT_WAIT)
		return r;
	r = check_epoch(w, t->migration, err);
	if (r < 0)
		return r;
	log_debug("step", LOG_S("namespace", view_namespace(t->migration)), LOG_S("name", view_name(t->migration)),
		  LOG_S("phase", phase_name(view_phase(t->migration))), LOG_S("action", action_name(t->step.action)),
		  LOG_S("when", t->step.when));
	t->unchanged = false;
	r = act_do(w, t, err);
	/* Written to by somebody else in between: read it and think again. */
	if (r == -EAGAIN)
		r = act_reread(w, t, err);
	if (r < 0)
		return r;
	return t->gone || (t->step.action == ACT_RECORD && t->unchanged) ? 0 : 1;
}

/* --- is all as it must be? --- */

/* "Invariant: text" of each that is new, behind what the condition says already; returns those.  What was told once is not told again. */
static uint32_t add_violations(const cJSON *m, uint32_t bad, char texts[INVARIANT_COUNT][VIOLATION_SIZE], char *out, size_t size)
{
	uint32_t fresh = 0;

	snprintf(out, size, "%s", json_str_or(view_condition(m, "InvariantViolated"), "message", ""));
	for (int i = 0; i < INVARIANT_COUNT; i++) {
		size_t n = strlen(out);

		if (!(bad & 1u << i) || strstr(out, invariant_name((enum invariant)i)))
			continue;
		snprintf(out + n, size - n, "%s%s: %s", n ? "; " : "", invariant_name((enum invariant)i), texts[i]);
		fresh |= 1u << i;
	}
	return fresh;
}

/* Written first: what could not be written is told when it can be. */
static int tell_violations(struct worker *w, struct turn *t, uint32_t bad, char texts[INVARIANT_COUNT][VIOLATION_SIZE], struct error *err)
{
	char told[INVARIANT_COUNT * (VIOLATION_SIZE + 32)];
	uint32_t fresh = add_violations(t->migration, bad, texts, told, sizeof(told));
	int r = fresh ? act_note(w, t, told, err) : 0;

	if (r == -EAGAIN && act_reread(w, t, err) == 0 && !t->gone) {
		fresh = add_violations(t->migration, bad, texts, told, sizeof(told));
		r = fresh ? act_note(w, t, told, err) : 0;
	}
	for (int i = 0; r == 0 && !t->gone && i < INVARIANT_COUNT; i++)
		if (fresh & 1u << i)
			notify_violation(w->c, t->migration, (enum invariant)i, texts[i]);
	return r;
}

/* which: a bit for each invariant to look at. */
static int inspect(struct worker *w, struct turn *t, uint32_t which, struct error *err)
{
	struct observed o = { .migration = t->migration, .source = t->source, .destination = t->destination, .now_us = clock_real_us() };
	struct store_past past = store_note(w->c->store, t->migration);
	struct inspected i = { .o = &o, .past = &past, .mismatch = t->mismatch };
	char texts[INVARIANT_COUNT][VIOLATION_SIZE];
	uint32_t bad = invariants_check(&i, texts) & which;

	return bad && check_epoch(w, t->migration, err) == 0 ? tell_violations(w, t, bad, texts, err) : 0;
}

/* What the API server has answered is said in the object; that it did not answer is not, since that could not be said either. */
static void tell_failure(struct worker *w, struct turn *t, int r, const struct error *why)
{
	bool answered = r == -EACCES || r == -EINVAL || (r == -EIO && strstr(why->message, ": HTTP 5"));
	struct error err = { 0 };

	if (!answered || t->gone || phase_ended(view_phase(t->migration)) || check_epoch(w, t->migration, &err) < 0)
		return;
	if (act_tell(w, t, why->message, &err) < 0)
		log_debug("the failure is not written down", LOG_S("name", view_name(t->migration)), LOG_S("err", err.message));
}

int reconcile(struct worker *w, const char *key, struct error *err)
{
	struct turn t = { .migration = store_migration(w->c->store, key) };
	int r = 1;

	if (!t.migration)
		return 0;
	/* What others have written since is seen before it is put right. */
	if (inspect(w, &t, INVARIANTS_OF_THE_PAST, err) < 0)
		r = -EAGAIN;
	for (int i = 0; r == 1 && i < STEPS_MAX; i++)
		r = one_step(w, &t, err);
	if (r < 0)
		tell_failure(w, &t, r, err);
	/* A conflict is another change, of which the watch tells. */
	if (r == 0 && !t.gone && check_epoch(w, t.migration, err) == 0 && act_observe(w, &t, err) < 0)
		log_debug("the change of spec is not noted yet", LOG_S("PodMigration", key), LOG_S("err", err->message));
	if (r == 0 && !t.gone && check_epoch(w, t.migration, err) == 0 && act_live(w, &t, err) < 0)
		log_debug("what the source does is not told yet", LOG_S("PodMigration", key), LOG_S("err", err->message));
	if (r >= 0 && !t.gone && inspect(w, &t, INVARIANTS_ALL, err) < 0)
		r = -EAGAIN;
	if (r == 1)
		queue_add(w->c->queue, key);
	else if (r == 0 && !t.gone && t.step.wait_us)
		queue_add_after(w->c->queue, key, t.step.wait_us + 1000);
	cJSON_Delete(t.migration);
	cJSON_Delete(t.source);
	cJSON_Delete(t.destination);
	return r < 0 ? r : 0;
}
