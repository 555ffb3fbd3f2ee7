/* SPDX-License-Identifier: Apache-2.0 */
#include "invariants.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "migration/names.h"
#include "view.h"

/* What every check asks for. */
struct seen {
	const struct inspected *i;
	const struct observed *o;
	const cJSON *m;
	enum phase phase;
	enum decision decision;
	enum source_state state;
	char *text;
};

/* Always true, so that a check can end with it. */
static bool __attribute__((format(printf, 2, 3))) violated(const struct seen *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->text, VIOLATION_SIZE, fmt, ap);
	va_end(ap);
	return true;
}

static bool error_reported(const struct seen *s)
{
	const char *message;
	int reason;

	return view_source_error(s->m, &reason, &message);
}

/* Committed, and the destination could say for certain that it never ran: the agent has thawed the source, and says why. */
static bool is_given_back(const struct seen *s)
{
	return s->decision == DECISION_COMMIT && s->state == SOURCE_Aborted && error_reported(s);
}

/* Told by the source's agent, or by the destination's receipt. */
static bool is_running(const struct seen *s)
{
	return (s->state == SOURCE_Running && !error_reported(s)) || view_receipt(s->m);
}

static bool one_running_copy(const struct seen *s)
{
	if (s->decision == DECISION_COMMIT && s->state == SOURCE_Aborted && !is_given_back(s))
		return violated(s, "the migration is committed, and the agent has thawed the source without saying why it may");
	if (s->decision != DECISION_COMMIT && (s->state == SOURCE_Running || view_receipt(s->m)))
		return violated(s, "the agent reports that the destination runs, and nothing was committed");
	if (s->phase == PHASE_Succeeded && !json_bool(s->m, "spec/dryRun") && s->o->source && !view_deleting(s->o->source))
		return violated(s, "the migration has succeeded, and source pod %s is still there", view_name(s->o->source));
	return false;
}

static bool no_cold_start(const struct seen *s)
{
	const char *name = view_cold_container(s->m, s->o->destination);

	if (s->decision != DECISION_COMMIT || s->phase == PHASE_Succeeded || is_given_back(s) || !name || !s->o->source || view_deleting(s->o->source))
		return false;
	/* Where it can be lost by design; a person is told all the same (Stalled). */
	if (!strcmp(json_str_or(s->m, "spec/strategy", ""), "PostCopy"))
		return false;
	return violated(s, "container %s of the destination was started anew from its image; only the source still holds its memory", name);
}

static bool late(const struct seen *s, int64_t since, int64_t limit)
{
	return s->o->now_us > since + limit;
}

static bool is_stalled(const struct seen *s)
{
	return !strcmp(json_str_or(view_condition(s->m, "Stalled"), "status", ""), "True");
}

static bool frozen_has_deadline(const struct seen *s)
{
	int64_t since = view_phase_time_us(s->m, PHASE_Preparing), abort = view_time_us(s->m, "status/abort/time");

	if (!s->o->source || view_receipt(s->m) || s->state < SOURCE_Freezing || s->state > SOURCE_Committed || phase_ended(s->phase))
		return false;
	if (!since)
		return violated(s, "the source is frozen, and when the migration began is not recorded");
	if (s->decision == DECISION_NONE && late(s, since, view_timeout_us(s->m) + LIMIT_SLACK))
		return violated(s, "the source is frozen beyond spec.timeout, and nothing is decided");
	if (s->decision == DECISION_ABORT && abort && late(s, abort, LIMIT_POD_GONE + LIMIT_SLACK))
		return violated(s, "the migration was aborted long ago, and it is neither thawed nor ended");
	since = view_phase_time_us(s->m, PHASE_Committed);
	if (s->decision == DECISION_COMMIT && since && late(s, since, LIMIT_RUNNING + LIMIT_SLACK) && !is_stalled(s))
		return violated(s, "committed long ago, the source is frozen, and nobody was told");
	return false;
}

/* By the controller, or by an agent, as far as it says when; else 0. */
static int64_t aborted_at(const struct seen *s)
{
	int64_t t = view_time_us(s->m, "status/abort/time");

	return t ? t : view_time_us(s->m, "status/source/updated");
}

static bool phase_has_deadline(const struct seen *s)
{
	int64_t since = s->phase == PHASE_Pending ? view_time_us(s->m, "metadata/creationTimestamp") : view_phase_time_us(s->m, s->phase);
	int64_t limit = s->phase == PHASE_Pending ? LIMIT_PENDING : view_timeout_us(s->m) + LIMIT_THAW + LIMIT_POD_GONE + LIMIT_SLACK;

	if (phase_ended(s->phase) || !view_has_finalizer(s->m))
		return false;
	if (!since)
		return violated(s, "when phase %s began is not recorded", phase_name(s->phase));
	/* Controllers that were away for long abort when they come back: what is to go then has its time from there on. */
	if (s->decision == DECISION_ABORT && aborted_at(s) > since + view_timeout_us(s->m)) {
		since = aborted_at(s);
		limit = LIMIT_THAW + LIMIT_POD_GONE + LIMIT_SLACK;
	}
	/* What is committed ends when it can; a person is told when it cannot (FrozenHasDeadline). */
	if (s->phase == PHASE_Committed || !late(s, since, limit))
		return false;
	return violated(s, "phase %s lasts for more than %" PRId64 " s", phase_name(s->phase), limit / 1000000);
}

