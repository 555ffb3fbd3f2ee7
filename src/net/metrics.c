/* SPDX-License-Identifier: Apache-2.0 */
#include "net/metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

void metric_add(struct metric *m, int64_t n)
{
	atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t v)
{
	atomic_store_explicit(&m->value, v, memory_order_relaxed);
}

/*
 * The count goes up before the bucket and is read after all buckets, so that a reader never sees a bucket above the count, which
 * Prometheus takes for corrupt.
 */
void metric_observe(struct metric *m, double v)
{
	if (!(v > 0))           /* not a number, too */
		v = 0;
	if (v > 1e12)
		v = 1e12;
	atomic_fetch_add(&m->value, 1);
	atomic_fetch_add(&m->sum_micro, (int64_t)(v * 1e6));
	for (int i = 0; i < METRIC_BUCKETS && m->bounds[i] > 0; i++)
		if (v <= m->bounds[i]) {
			atomic_fetch_add(&m->bucket[i], 1);
			break;
		}
}

/* "name{labels}" or "name{labels,extra}"; braces only around something. */
static int write_name(struct buf *out, const char *name, const char *suffix, const char *labels, const char *extra)
{
	bool both = *labels && *extra;

	if (!*labels && !*extra)
		return buf_printf(out, "%s%s ", name, suffix);
	return buf_printf(out, "%s%s{%s%s%s} ", name, suffix, labels, both ? "," : "", extra);
}

static int write_sample(struct buf *out, const struct metric *m, const char *suffix, const char *extra, int64_t value)
{
	int r = write_name(out, m->name, suffix, m->labels, extra);

	return r < 0 ? r : buf_printf(out, "%" PRId64 "\n", value);
}

static int write_histogram(struct buf *out, struct metric *m)
{
	int64_t below = 0, sum, count;
	int r = 0;

	for (int i = 0; i < METRIC_BUCKETS && m->bounds[i] > 0 && r == 0; i++) {
		char le[48];

		path_format(le, sizeof(le), "le=\"%g\"", m->bounds[i]);
		below += atomic_load(&m->bucket[i]);
		r = write_sample(out, m, "_bucket", le, below);
	}
	sum = atomic_load(&m->sum_micro);
	count = atomic_load(&m->value);
	if (r == 0)
		r = write_sample(out, m, "_bucket", "le=\"+Inf\"", count);
	if (r == 0)
		r = write_name(out, m->name, "_sum", m->labels, "");
	if (r == 0)
		r = buf_printf(out, "%" PRId64 ".%06" PRId64 "\n", sum / 1000000, sum % 1000000);
	return r == 0 ? write_sample(out, m, "_count", "", count) : r;
}

static int write_metric(struct buf *out, struct metric *m, bool first_of_name)
{
	static const char *const types[] = {
		[METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"
	};
	int r = 0;

	if (first_of_name)
		r = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help ? m->help : "", m->name, types[m->type]);
	if (r < 0)
		return r;
	return m->type == METRIC_HISTOGRAM ? write_histogram(out, m) : write_sample(out, m, "", "", atomic_load(&m->value));
}

/* ---- this process, under the names every Prometheus client uses ---- */

static double cpu_seconds(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The n-th number (from 0) of a /proc file of numbers; after the last ')' where there is one (/proc/PID/stat). */
static double proc_number(const char *path, int n)
{
	struct buf b = BUF_INIT(8192);
	double v = 0;

	if (file_read(AT_FDCWD, path, &b, NULL) == 0 && b.data) {
		const char *paren = strrchr(b.data, ')'), *p = paren ? paren + 1 : b.data;

		for (int i = 0; i < n && *p; i++) {
			p += strspn(p, " \n");
			p += strcspn(p, " \n");
		}
		v = strtod(p, NULL);
	}
	buf_free(&b);
	return v;
}

static double resident_bytes(void)
{
	return proc_number("/proc/self/statm", 1) * (double)sysconf(_SC_PAGESIZE);
}

static double virtual_bytes(void)
{
	return proc_number("/proc/self/statm", 0) * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
	cleanup_closedir DIR *d = opendir("/proc/self/fd");
	double n = -3;          /* ".", ".." and the one that reads */

	while (d && readdir(d))
		n++;
	return n < 0 ? 0 : n;
}

static double max_fds(void)
{
	struct rlimit l = { 0 };

	return getrlimit(RLIMIT_NOFILE, &l) == 0 ? (double)l.rlim_cur : 0;
}

/* Now, less the time since the start: field 22 of stat is in ticks since boot (proc(5)), number 19 after the name. */
static double start_time(void)
{
	struct timespec now = { 0 }, boot = { 0 };
	double started = proc_number("/proc/self/stat", 19) / (double)sysconf(_SC_CLK_TCK);

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9 - ((double)boot.tv_sec + (double)boot.tv_nsec / 1e9) + started;
}

static double threads(void)
{
	return proc_number("/proc/self/stat", 17);
}

static int write_process(struct buf *out)
{
	static const struct {
		const char *name, *type, *help;
		double (*read)(void);
	} values[] = {
		{ "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu_seconds },
		{ "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident_bytes },
		{ "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", virtual_bytes },
		{ "process_open_fds", "gauge", "Number of open file descriptors.", open_fds },
		{ "process_max_fds", "gauge", "Maximum number of open file descriptors.", max_fds },
		{ "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", start_time },
		{ "process_threads", "gauge", "Number of threads.", threads },
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		int r = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", values[i].name, values[i].help, values[i].name,
				   values[i].type, values[i].name, values[i].read());

		if (r < 0)
			return r;
	}
	return 0;
}

int metrics_write(struct metric *table, int n, struct buf *out)
{
	for (int i = 0; i < n; i++) {
		int r = write_metric(out, &table[i], i == 0 || strcmp(table[i].name, table[i - 1].name) != 0);

		if (r < 0)
			return r;
	}
	return write_process(out);
}
