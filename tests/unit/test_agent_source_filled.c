/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define clock_mono_us test_clock
#define control_check played_check
#include "agent/source_filled.c"
#undef clock_mono_us
#undef control_check

#include "controller/decide.h"

/* A pod that is to be moved on while its monitor still fills its memory. */

static char root[] = "/tmp/pm-filled-XXXXXX";
static struct agent_options options = { .host_root = root };
static int64_t now_us;

/* Two seconds for each look. */
int64_t test_clock(void)
{
	return now_us += 2000000;
}

int played_check(struct control *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

/* How long it was waited for, for nothing. */
static int64_t waited(bool remote)
{
	struct source *s = calloc(1, sizeof(*s));
	struct error err = { 0 };
	int64_t took;

	s->o = &options;
	s->journal.remote = remote;
	s->containers[0].source = s;
	snprintf(s->containers[0].info.id, sizeof(s->containers[0].info.id), "c1");
	now_us = 0;
	assert_int_equal(source_wait_filled(&s->containers[0], &err), -ETIMEDOUT);
	assert_non_null(strstr(err.message, "last migration"));
	took = now_us;
	/* The next one has what the first has left. */
	assert_int_equal(source_wait_filled(&s->containers[0], &err), -ETIMEDOUT);
	assert_true(now_us - took < 5000000);
	free(s);
	return took;
}

/* Else a person reads that the agent has not reported. */
static void the_reason_is_told_before_the_controller_loses_patience(void **state)
{
	(void)state;
	assert_in_range(waited(false), 20000000, LIMIT_AGENT - 1);
	assert_in_range(waited(true), 60000000, LIMIT_ORDER - 1);
}

static int make_root(void **state)
{
	char path[512];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	snprintf(path, sizeof(path), "%s" PM_RUN_DIR "/containers/c1", root);
	if (dir_make(AT_FDCWD, path, 0700, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s" PM_RUN_DIR "/containers/c1/" MONITOR_FILLING, root);
	return file_write(AT_FDCWD, path, "", 0, 0600, false, NULL);
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_reason_is_told_before_the_controller_loses_patience) };

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
