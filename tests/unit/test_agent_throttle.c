/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "base/file.h"

#include "agent/throttle.c"

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return path_format(out, size, "%s%s", o->host_root, path);
}

static char root[] = "/tmp/pm-throttle-XXXXXX";
static struct agent_options options = { .host_root = root };

#define MIGRATION "0b0c1d2e-0000-4000-8000-000000000001"
#define NOTE PM_STATE_DIR "/throttled/" MIGRATION ".json"

/* --- how much --- */

/* QEMU's steps: 20 % less, then 10 % more of it each time; never less than a tenth. */
static void it_goes_down_in_steps_to_a_tenth(void **state)
{
	static const int steps[] = { 80, 70, 60, 50, 40, 30, 20, 10, 0 };
	int percent = 100;

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		percent = throttle_next(percent);
		assert_int_equal(percent, steps[i]);
	}
}

static void the_quota_is_a_part_of_what_was_used(void **state)
{
	static const struct {
		int64_t used, period, quota;
		int percent;
	} rows[] = {
		{ 1000000, 100000, 80000, 80 }, { 3200000, 100000, 256000, 80 }, { 50000, 100000, 1500, 30 }, { 1000000, 10000, 1000, 10 },
		/* Less than a millisecond in a period the kernel does not take. */
		{ 50000, 100000, 0, 10 }, { 0, 100000, 0, 80 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(throttle_quota_us(rows[i].used, rows[i].percent, rows[i].period), rows[i].quota);
}

static void no_round_that_the_timeout_would_end(void **state)
{
	(void)state;
	assert_true(throttle_has_time(4000000, 10000000));
	assert_false(throttle_has_time(5000000, 10000000));
	assert_false(throttle_has_time(0, -1));
}

/* A sidecar that is late only because another one fills the link is not slowed down. */
static void only_who_has_much_left_is_slowed_down(void **state)
{
	(void)state;
	assert_true(throttle_matters(16, 17, 2));
	assert_false(throttle_matters(1, 17, 2));
	assert_true(throttle_matters(8, 16, 2));
	assert_true(throttle_matters(16, 16, 1));
	assert_true(throttle_matters(0, 0, 3));
}

/* --- the note --- */

static void put(const char *path, const char *text)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", root, path);
	assert_int_equal(file_write(AT_FDCWD, full, text, strlen(text), 0600, false, NULL), 0);
}

static void assert_quota(int container, const char *expected)
{
	struct buf b = BUF_INIT(64);
	char path[512];

	snprintf(path, sizeof(path), "%s/sys/fs/cgroup/cpu/podu/c%d/cpu.cfs_quota_us", root, container);
	assert_int_equal(file_read(AT_FDCWD, path, &b, NULL), 0);
	assert_int_equal(strncmp(b.data, expected, strlen(expected)), 0);
	buf_free(&b);
}

static bool is_there(const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", root, path);
	return access(full, F_OK) == 0;
}

static bool nobody(void *ctx, const char *migration)
{
	(void)ctx;
	(void)migration;
	return false;
}

static bool itself(void *ctx, const char *migration)
{
	(void)ctx;
	return !strcmp(migration, MIGRATION);
}

/* As source_throttle.c: the note first, then the limit.  It ends, by SIGKILL, before the limit is written or behind it. */
static void die_throttling(bool before_write)
{
	pid_t pid = fork();

	if (!pid) {
		struct throttle_note n = { .n = 2, .limits = { { .group = "/podu/c0", .period_us = 100000, .own = "-1" }, { .group = "/podu/c1", .period_us = 100000, .own = "50000" } } };
		char cgroups[512];

		snprintf(cgroups, sizeof(cgroups), "%s/sys/fs/cgroup", root);
		for (int step = 0; step < 2; step++) {
			for (int i = 0; i < 2; i++)
				if (cpu_limit_plan(cgroups, &n.limits[i], 40000 - step * 10000, NULL) < 0)
					_exit(1);
			if (throttle_note_write(&options, MIGRATION, &n, NULL) < 0)
				_exit(2);
			for (int i = 0; i < 2 - (before_write ? step : 0); i++)
				if (cpu_limit_write(cgroups, &n.limits[i], NULL) < 0)
					_exit(3);
		}
		raise(SIGKILL);
	}
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_true(is_there(NOTE));
	assert_quota(0, "30000");
	assert_quota(1, before_write ? "40000" : "30000");
}

static void what_a_killed_worker_has_left_is_taken_back(void **state)
{
	(void)state;
	for (int before = 0; before < 2; before++) {
		die_throttling(before);
		/* Not while it works, were it alive. */
		assert_int_equal(throttle_notes_lift(&options, itself, NULL), 0);
		assert_quota(0, "30000");
		assert_int_equal(throttle_notes_lift(&options, nobody, NULL), 1);
		assert_quota(0, "-1");
		assert_quota(1, "50000");
		assert_false(is_there(NOTE));
		assert_int_equal(throttle_notes_lift(&options, nobody, NULL), 0);
	}
}

static void one_that_fails_keeps_no_other_from_it_and_is_tried_again(void **state)
{
	struct throttle_note n = { .n = 2, .limits = { { .group = "/podloop/c0", .own = "-1", .set = { "", "1000" } }, { .group = "/podu/c1", .own = "50000", .set = { "", "1000" } } } };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(throttle_note_write(&options, MIGRATION, &n, &err), 0);
	put("/sys/fs/cgroup/cpu/podu/c1/cpu.cfs_quota_us", "1000\n");
	assert_int_equal(throttle_lift(&options, MIGRATION, &n, &err), -ELOOP);
	assert_non_null(strstr(err.message, PM_NOT_LIFTED));
	assert_quota(1, "50000");
	assert_true(is_there(NOTE));
	assert_int_equal(throttle_notes_lift(&options, nobody, NULL), 0);
	assert_true(is_there(NOTE));
	n.limits[0].group[0] = '\0';
	assert_int_equal(throttle_lift(&options, MIGRATION, &n, &err), 0);
	assert_false(is_there(NOTE));
}

/* It says where to write what: nothing is done by one that nobody can have written. */
static void a_damaged_note_does_nothing(void **state)
{
	static const char *const texts[] = { "{\"contain", "{}", "{\"containers\":[{\"group\":\"/../..\",\"own\":\"-1\",\"before\":\"\",\"set\":\"50000\"}]}",
					     "{\"containers\":[{\"group\":\"/podu/c1\",\"own\":\"none\",\"before\":\"\",\"set\":\"50000\"}]}" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(NOTE, texts[i]);
		assert_int_equal(throttle_notes_lift(&options, nobody, NULL), 0);
		assert_quota(1, "50000");
		assert_true(is_there(NOTE));
	}
	assert_int_equal(throttle_note_write(&options, "../x", &(struct throttle_note){ 0 }, NULL), -EINVAL);
}

static int make_root(void **state)
{
	static const char *const quota[] = { "-1\n", "50000\n" };
	char path[512];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/sys/fs/cgroup/cpu/podu/c%d", root, i);
		if (dir_make(AT_FDCWD, path, 0700, NULL) < 0)
			return -1;
		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu/podu/c%d/cpu.cfs_quota_us", i);
		put(path, quota[i]);
		snprintf(path, sizeof(path), "/sys/fs/cgroup/cpu/podu/c%d/cpu.cfs_period_us", i);
		put(path, "100000\n");
	}
	snprintf(path, sizeof(path), "%s/sys/fs/cgroup/cpu/podloop", root);
	return symlink("podloop", path);
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_down_in_steps_to_a_tenth),
		cmocka_unit_test(the_quota_is_a_part_of_what_was_used),
		cmocka_unit_test(only_who_has_much_left_is_slowed_down),
		cmocka_unit_test(no_round_that_the_timeout_would_end),
		cmocka_unit_test(what_a_killed_worker_has_left_is_taken_back),
		cmocka_unit_test(one_that_fails_keeps_no_other_from_it_and_is_tried_again),
		cmocka_unit_test(a_damaged_note_does_nothing),
	};

	return cmocka_run_group_tests_name("throttle", tests, make_root, remove_root);
}
