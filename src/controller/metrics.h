/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_METRICS_H
#define CONTROLLER_METRICS_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "invariants.h"
#include "migration/phase.h"
#include "status.h"

/* The controller's metrics, under controller-runtime's names where it has them, so that its dashboards work. */
struct metrics;

int metrics_new(int workers, struct metrics **ret, struct error *err);
void metrics_free(struct metrics *m);

void metrics_reconcile_begin(struct metrics *m, int64_t waited_us);
void metrics_reconcile_end(struct metrics *m, int64_t took_us, bool failed);
void metrics_leading(struct metrics *m, bool leading);
/* A phase was left or the end was reached: durations, results, downtime, bytes. migration: as it is after that. */
void metrics_phase(struct metrics *m, const cJSON *migration, enum phase from, enum phase to, int reason);
/* A person is needed; an invariant does not hold. */
void metrics_attention(struct metrics *m, enum attention a);
void metrics_violation(struct metrics *m, enum invariant i);
/* A source is slowed down to converge. */
void metrics_throttled(struct metrics *m);
/* Gauges that are read off the store. */
void metrics_set_counts(struct metrics *m, const int *by_phase, int pods, int queue_depth);

int metrics_print(struct metrics *m, struct buf *out);

#endif
