/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/fence.h"
#include "migration/reason.h"

static char root[] = "/tmp/pm-fence-XXXXXX";

static void assert_limit(const char *expected)
{
	struct buf b = BUF_INIT(64);
	char path[128];

	snprintf(path, sizeof(path), "%s/pids/kubepods/podu/pids.max", root);
	assert_int_equal(file_read(AT_FDCWD, path, &b, NULL), 0);
	assert_int_equal(strncmp(b.data, expected, strlen(expected)), 0);
	buf_free(&b);
}

static void closed_and_lifted(void **state)
{
	static const struct fence f = { .group = "/kubepods/podu", .limit = "max" };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(fence_close(root, &f, &err), 0);
	assert_limit("0");
	assert_int_equal(fence_lift(root, &f, &err), 0);
	assert_limit("max");
}

static void write_pids_max(const char *value)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/pids/kubepods/podu/pids.max", root);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
	close(fd);
}

static bool is_closed(void)
{
	struct buf b = BUF_INIT(64);
	char path[128];
	bool closed;

	snprintf(path, sizeof(path), "%s/pids/kubepods/podu/pids.max", root);
	closed = file_read(AT_FDCWD, path, &b, NULL) == 0 && b.data && !strcmp(b.data, "0");
	buf_free(&b);
	return closed;
}

/* As systemd does when it is told to read its units again. */
static void a_guard_keeps_it_closed(void **state)
{
	static const struct fence f = { .group = "/kubepods/podu", .limit = "max" }, gone = { .group = "/kubepods/podgone", .limit = "max" }, none = { .group = "" };
	static const char *const values[] = { "max\n", "100\n", "max\n" };
	struct fence_guard *g = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(fence_guard_start(root, &none, &g, &err), 0);
	assert_null(g);
	assert_int_equal(fence_guard_start(root, &gone, &g, &err), 0);
	assert_null(g);
	fence_guard_stop(g);
	assert_int_equal(fence_close(root, &f, &err), 0);
	assert_int_equal(fence_guard_start(root, &f, &g, &err), 0);
	assert_non_null(g);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		write_pids_max(values[i]);
		for (int n = 0; n < 2000 && !is_closed(); n++)
			usleep(5000);
		assert_true(is_closed());
	}
	/* It is lifted while a pod waits to go on: not behind what the kernel needs to end the watch. */
	fence_guard_end(g);
	fence_guard_end(g);
	assert_int_equal(fence_lift(root, &f, &err), 0);
	usleep(20000);
	assert_limit("max");
	fence_guard_stop(g);
	assert_limit("max");
}

/* A fence that stays closed because its group could not be opened would keep a pod that goes on from starting processes. */
static void only_a_group_that_is_gone_needs_none(void **state)
{
	static const struct {
		struct fence fence;
		int result;
	} rows[] = {
		{ { .group = "" }, 0 },
		{ { .group = "/kubepods/podgone", .limit = "max" }, 0 },
		{ { .group = "/kubepods/podloop", .limit = "max" }, -ELOOP },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = { 0 };

		assert_int_equal(fence_close(root, &rows[i].fence, &err), rows[i].result);
		assert_int_equal(err.reason, rows[i].result == 0 ? REASON_NONE : REASON_FreezeFailed);
		assert_int_equal(fence_lift(root, &rows[i].fence, &err), rows[i].result);
		assert_true(rows[i].result == 0 || strstr(err.message, rows[i].fence.group));
	}
}

static int make_root(void **state)
{
	char path[128];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	snprintf(path, sizeof(path), "%s/pids/kubepods/podu", root);
	if (dir_make(AT_FDCWD, path, 0700, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/pids/kubepods/podu/pids.max", root);
	if (file_write(AT_FDCWD, path, "max\n", 4, 0600, false, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/pids/kubepods/podloop", root);
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
		cmocka_unit_test(closed_and_lifted),
		cmocka_unit_test(a_guard_keeps_it_closed),
		cmocka_unit_test(only_a_group_that_is_gone_needs_none),
	};

	return cmocka_run_group_tests_name("fence", tests, make_root, remove_root);
}
