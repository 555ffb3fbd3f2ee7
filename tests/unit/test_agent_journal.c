/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/journal.h"
#include "base/file.h"

#include "agent/journal.c"
#include "fsyncs.h"

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return path_format(out, size, "%s%s", o->host_root, path);
}

static char root[] = "/tmp/pm-journal-XXXXXX";
static struct agent_options options = { .host_root = root };

static const struct journal_entry sample = {
	.migration = "0b0c1d2e-0000-4000-8000-000000000001", .ns = "shop", .name = "web-to-milan", .pod_uid = "u-1", .pod_name = "web", .pod_ns = "liqo-shop",
	.pod_ip = "10.20.0.7", .port = 7117, .remote = true, .step = JOURNAL_SENT,
	.fence = { .group = "/kubepods/burstable/podu-1", .limit = "max" },
};

static void entries_come_back_as_they_were(void **state)
{
	struct journal_entry e = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(journal_write(&options, &sample, &err), 0);
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), 0);
	assert_memory_equal(&e, &sample, sizeof(e));
	e.step = JOURNAL_COMMIT;
	assert_int_equal(journal_write(&options, &e, &err), 0);
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), 0);
	assert_int_equal(e.step, JOURNAL_COMMIT);
}

/* The same entry without one of its fields, as an older version wrote it, or with that field as value. */
static void rewrite(const char *field, cJSON *value)
{
	cleanup_json cJSON *j = NULL;
	cleanup_buf struct buf b = BUF_INIT(65536);
	struct error err = { 0 };
	char path[512];

	snprintf(path, sizeof(path), "%s%s/journal/%s.json", root, PM_STATE_DIR, sample.migration);
	assert_int_equal(file_read(AT_FDCWD, path, &b, &err), 0);
	assert_int_equal(json_parse(b.data, b.len, 65536, &j, &err), 0);
	assert_non_null(json_at(j, field));
	cJSON_DeleteItemFromObjectCaseSensitive(j, field);
	if (value)
		cJSON_AddItemToObject(j, field, value);
	buf_reset(&b);
	assert_int_equal(json_print(j, &b), 0);
	assert_int_equal(file_write(AT_FDCWD, path, b.data, b.len, 0600, false, &err), 0);
}

static void an_older_version_knew_no_names_of_the_pod(void **state)
{
	struct journal_entry e = { 0 }, old = sample;
	struct error err = { 0 };
	char long_name[300];

	(void)state;
	assert_int_equal(journal_write(&options, &sample, &err), 0);
	rewrite("podNamespace", NULL);
	memset(old.pod_ns, 0, sizeof(old.pod_ns));
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), 0);
	assert_memory_equal(&e, &old, sizeof(e));
	rewrite("podName", NULL);
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), 0);
	assert_string_equal(e.pod_ns, "");
	assert_string_equal(e.pod_name, sample.name);
	/* One that was not known yet comes back as that. */
	assert_int_equal(journal_write(&options, &old, &err), 0);
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), 0);
	assert_memory_equal(&e, &old, sizeof(e));
	/* A namespace that cannot be one is damage. */
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = 0;
	rewrite("podNamespace", cJSON_CreateString(long_name));
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), -EINVAL);
	assert_int_equal(journal_remove(&options, sample.migration, &err), 0);
}

static void count(void *ctx, const struct journal_entry *e)
{
	(void)e;
	++*(int *)ctx;
}

static void damaged_entries_are_left_alone(void **state)
{
	struct journal_entry e = { 0 };
	struct error err = { 0 };
	char damaged[512];
	int n = 0;

	(void)state;
	snprintf(damaged, sizeof(damaged), "%s%s/journal/half.json", root, PM_STATE_DIR);
	assert_int_equal(journal_write(&options, &sample, &err), 0);
	assert_int_equal(file_write(AT_FDCWD, damaged, "{\"migr", 6, 0600,
				    false, &err), 0);
	assert_int_equal(journal_read(&options, "half", &e, &err), -EINVAL);
	assert_int_equal(journal_each(&options, count, &n, &err), 0);
	assert_int_equal(n, 1);
	/* An entry under another name than its own is somebody's mistake. */
	assert_int_equal(journal_read(&options, "../journal/half", &e, &err), -EINVAL);
	assert_int_equal(journal_remove(&options, sample.migration, &err), 0);
	assert_int_equal(journal_remove(&options, sample.migration, &err), 0);
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), -ENOENT);
}

