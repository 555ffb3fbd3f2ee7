/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "container/cpu_limit.h"

static char root[] = "/tmp/pm-cpu-XXXXXX";

/* The kernel's files, each in the folder of its version. */
static const struct {
	const char *path, *text;
} files[] = {
	{ "cpu/podu/c/cpu.cfs_quota_us", "50000\n" }, { "cpu/podu/c/cpu.cfs_period_us", "100000\n" }, { "cpuacct/podu/c/cpuacct.usage", "7654321000\n" },
	{ "podu/c/cpu.max", "max 100000\n" },        { "podu/c/cpu.stat", "usage_usec 7654321\nuser_usec 1\n" },
};

static void put(const char *path, const char *text)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	assert_int_equal(file_write(AT_FDCWD, full, text, strlen(text), 0600, false, NULL), 0);
}

static void assert_text(const char *path, const char *expected)
{
	struct buf b = BUF_INIT(64);
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	assert_int_equal(file_read(AT_FDCWD, full, &b, NULL), 0);
	assert_string_equal(b.data, expected);
	buf_free(&b);
}

static void quotas_are_read(void **state)
{
	static const struct {
		const char *text;
		bool v2;
		int64_t quota;
	} rows[] = {
		{ "-1", false, INT64_MAX }, { "50000", false, 50000 },        { "0", false, -EINVAL },          { "-2", false, -EINVAL },
		{ "", false, -EINVAL },     { "50000 100000", false, -EINVAL }, { "max 100000", true, INT64_MAX }, { "50000 100000", true, 50000 },
		{ "max", true, -EINVAL },   { "50000", true, -EINVAL },       { "50000 0", true, -EINVAL },     { "-1", true, -EINVAL },
		{ "50000 100000 1", true, -EINVAL }, { "99999999999999999999", false, -EINVAL }, { "maximal 100000", true, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(cpu_limit_quota(rows[i].text, rows[i].v2), rows[i].quota);
}

static void only_what_may_have_been_written_is_sound(void **state)
{
	static const struct {
		struct cpu_limit l;
		bool sound;
	} rows[] = {
		{ { .group = "" }, true },
		{ { .group = "/podu/c", .own = "-1", .set = { "", "1000" } }, true },
		{ { .group = "/podu/c", .v2 = true, .own = "max 100000", .set = { "2000 100000", "1000 100000" } }, true },
		{ { .group = "/podu/c", .own = "" }, false },
		{ { .group = "/podu/c", .own = "-1", .set = { "x", "1000" } }, false },
		{ { .group = "/podu/../../c", .own = "-1" }, false },
		{ { .group = "podu", .own = "-1" }, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(cpu_limit_is_sound(&rows[i].l), rows[i].sound);
}

static const struct version {
	struct cpu_limit start;
	const char *file, *own, *first, *second, *least, *others;
} versions[] = {
	{ { .group = "/podu/c", .period_us = 100000, .own = "50000" }, "cpu/podu/c/cpu.cfs_quota_us", "50000", "30000", "20000", "1000", "70000\n" },
	{ { .group = "/podu/c", .v2 = true, .period_us = 100000, .own = "max 100000" }, "podu/c/cpu.max", "max 100000", "30000 100000", "20000 100000", "1000 100000",
	  "70000 50000\n" },
};

static void set(struct cpu_limit *l, int64_t quota)
{
	struct error err = { 0 };

	assert_int_equal(cpu_limit_plan(root, l, quota, &err), 0);
	assert_int_equal(cpu_limit_write(root, l, &err), 0);
}

static void its_own_comes_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct version *v = &versions[i];
		struct cpu_limit l = v->start;
		struct error err = { 0 };
		int64_t used = 0;

		assert_int_equal(cpu_limit_used(root, &l, &used, &err), 0);
		assert_int_equal(used, 7654321);
		set(&l, 30000);
		assert_text(v->file, v->first);
		set(&l, 20000);
		assert_text(v->file, v->second);
		assert_true(cpu_limit_is_sound(&l));
		assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
		assert_text(v->file, v->own);
		assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
		assert_text(v->file, v->own);
		set(&l, 5);
		assert_text(v->file, v->least);
		assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
	}
}

/* A crash lies between the plan, which is noted, and the write: then the one before stands there. */
static void also_when_the_last_one_was_never_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct cpu_limit l = versions[i].start;
		struct error err = { 0 };

		set(&l, 30000);
		assert_int_equal(cpu_limit_plan(root, &l, 20000, &err), 0);
		assert_text(versions[i].file, versions[i].first);
		assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
		assert_text(versions[i].file, versions[i].own);
	}
}

