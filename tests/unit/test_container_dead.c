/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/runc.h"

/* A container that was killed and left frozen can be deleted again; one that lives is never thawed. */

static char root[] = "/tmp/pm-dead-XXXXXX";
static struct runc runc = { .root = root, .netns_fd = -1 };

static void put(const char *path, const char *text)
{
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL), 0);
}

static void runc_says(const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/c1/state.json", root);
	put(path, text);
}

static bool holds(const char *path, const char *text)
{
	struct buf b = BUF_INIT(64);
	bool yes = file_read(AT_FDCWD, path, &b, NULL) == 0 && !strncmp(b.data, text, strlen(text));

	buf_free(&b);
	return yes;
}

/* Plain files instead of a cgroup: what a group that CRIU has left frozen looks like, and whether anything is written. */
static int asked(const char *procs, const char *state_name, const char *state, const char *thaw_name, const char *hierarchies)
{
	char path[160], text[256];
	struct error e = { 0 };

	snprintf(path, sizeof(path), "%s/group/cgroup.procs", root);
	put(path, procs);
	snprintf(path, sizeof(path), "%s/group/%s", root, thaw_name);
	put(path, "untouched");
	snprintf(path, sizeof(path), "%s/group/%s", root, state_name);
	put(path, state);
	snprintf(text, sizeof(text), "{\"cgroup_paths\":{%s\"%s/group\"}}", hierarchies, root);
	runc_says(text);
	return runc_thaw_dead(&runc, "c1", &e);
}

#define V1 "\"memory\":\"/elsewhere\",\"freezer\":"
#define V2 "\"\":"

static void the_empty_group_is_thawed(void **state)
{
	char file[128];

	(void)state;
	snprintf(file, sizeof(file), "%s/group/freezer.state", root);
	assert_int_equal(asked("", "freezer.state", "FROZEN\n", "unused", V1), 1);
	assert_true(holds(file, "THAWED"));
	assert_int_equal(asked("", "freezer.state", "THAWED\n", "unused", V1), 0);
	snprintf(file, sizeof(file), "%s/group/cgroup.freeze", root);
	assert_int_equal(asked("", "cgroup.events", "populated 0\nfrozen 1\n", "cgroup.freeze", V2), 1);
	assert_true(holds(file, "0"));
	assert_int_equal(asked("", "cgroup.events", "populated 0\nfrozen 0\n", "cgroup.freeze", V2), 0);
}

static void who_lives_stays_frozen(void **state)
{
	char file[128];

	(void)state;
	snprintf(file, sizeof(file), "%s/group/freezer.state", root);
	assert_int_equal(asked("17\n", "freezer.state", "FROZEN\n", "unused", V1), 0);
	assert_true(holds(file, "FROZEN"));
	assert_int_equal(asked("17\n18\n", "freezer.state", "FROZEN\n", "unused", V1), 0);
	assert_true(holds(file, "FROZEN"));
	snprintf(file, sizeof(file), "%s/group/cgroup.freeze", root);
	assert_int_equal(asked("17\n", "cgroup.events", "frozen 1\n", "cgroup.freeze", V2), 0);
	assert_true(holds(file, "untouched"));
}

/* Of a process in a group below, too. */
static void who_lives_below_stays_frozen(void **state)
{
	char path[160], file[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/group/sub", root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/group/sub/cgroup.procs", root);
	put(path, "17\n");
	snprintf(file, sizeof(file), "%s/group/freezer.state", root);
	assert_int_equal(asked("", "freezer.state", "FROZEN\n", "unused", V1), 0);
	assert_true(holds(file, "FROZEN"));
	put(path, "");
	assert_int_equal(asked("", "freezer.state", "FROZEN\n", "unused", V1), 1);
}

static void what_runc_does_not_say_is_not_guessed(void **state)
{
	static const char *const texts[] = { "", "{}", "[]", "{\"cgroup_paths\":{}}", "{\"cgroup_paths\":{\"freezer\":7}}", "{\"cgroup_paths\":{\"freezer\":\"relative\"}}",
					     "{\"cgroup_paths\":{\"freezer\":\"/sys/../etc\"}}" };
	struct error e = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		runc_says(texts[i]);
		assert_true(runc_thaw_dead(&runc, "c1", &e) < 0);
	}
	runc_says("{\"cgroup_paths\":{\"freezer\":\"/nowhere/at/all\"}}");
	assert_int_equal(runc_thaw_dead(&runc, "c1", &e), 0);
	assert_int_equal(runc_thaw_dead(&runc, "c2", &e), 0);   /* deleted */
	assert_true(runc_thaw_dead(&runc, "../c1", &e) < 0);
}

static int setup(void **state)
{
	char path[64];

	(void)state;
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/c1", root);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/group", root);
	return mkdir(path, 0700);
}

static int teardown(void **state)
{
	char command[64];
	pid_t pid = fork();

	(void)state;
	snprintf(command, sizeof(command), "%s", root);
	if (pid == 0) {
		execlp("rm", "rm", "-rf", command, (char *)NULL);
		_exit(1);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_empty_group_is_thawed),
		cmocka_unit_test(who_lives_stays_frozen),
		cmocka_unit_test(who_lives_below_stays_frozen),
		cmocka_unit_test(what_runc_does_not_say_is_not_guessed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