static bool destination_matches(const struct seen *s)
{
	return s->i->mismatch && s->i->mismatch[0] && violated(s, "the destination pod is not what it was to be: %s", s->i->mismatch);
}

static bool decision_final(const struct seen *s)
{
	static const char *const words[] = { "none", "Commit", "Abort" };
	const struct store_past *p = s->i->past;

	return p->known && p->decision != DECISION_NONE && p->decision != (int)s->decision &&
	       violated(s, "the decision was %s and is %s", words[p->decision], words[s->decision]);
}

static bool phase_order(const struct seen *s)
{
	const struct store_past *p = s->i->past;

	return p->known && !phase_may_reach((enum phase)p->phase, s->phase) &&
	       violated(s, "phase %s follows %s", phase_name(s->phase), phase_name((enum phase)p->phase));
}

static bool epoch_grows(const struct seen *s)
{
	int64_t epoch = 0;

	json_int(s->m, "status/epoch", 0, INT64_MAX, &epoch);
	return s->i->past->known && epoch < s->i->past->epoch &&
	       violated(s, "a leader of epoch %" PRId64 " has written after one of epoch %" PRId64, epoch, s->i->past->epoch);
}

static bool end_tells_truth(const struct seen *s)
{
	if (json_bool(s->m, "spec/dryRun"))
		return s->phase == PHASE_Succeeded && (s->decision == DECISION_COMMIT || (json_str(s->m, "status/destinationPod/uid") && !view_rehearses(s->m))) &&
		       violated(s, "a dry run has made a destination pod, or was committed");
	if (s->phase == PHASE_Succeeded && (s->decision != DECISION_COMMIT || !is_running(s)))
		return violated(s, "Succeeded, and the destination was not committed to, or not reported to run");
	return (s->phase == PHASE_Failed || s->phase == PHASE_Cancelled) && s->decision == DECISION_COMMIT && !is_given_back(s) &&
	       violated(s, "%s, and the migration is committed", phase_name(s->phase));
}

static bool nothing_left(const struct seen *s)
{
	int64_t end = view_time_us(s->m, "status/completionTime");

	if (!phase_ended(s->phase))
		return false;
	/* What the watch shows of a pod may be older than the end. */
	if (!end || !late(s, end, LIMIT_LEFT))
		return false;
	if (s->o->source && (s->phase != PHASE_Succeeded || view_rehearses(s->m)) && !strcmp(view_label(s->o->source, PM_LABEL_MIGRATION), view_uid(s->m)))
		return violated(s, "source pod %s still carries the label of the migration", view_name(s->o->source));
	if (s->o->destination && (s->phase != PHASE_Succeeded || view_rehearses(s->m)))
		return violated(s, "destination pod %s is still there", view_name(s->o->destination));
	return view_has_finalizer(s->m) && violated(s, "the finalizer is still there: the agent of the source has not told that the source was thawed");
}

typedef bool (*check_fn)(const struct seen *s);

#define I(name, text) #name,
static const char *const names[INVARIANT_COUNT] = { INVARIANT_LIST(I) };
#undef I
#define I(name, text) text,
static const char *const texts_of[INVARIANT_COUNT] = { INVARIANT_LIST(I) };
#undef I

static const check_fn checks[INVARIANT_COUNT] = {
	[INVARIANT_OneRunningCopy] = one_running_copy, [INVARIANT_NoColdStart] = no_cold_start, [INVARIANT_FrozenHasDeadline] = frozen_has_deadline,
	[INVARIANT_PhaseHasDeadline] = phase_has_deadline, [INVARIANT_DestinationMatches] = destination_matches,
	[INVARIANT_DecisionFinal] = decision_final, [INVARIANT_PhaseOrder] = phase_order, [INVARIANT_EpochGrows] = epoch_grows,
	[INVARIANT_EndTellsTruth] = end_tells_truth, [INVARIANT_NothingLeft] = nothing_left,
};

const char *invariant_name(enum invariant i)
{
	return (unsigned)i < INVARIANT_COUNT ? names[i] : "?";
}

const char *invariant_text(enum invariant i)
{
	return (unsigned)i < INVARIANT_COUNT ? texts_of[i] : "?";
}

uint32_t invariants_check(const struct inspected *i, char texts[INVARIANT_COUNT][VIOLATION_SIZE])
{
	const cJSON *m = i->o->migration;
	struct seen s = { .i = i, .o = i->o, .m = m, .phase = view_phase(m), .decision = view_decision(m), .state = view_source_state(m) };
	uint32_t bad = 0;

	for (int k = 0; k < INVARIANT_COUNT; k++) {
		s.text = texts[k];
		texts[k][0] = '\0';
		if (checks[k](&s))
			bad |= 1u << k;
	}
	return bad;
}
