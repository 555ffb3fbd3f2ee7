/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/destination.c"

/* Why a destination is given up, as a person will read it. */

static const struct agent_options options = { .host_root = "" };

/* Two containers, none of which has images: each restore fails at once, for a reason of its own. */
static struct destination *begin(void)
{
	struct destination *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->o = &options;
	d->finished_fd = -1;
	d->driver.side = SIDE_DECIDER;
	add_container(d, "web");
	add_container(d, "cache");
	return d;
}

static void fail_one(struct destination *d, int i)
{
	struct error err = { 0 };

	assert_int_equal(destination_restore_one(&d->containers[i], &err), 0);
	destination_join(d);
	assert_true(d->containers[i].result < 0);
}

static void order(struct destination *d)
{
	/* That the stream was ended by it comes last, and is no reason. */
	error_reason(&d->err, -ECANCELED, REASON_TransferFailed, "the stream was shut down");
	on_move(d, DST_Receiving, INPUT_OrderAbort, DST_Killing);
}

static void a_restore_that_failed_before_the_order_is_the_reason(void **state)
{
	struct destination *d = begin();

	(void)state;
	fail_one(d, 1);
	destination_abort(d);
	fail_one(d, 0);
	order(d);
	assert_non_null(strstr(d->cause.message, "container cache"));
	assert_int_not_equal(d->cause.reason, REASON_Cancelled);
	assert_int_not_equal(d->cause.reason, REASON_TransferFailed);
	free(d);
}

static void what_fails_by_the_order_is_none(void **state)
{
	struct destination *d = begin();

	(void)state;
	destination_abort(d);
	fail_one(d, 0);
	fail_one(d, 1);
	order(d);
	assert_int_equal(d->cause.reason, REASON_Cancelled);
	assert_string_equal(d->cause.message, DESTINATION_ABORTED);
	free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_restore_that_failed_before_the_order_is_the_reason), cmocka_unit_test(what_fails_by_the_order_is_none) };

	return cmocka_run_group_tests_name("agent destination, why it was given up", tests, NULL, NULL);
}
