/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_METRICS_H
#define NET_METRICS_H

#include <stdint.h>

#include "base/buf.h"

/*
 * Prometheus text exposition (version 0.0.4).  A program declares its metrics as one static table; updates are atomic; label
 * values are fixed at declaration (no unbounded label values).  Rows of one name follow each other in the table.
 */
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

#define METRIC_BUCKETS 12

struct metric {
	const char *name;               /* without labels */
	const char *labels;             /* `phase="Freezing"` or "" */
	const char *help;               /* only on the first of a name */
	enum metric_type type;
	const double *bounds;           /* histogram: ascending, ends with 0 (not a bound) */
	_Atomic int64_t value;          /* counter, gauge; histogram: count */
	_Atomic int64_t sum_micro;      /* histogram: sum in millionths */
	_Atomic int64_t bucket[METRIC_BUCKETS];
};

void metric_add(struct metric *m, int64_t n);
void metric_set(struct metric *m, int64_t v);
void metric_observe(struct metric *m, double v);        /* histograms; not a number and less than 0 count as 0 */
/* Writes the table and the process_* metrics of this process; 0 or negative errno (out is full). */
int metrics_write(struct metric *table, int n, struct buf *out);

#endif
