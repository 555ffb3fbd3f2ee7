/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "migration/reason.h"
#include "net/metrics.h"
#include "view.h"

/* Rows of the table; ranges of one row per phase or reason. */
enum {
	M_RECONCILE_OK,
	M_RECONCILE_ERROR,
	M_RECONCILE_ERRORS,
	M_RECONCILE_TIME,
	M_WORKERS,
	M_WORKERS_ACTIVE,
	M_QUEUE_DEPTH,
	M_QUEUE_RETRIES,
	M_QUEUE_TIME,
	M_LEADING,
	M_SUCCEEDED,
	M_FAILED,
	M_CANCELLED,
	M_DOWNTIME,
	M_BYTES,
	M_PODS,
	M_THROTTLED,
	M_BY_PHASE,
	M_PHASE_TIME = M_BY_PHASE + PHASE_COUNT,
	M_REASON = M_PHASE_TIME + PHASE_COUNT,
	M_ATTENTION = M_REASON + REASON_COUNT,
	M_VIOLATION = M_ATTENTION + ATTENTION_COUNT,
	M_COUNT = M_VIOLATION + INVARIANT_COUNT
};

static const double reconcile_bounds[] = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 0 };
static const double queue_bounds[] = { 0.0001, 0.001, 0.01, 0.1, 1, 10, 0 };
static const double downtime_bounds[] = { 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 0 };
static const double phase_bounds[] = { 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 0 };

#define CONTROLLER "controller=\"podmigration\""
#define QUEUE "name=\"podmigration\""

static const struct metric fixed[M_BY_PHASE] = {
	[M_RECONCILE_OK] = { .name = "controller_runtime_reconcile_total", .labels = CONTROLLER ",result=\"success\"",
			     .help = "Reconciliations, by result.", .type = METRIC_COUNTER },
	[M_RECONCILE_ERROR] = { .name = "controller_runtime_reconcile_total", .labels = CONTROLLER ",result=\"error\"", .type = METRIC_COUNTER },
	[M_RECONCILE_ERRORS] = { .name = "controller_runtime_reconcile_errors_total", .labels = CONTROLLER,
				 .help = "Reconciliations that failed and are tried again.", .type = METRIC_COUNTER },
	[M_RECONCILE_TIME] = { .name = "controller_runtime_reconcile_time_seconds", .labels = CONTROLLER, .help = "Time of one reconciliation.",
			       .type = METRIC_HISTOGRAM, .bounds = reconcile_bounds },
	[M_WORKERS] = { .name = "controller_runtime_max_concurrent_reconciles", .labels = CONTROLLER, .help = "Reconciling threads.",
			.type = METRIC_GAUGE },
	[M_WORKERS_ACTIVE] = { .name = "controller_runtime_active_workers", .labels = CONTROLLER, .help = "Reconciling threads at work.",
			       .type = METRIC_GAUGE },
	[M_QUEUE_DEPTH] = { .name = "workqueue_depth", .labels = QUEUE, .help = "Keys waiting for a thread.", .type = METRIC_GAUGE },
	[M_QUEUE_RETRIES] = { .name = "workqueue_retries_total", .labels = QUEUE, .help = "Keys queued again after a failure.",
			      .type = METRIC_COUNTER },
	[M_QUEUE_TIME] = { .name = "workqueue_queue_duration_seconds", .labels = QUEUE, .help = "How long keys waited for a thread.",
			   .type = METRIC_HISTOGRAM, .bounds = queue_bounds },
	[M_LEADING] = { .name = "leader_election_master_status", .labels = "name=\"podmigration-controller\"", .help = "1: this process leads.",
			.type = METRIC_GAUGE },
	[M_SUCCEEDED] = { .name = "podmigration_migrations_total", .labels = "result=\"Succeeded\"", .help = "Migrations that have ended, by result.",
			  .type = METRIC_COUNTER },
	[M_FAILED] = { .name = "podmigration_migrations_total", .labels = "result=\"Failed\"", .type = METRIC_COUNTER },
	[M_CANCELLED] = { .name = "podmigration_migrations_total", .labels = "result=\"Cancelled\"", .type = METRIC_COUNTER },
	[M_DOWNTIME] = { .name = "podmigration_downtime_seconds", .labels = "", .help = "From freeze to run, of migrations that succeeded.",
			 .type = METRIC_HISTOGRAM, .bounds = downtime_bounds },
	[M_BYTES] = { .name = "podmigration_transferred_bytes_total", .labels = "", .help = "Bytes sent from node to node.", .type = METRIC_COUNTER },
	[M_PODS] = { .name = "podmigration_watched_pods", .labels = "", .help = "Pods that carry a migration's label.", .type = METRIC_GAUGE },
	[M_THROTTLED] = { .name = "podmigration_source_throttled_total", .labels = "",
			  .help = "Migrations whose source was slowed down while its memory was copied (allowAutoConverge).", .type = METRIC_COUNTER },
};

#define P(name) "phase=\"" #name "\"",
static const char *const phase_labels[PHASE_COUNT] = { PHASE_LIST(P) };
#undef P
#define R(name, advice) [REASON_##name] = "reason=\"" #name "\"",
static const char *const reason_labels[REASON_COUNT] = { [REASON_NONE] = "reason=\"None\"", REASON_LIST(R) };
#undef R

