/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define source_greet played_greet
#define source_keep_key played_keep_key
#define source_dial played_dial
#define source_end_dumps played_end_dumps
#define source_throttle_lift played_lift
#include "agent/source_deeds.c"
#undef source_greet
#undef source_keep_key
#undef source_dial
#undef source_end_dumps
#undef source_throttle_lift

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

/* --- what a participant has found before there was a stream --- */

static int dials;
static struct error greeted_with;

int played_keep_key(struct source *s, struct error *err)
{
	(void)s;
	(void)err;
	return 0;
}

int played_dial(struct source *s, int64_t patience_us, struct error *err)
{
	(void)patience_us;
	(void)err;
	dials++;
	greeted_with = s->cause;
	return 0;
}

void played_end_dumps(struct source *s, bool given_up)
{
	(void)s;
	(void)given_up;
}

int played_lift(struct source *s, struct error *err)
{
	(void)s;
	(void)err;
	return 0;
}

/* HELLO has told it, and the destination has answered with ABORT: there is nobody left to be told. */
static void what_a_participant_finds_is_told_once(void **state)
{
	struct source *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	dials = 0;
	error_reason(&s->cause, -ENOTSUP, REASON_IOUringInUse, "process 7");
	answer.r = -ECONNABORTED;
	answer.gave_up = true;
	s->untold = true;
	pthread_mutex_init(&s->wire_lock, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(source_deeds[DEED_SendAbort].fn(s), INPUT_Failed);
	assert_int_equal(dials, 1);
	assert_int_equal(greeted_with.reason, REASON_IOUringInUse);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_migration_goes_on_when_it_is_welcome),
		cmocka_unit_test(a_dry_run_is_over_then_and_says_who_was_asked),
		cmocka_unit_test(what_the_destination_refuses_counts_for_both),
		cmocka_unit_test(what_a_participant_finds_is_told_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