static void nothing_stays_of_a_writer_that_was_killed(void **state)
{
	struct error err = { 0 };
	char half[512];

	(void)state;
	snprintf(half, sizeof(half), "%s%s/journal/%s.json.tmp", root, PM_STATE_DIR, sample.migration);
	assert_int_equal(journal_write(&options, &sample, &err), 0);
	assert_int_equal(file_write(AT_FDCWD, half, "{\"migr", 6, 0600, false, &err), 0);
	assert_int_equal(journal_remove(&options, sample.migration, &err), 0);
	assert_int_equal(access(half, F_OK), -1);
}

/* What is in it is written into a cgroup, as root. */
static void a_fence_that_is_none_is_damage(void **state)
{
	static const struct fence bad[] = {
		{ .group = "kubepods/podu", .limit = "max" }, { .group = "/kubepods/../podu", .limit = "max" }, { .group = "/kubepods/podu", .limit = "many" },
		{ .group = "/kubepods/podu", .limit = "" }, { .group = "/kubepods/podu", .limit = "-1" },
	};
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct journal_entry e = sample;

		e.fence = bad[i];
		assert_int_equal(journal_write(&options, &e, &err), 0);
		assert_int_equal(journal_read(&options, sample.migration, &e, &err), -EINVAL);
	}
	assert_int_equal(journal_remove(&options, sample.migration, &err), 0);
}

/* Each step is on disk when journal_write says so: the file before it has its name, and then the name. */
static void a_step_is_on_disk_before_it_is_done(void **state)
{
	char dir[512], tmp[1024];

	(void)state;
	snprintf(dir, sizeof(dir), "%s%s/journal", root, PM_STATE_DIR);
	snprintf(tmp, sizeof(tmp), "%s/%s.json.tmp", dir, sample.migration);
	for (int step = JOURNAL_FREEZE; step <= JOURNAL_RUNNING; step++) {
		struct journal_entry e = sample;
		struct error err = { 0 };

		e.step = (enum journal_step)step;
		fsyncs_begin(0);
		assert_int_equal(journal_write(&options, &e, &err), 0);
		assert_int_equal(fsyncs_n, 2);
		assert_string_equal(fsyncs[0], tmp);
		assert_string_equal(fsyncs[1], dir);
	}
	assert_int_equal(journal_remove(&options, sample.migration, NULL), 0);
}

static void a_disk_that_does_not_sync_is_an_error(void **state)
{
	struct journal_entry e = sample;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(journal_write(&options, &sample, &err), 0);
	e.step = JOURNAL_COMMIT;
	fsyncs_begin(1);
	assert_int_equal(journal_write(&options, &e, &err), -EIO);
	/* The step before stands. */
	assert_int_equal(journal_read(&options, sample.migration, &e, &err), 0);
	assert_int_equal(e.step, sample.step);
	e.step = JOURNAL_COMMIT;
	fsyncs_begin(2);
	assert_int_equal(journal_write(&options, &e, &err), -EIO);
	fsyncs_begin(0);
	assert_int_equal(journal_remove(&options, sample.migration, &err), 0);
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_come_back_as_they_were),
		cmocka_unit_test(an_older_version_knew_no_names_of_the_pod),
		cmocka_unit_test(damaged_entries_are_left_alone),
		cmocka_unit_test(nothing_stays_of_a_writer_that_was_killed),
		cmocka_unit_test(a_fence_that_is_none_is_damage),
		cmocka_unit_test(a_step_is_on_disk_before_it_is_done),
		cmocka_unit_test(a_disk_that_does_not_sync_is_an_error),
	};

	return cmocka_run_group_tests_name("agent journal", tests, make_root, remove_root);
}