/* The kubelet, at an in-place resize. */
static void what_somebody_else_has_written_stays(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct version *v = &versions[i];
		struct cpu_limit l = v->start;
		struct error err = { 0 };

		set(&l, 30000);
		put(v->file, v->others);
		assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
		assert_text(v->file, v->others);
		/* .. and it is what comes back when it was limited once more. */
		set(&l, 20000);
		assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
		assert_memory_equal(l.own, v->others, strlen(v->others) - 1);
		put(v->file, v->own);
	}
}

/* Less than it has, or it would be a gift. */
static void never_more_than_its_own(void **state)
{
	struct cpu_limit l = versions[0].start;
	struct error err = { 0 };

	(void)state;
	set(&l, 90000);
	assert_text(versions[0].file, "50000");
	assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
}

static void a_group_that_is_gone_needs_nothing(void **state)
{
	struct cpu_limit l = { .group = "/podgone/c", .own = "-1", .set = { "", "1000" } }, loop = { .group = "/podloop/c", .own = "-1", .set = { "", "1000" } }, none = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(cpu_limit_lift(root, &none, &err), 0);
	assert_int_equal(cpu_limit_lift(root, &l, &err), 0);
	assert_int_equal(cpu_limit_write(root, &l, &err), -ENOENT);
	assert_int_equal(cpu_limit_lift(root, &loop, &err), -ELOOP);
	assert_non_null(strstr(err.message, "/podloop/c"));
}

/* --- the kernel's own, where the test may make a group --- */

#define SPIN_US 300000

static pid_t spin_in(const char *folder)
{
	char path[1200];
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	for (int fd = open(path, O_WRONLY | O_CLOEXEC); fd < 0 || write(fd, "0", 1) != 1;)
		_exit(1);
	for (;;)
		;
}

static void spin(const struct cpu_limit *l, const char *folder)
{
	pid_t pid = spin_in(folder);
	int64_t start = clock_mono_us(), used = 0, periods;
	struct error err = { 0 };

	usleep(SPIN_US);
	if (cpu_limit_used("/sys/fs/cgroup", l, &used, &err) == 0) {
		periods = (clock_mono_us() - start) / l->period_us + 2;
		/* What is not used of a period may be used in the next one. */
		assert_true(used <= periods * cpu_limit_quota(l->set[1], l->v2));
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void the_kernel_takes_it(void **state)
{
	struct cpu_limit l = { .v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0, .period_us = 100000 };
	char folder[1100], file[1200];
	struct error err = { 0 };
	struct buf before = BUF_INIT(64), after = BUF_INIT(64);

	(void)state;
	snprintf(l.group, sizeof(l.group), "/pm-unit-%d", getpid());
	snprintf(folder, sizeof(folder), "/sys/fs/cgroup%s%s", l.v2 ? "" : "/cpu", l.group);
	snprintf(file, sizeof(file), "%s/%s", folder, l.v2 ? "cpu.max" : "cpu.cfs_quota_us");
	if (mkdir(folder, 0755) < 0)
		return;         /* nobody lets us: the folders above are all that can be tried */
	if (file_read(AT_FDCWD, file, &before, NULL) == 0) {
		assert_int_equal(cpu_limit_plan("/sys/fs/cgroup", &l, 40000, &err), 0);
		assert_int_equal(cpu_limit_write("/sys/fs/cgroup", &l, &err), 0);
		assert_int_equal(cpu_limit_plan("/sys/fs/cgroup", &l, 20000, &err), 0);
		assert_int_equal(cpu_limit_write("/sys/fs/cgroup", &l, &err), 0);
		spin(&l, folder);
		assert_int_equal(cpu_limit_lift("/sys/fs/cgroup", &l, &err), 0);
		assert_int_equal(file_read(AT_FDCWD, file, &after, NULL), 0);
		assert_string_equal(after.data, before.data);
	}
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(cpu_limit_lift("/sys/fs/cgroup", &l, &err), 0);
	buf_free(&before);
	buf_free(&after);
}

static int make_root(void **state)
{
	char path[256];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%.*s", root, (int)(strrchr(files[i].path, '/') - files[i].path), files[i].path);
		if (dir_make(AT_FDCWD, path, 0700, NULL) < 0)
			return -1;
		put(files[i].path, files[i].text);
	}
	snprintf(path, sizeof(path), "%s/cpu/podloop", root);
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
		cmocka_unit_test(quotas_are_read),
		cmocka_unit_test(only_what_may_have_been_written_is_sound),
		cmocka_unit_test(its_own_comes_back),
		cmocka_unit_test(also_when_the_last_one_was_never_written),
		cmocka_unit_test(what_somebody_else_has_written_stays),
		cmocka_unit_test(never_more_than_its_own),
		cmocka_unit_test(a_group_that_is_gone_needs_nothing),
		cmocka_unit_test(the_kernel_takes_it),
	};

	return cmocka_run_group_tests_name("cpu limit", tests, make_root, remove_root);
}