#define A(name, text) "reason=\"" #name "\"",
static const char *const attention_labels[ATTENTION_COUNT] = { "reason=\"None\"", ATTENTION_LIST(A) };
#undef A
#define I(name, text) "invariant=\"" #name "\"",
static const char *const invariant_labels[INVARIANT_COUNT] = { INVARIANT_LIST(I) };
#undef I

struct metrics {
	struct metric table[M_COUNT];
};

static void declare(struct metric *m, const char *name, const char *labels, const char *help, enum metric_type type, const double *bounds)
{
	m->name = name;
	m->labels = labels;
	m->help = help;
	m->type = type;
	m->bounds = bounds;
}

int metrics_new(int workers, struct metrics **ret, struct error *err)
{
	struct metrics *m = calloc(1, sizeof(*m));

	if (!m)
		return error_set(err, -ENOMEM, "out of memory");
	for (int i = 0; i < M_BY_PHASE; i++)
		declare(&m->table[i], fixed[i].name, fixed[i].labels, fixed[i].help, fixed[i].type, fixed[i].bounds);
	for (int i = 0; i < PHASE_COUNT; i++) {
		declare(&m->table[M_BY_PHASE + i], "podmigration_objects", phase_labels[i], i ? NULL : "PodMigrations, by phase.", METRIC_GAUGE, NULL);
		declare(&m->table[M_PHASE_TIME + i], "podmigration_phase_duration_seconds", phase_labels[i], i ? NULL : "Time spent in a phase.",
			METRIC_HISTOGRAM, phase_bounds);
	}
	for (int i = 0; i < REASON_COUNT; i++)
		declare(&m->table[M_REASON + i], "podmigration_failures_total", reason_labels[i],
			i ? NULL : "Migrations that failed or were cancelled, by reason.", METRIC_COUNTER, NULL);
	for (int i = 0; i < ATTENTION_COUNT; i++)
		declare(&m->table[M_ATTENTION + i], "podmigration_attention_needed_total", attention_labels[i],
			i ? NULL : "Migrations that a person was asked to look after, by reason.", METRIC_COUNTER, NULL);
	for (int i = 0; i < INVARIANT_COUNT; i++)
		declare(&m->table[M_VIOLATION + i], "podmigration_invariant_violations_total", invariant_labels[i],
			i ? NULL : "Migrations of which something was seen that must not be, by invariant.", METRIC_COUNTER, NULL);
	metric_set(&m->table[M_WORKERS], workers);
	*ret = m;
	return 0;
}

void metrics_free(struct metrics *m)
{
	free(m);
}

void metrics_reconcile_begin(struct metrics *m, int64_t waited_us)
{
	metric_add(&m->table[M_WORKERS_ACTIVE], 1);
	metric_observe(&m->table[M_QUEUE_TIME], (double)waited_us / 1e6);
}

void metrics_reconcile_end(struct metrics *m, int64_t took_us, bool failed)
{
	metric_add(&m->table[M_WORKERS_ACTIVE], -1);
	metric_add(&m->table[failed ? M_RECONCILE_ERROR : M_RECONCILE_OK], 1);
	metric_add(&m->table[M_RECONCILE_ERRORS], failed);
	metric_add(&m->table[M_QUEUE_RETRIES], failed);
	metric_observe(&m->table[M_RECONCILE_TIME], (double)took_us / 1e6);
}

void metrics_leading(struct metrics *m, bool leading)
{
	metric_set(&m->table[M_LEADING], leading);
}

static void count_end(struct metrics *m, const cJSON *migration, enum phase to, int reason)
{
	int64_t n;

	if (json_bool(migration, "spec/dryRun"))
		return;
	metric_add(&m->table[to == PHASE_Succeeded ? M_SUCCEEDED : to == PHASE_Cancelled ? M_CANCELLED : M_FAILED], 1);
	if (to != PHASE_Succeeded && reason >= 0 && reason < REASON_COUNT)
		metric_add(&m->table[M_REASON + reason], 1);
	if (json_int(migration, "status/bytesTransferred", 0, INT64_MAX, &n) == 0)
		metric_add(&m->table[M_BYTES], n);
	if (to == PHASE_Succeeded && json_int(migration, "status/source/downtimeMicroseconds", 0, INT64_MAX, &n) == 0)
		metric_observe(&m->table[M_DOWNTIME], (double)n / 1e6);
}

void metrics_phase(struct metrics *m, const cJSON *migration, enum phase from, enum phase to, int reason)
{
	int64_t entered = view_phase_time_us(migration, from), left = view_phase_time_us(migration, to);

	if (entered && left >= entered)
		metric_observe(&m->table[M_PHASE_TIME + from], (double)(left - entered) / 1e6);
	if (phase_ended(to))
		count_end(m, migration, to, reason);
}

void metrics_attention(struct metrics *m, enum attention a)
{
	metric_add(&m->table[M_ATTENTION + a], 1);
}

void metrics_violation(struct metrics *m, enum invariant i)
{
	metric_add(&m->table[M_VIOLATION + i], 1);
}

void metrics_throttled(struct metrics *m)
{
	metric_add(&m->table[M_THROTTLED], 1);
}

void metrics_set_counts(struct metrics *m, const int *by_phase, int pods, int queue_depth)
{
	for (int i = 0; i < PHASE_COUNT; i++)
		metric_set(&m->table[M_BY_PHASE + i], by_phase[i]);
	metric_set(&m->table[M_PODS], pods);
	metric_set(&m->table[M_QUEUE_DEPTH], queue_depth);
}

int metrics_print(struct metrics *m, struct buf *out)
{
	return metrics_write(m->table, M_COUNT, out);
}
