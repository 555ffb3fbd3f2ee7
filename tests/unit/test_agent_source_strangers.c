/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define clock_mono_us test_clock
#include "agent/source_strangers.c"
#undef clock_mono_us

/* When the pod is frozen, and when that is given up.  The clock, the freezer and the processes are played. */

#define GONE 1999999999         /* no such process: it has ended by the time that it is waited for */

static struct {
	int64_t now_us, step_us;        /* each freeze takes so long */
	int frozen, freezes, strangers; /* the first so many freezes find a stranger */
	pid_t shell[2];                 /* these are there, and stay */
	int64_t tick_us;                /* each look at the clock takes so long then; 0: half the patience */
	int abort_at;                   /* ordered behind so many freezes; 0: never */
} world;

int64_t test_clock(void)
{
	/* Who stays is waited for in vain, but not in real time. */
	if (world.shell[0])
		world.now_us += world.tick_us ? world.tick_us : PATIENCE_US / 2;
	return world.now_us;
}

int freezer_freeze(struct freezer *f, int64_t deadline_us, struct error *err)
{
	(void)f;
	(void)deadline_us;
	(void)err;
	/* What nobody ends would hold the test for ever. */
	if (world.freezes == 100000)
		abort();
	world.now_us += world.step_us;
	world.frozen = 1;
	world.freezes++;
	return 0;
}

int freezer_thaw(struct freezer *f, struct error *err)
{
	(void)f;
	(void)err;
	world.frozen = 0;
	return 0;
}

int freezer_pids(struct freezer *f, int container, pid_t *ret, int max)
{
	(void)f;
	(void)container;
	(void)max;
	if (world.shell[0]) {
		memcpy(ret, world.shell, sizeof(world.shell));
		return 2;
	}
	ret[0] = GONE;
	return world.freezes <= world.strangers;
}

bool process_descends(pid_t pid, pid_t from)
{
	(void)from;
	return pid != GONE && (!world.shell[0] || (pid != world.shell[0] && pid != world.shell[1]));
}

int control_check(struct control *c, struct error *err)
{
	(void)c;
	return world.abort_at && world.freezes >= world.abort_at ? error_reason(err, -ECANCELED, REASON_Cancelled, "given up") : 0;
}

static int freeze(int strangers, int abort_at, struct error *err)
{
	struct source *s = calloc(1, sizeof(*s));
	int r;

	memset(&world, 0, sizeof(world));
	world.step_us = 1000;
	world.strangers = strangers;
	world.abort_at = abort_at;
	s->n = 1;
	r = source_freeze(s, 1000000, err);
	free(s);
	return r;
}

static void it_is_frozen_when_the_probe_has_ended(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(freeze(0, 0, &err), 0);
	assert_int_equal(world.freezes, 1);
	assert_int_equal(freeze(3, 0, &err), 0);
	assert_int_equal(world.freezes, 4);
	assert_true(world.frozen);
}

/* A program that leaves an orphan behind at every moment. */
static void who_is_never_alone_is_not_frozen_for_ever(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(freeze(1000000, 0, &err), -EBUSY);
	assert_int_equal(err.reason, REASON_UnsupportedContainer);
	assert_false(world.frozen);
	assert_in_range(world.now_us, PATIENCE_US, PATIENCE_US + 2000);
}

static void an_order_to_abort_is_heard_in_between(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(freeze(1000000, 5, &err), -ECANCELED);
	assert_int_equal(err.reason, REASON_Cancelled);
	assert_int_equal(world.freezes, 5);
	assert_false(world.frozen);
}

/* kubectl exec in two windows, that nobody closes: both are told, when they have been waited for. */
static void all_that_stay_are_told(void **state)
{
	struct source *s = calloc(1, sizeof(*s));
	struct obstacles found = { 0 };
	struct error err = { 0 };
	char want[64];

	(void)state;
	memset(&world, 0, sizeof(world));
	world.strangers = 1;
	world.step_us = PATIENCE_US;
	for (int i = 0; i < 2; i++) {
		world.shell[i] = fork();
		if (world.shell[i] == 0)
			for (;;)
				pause();
	}
	s->n = 1;
	assert_int_equal(source_wait_strangers(s, &found, &err), 0);
	assert_int_equal(found.n, 2);
	for (int i = 0; i < 2; i++) {
		snprintf(want, sizeof(want), "process %d (", world.shell[i]);
		assert_int_equal(found.items[i].reason, REASON_UnsupportedContainer);
		assert_non_null(strstr(found.items[i].text, want));
		kill(world.shell[i], SIGKILL);
		waitpid(world.shell[i], NULL, 0);
	}
	free(s);
}

/* A pod with a shell in it.  How long it was waited for, when its memory was waited for until filled_us, and so much was found before. */
static int64_t waited(int64_t filled_us, int before, int *ret_found)
{
	struct source *s = calloc(1, sizeof(*s));
	struct obstacles found = { 0 };
	struct error err = { 0 };

	memset(&world, 0, sizeof(world));
	world.now_us = 50000000;
	world.tick_us = filled_us ? PATIENCE_AFTER_US / 4 : 0;
	for (int i = 0; i < 2; i++) {
		world.shell[i] = fork();
		if (world.shell[i] == 0)
			for (;;)
				pause();
	}
	s->n = 1;
	s->filled_us = filled_us;
	for (int i = 0; i < before; i++)
		obstacles_add(&found, REASON_DeviceInUse, "a device");
	assert_int_equal(source_wait_strangers(s, &found, &err), 0);
	for (int i = 0; i < 2; i++) {
		kill(world.shell[i], SIGKILL);
		waitpid(world.shell[i], NULL, 0);
	}
	free(s);
	*ret_found = found.n;
	return world.now_us - 50000000;
}

/* Nor is more waited than the controller waits for us, when the pod's memory has only just come. */
static void a_pod_that_cannot_go_is_not_waited_for(void **state)
{
	int found;

	(void)state;
	assert_int_equal(waited(0, 1, &found), 0);
	assert_int_equal(found, 3);
	assert_true(waited(0, 0, &found) >= PATIENCE_US);
	assert_int_equal(found, 2);
	assert_in_range(waited(50000000, 0, &found), PATIENCE_AFTER_US, PATIENCE_US / 2);
	assert_int_equal(found, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_frozen_when_the_probe_has_ended),
		cmocka_unit_test(who_is_never_alone_is_not_frozen_for_ever),
		cmocka_unit_test(an_order_to_abort_is_heard_in_between),
		cmocka_unit_test(all_that_stay_are_told),
		cmocka_unit_test(a_pod_that_cannot_go_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
