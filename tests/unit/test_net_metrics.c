/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/metrics.h"

static const double bounds[] = { 0.1, 0.5, 2.5, 0 };

static const struct metric declared[] = {
	{ .name = "a_total", .labels = "side=\"x\"", .help = "Things.", .type = METRIC_COUNTER },
	{ .name = "a_total", .labels = "side=\"y\"", .type = METRIC_COUNTER },
	{ .name = "b", .labels = "", .help = "Level.", .type = METRIC_GAUGE },
	{ .name = "c_seconds", .labels = "phase=\"p\"", .help = "Time.", .type = METRIC_HISTOGRAM, .bounds = bounds },
	{ .name = "d_seconds", .labels = "", .help = "Time.", .type = METRIC_HISTOGRAM, .bounds = bounds },
};
#define COUNT 5

static double value_of(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	while (p && p != text && p[-1] != '\n')
		p = strstr(p + 1, name);
	if (!p)
		fail_msg("%s is missing in:\n%s", name, text);
	return strtod(p + strlen(name), NULL);
}

static void exposition(void **state)
{
	static const char want[] =
		"# HELP a_total Things.\n# TYPE a_total counter\na_total{side=\"x\"} 3\na_total{side=\"y\"} 0\n"
		"# HELP b Level.\n# TYPE b gauge\nb -7\n"
		"# HELP c_seconds Time.\n# TYPE c_seconds histogram\n"
		"c_seconds_bucket{phase=\"p\",le=\"0.1\"} 2\nc_seconds_bucket{phase=\"p\",le=\"0.5\"} 3\n"
		"c_seconds_bucket{phase=\"p\",le=\"2.5\"} 3\nc_seconds_bucket{phase=\"p\",le=\"+Inf\"} 4\n"
		"c_seconds_sum{phase=\"p\"} 100.350000\nc_seconds_count{phase=\"p\"} 4\n"
		"# HELP d_seconds Time.\n# TYPE d_seconds histogram\nd_seconds_bucket{le=\"0.1\"} 2\n";
	cleanup_buf struct buf out = BUF_INIT(65536), small = BUF_INIT(100);
	struct metric table[COUNT];

	(void)state;
	memcpy(table, declared, sizeof(table));
	metric_add(&table[0], 2);
	metric_add(&table[0], 1);
	metric_set(&table[2], 5);
	metric_set(&table[2], -7);
	metric_observe(&table[3], 0.05);
	metric_observe(&table[3], 0.1);
	metric_observe(&table[3], 0.2);
	metric_observe(&table[3], 100);
	metric_observe(&table[4], NAN);
	metric_observe(&table[4], -3);
	assert_int_equal(metrics_write(table, COUNT, &out), 0);
	out.data[sizeof(want) - 1 < out.len ? out.len : 0] = '\0';
	assert_memory_equal(out.data, want, sizeof(want) - 1);
	assert_int_equal(metrics_write(table, COUNT, &small), -ENOSPC);
}

static void process_values(void **state)
{
	cleanup_buf struct buf out = BUF_INIT(65536), again = BUF_INIT(65536);
	struct timespec now;
	double start, fds;
	int extra;

	(void)state;
	assert_int_equal(metrics_write(NULL, 0, &out), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	start = value_of(out.data, "process_start_time_seconds ");
	assert_true(start > (double)now.tv_sec - 600 && start <= (double)now.tv_sec + 1);
	assert_true(value_of(out.data, "process_resident_memory_bytes ") > 100000);
	assert_true(value_of(out.data, "process_virtual_memory_bytes ") > value_of(out.data, "process_resident_memory_bytes "));
	assert_true(value_of(out.data, "process_max_fds ") >= 64);
	assert_true(value_of(out.data, "process_threads ") >= 1);
	fds = value_of(out.data, "process_open_fds ");
	assert_true(fds >= 3);
	extra = open("/dev/null", O_RDONLY | O_CLOEXEC);
	/* Some work, so that the CPU time moves. */
	for (volatile int i = 0; i < 20000000; i++)
		;
	assert_int_equal(metrics_write(NULL, 0, &again), 0);
	assert_true((int)value_of(again.data, "process_open_fds ") == (int)fds + 1);
	assert_true(value_of(again.data, "process_cpu_seconds_total ") > value_of(out.data, "process_cpu_seconds_total "));
	close(extra);
}

static void *observe_many(void *arg)
{
	for (int i = 0; i < 50000; i++) {
		metric_observe(arg, 0.3);
		metric_add((struct metric *)arg + 1, 1);
	}
	return NULL;
}

static void concurrent(void **state)
{
	struct metric table[2] = { { .name = "h", .labels = "", .type = METRIC_HISTOGRAM, .bounds = bounds },
				   { .name = "c", .labels = "", .type = METRIC_COUNTER } };
	pthread_t threads[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, observe_many, table), 0);
	for (int i = 0; i < 50; i++) {
		cleanup_buf struct buf out = BUF_INIT(65536);

		assert_int_equal(metrics_write(table, 2, &out), 0);
		assert_true(value_of(out.data, "h_bucket{le=\"2.5\"} ") <= value_of(out.data, "h_count "));
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(table[0].value, 200000);
	assert_int_equal(table[0].bucket[1], 200000);
	assert_int_equal(table[0].sum_micro, 200000 * 300000ll);
	assert_int_equal(table[1].value, 200000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exposition),
		cmocka_unit_test(process_values),
		cmocka_unit_test(concurrent),
	};

	return cmocka_run_group_tests_name("net_metrics", tests, NULL, NULL);
}
