/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define source_greet played_greet
#include "agent/source_deeds.c"
#undef source_greet

/* What follows from the destination's answer to HELLO, which is played. */

static struct {
	int r;
	bool gave_up;
} answer;

int played_greet(struct source *s, bool resume, struct error *err)
{
	assert_false(resume);
	cJSON_Delete(s->welcome);
	s->welcome = NULL;
	s->peer_gave_up = answer.gave_up;
	if (answer.r < 0)
		return error_reason(err, answer.r, REASON_CPUIncompatible, "no avx512f");
	s->welcome = cJSON_CreateObject();
	cJSON_AddStringToObject(s->welcome, "node", "milan-1");
	return 0;
}

static enum input said(bool dry_run, int r, bool gave_up, struct error *ret)
{
	struct source *s = calloc(1, sizeof(*s));
	enum input in;

	assert_non_null(s);
	s->dry_run = dry_run;
	answer.r = r;
	answer.gave_up = gave_up;
	in = source_deeds[DEED_Hello].fn(s);
	*ret = s->err;
	cJSON_Delete(s->welcome);
	free(s);
	return in;
}

static void a_migration_goes_on_when_it_is_welcome(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(said(false, 0, false, &err), INPUT_Welcome);
	assert_string_equal(err.message, "");
}

static void a_dry_run_is_over_then_and_says_who_was_asked(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(said(true, 0, false, &err), INPUT_Rehearsed);
	assert_int_equal(err.reason, REASON_DryRun);
	assert_non_null(strstr(err.message, "milan-1"));
}

static void what_the_destination_refuses_counts_for_both(void **state)
{
	struct error err;

	(void)state;
	for (int dry = 0; dry < 2; dry++) {
		assert_int_equal(said(dry, -ECONNABORTED, true, &err), INPUT_PeerAbort);
		assert_int_equal(err.reason, REASON_CPUIncompatible);
		assert_int_equal(said(dry, -EPIPE, false, &err), INPUT_StreamLost);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_migration_goes_on_when_it_is_welcome),
		cmocka_unit_test(a_dry_run_is_over_then_and_says_who_was_asked),
		cmocka_unit_test(what_the_destination_refuses_counts_for_both),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
