/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "migration/phase.h"

static void test_names_there_and_back(void **state)
{
	(void)state;
	for (int p = 0; p < PHASE_COUNT; p++)
		assert_int_equal(phase_from_name(phase_name((enum phase)p)), p);
	for (int s = 0; s < SOURCE_STATE_COUNT; s++)
		assert_int_equal(source_state_from_name(source_state_name((enum source_state)s)), s);
}

static void test_unknown_names(void **state)
{
	static const char *const unknown[] = { NULL, "", "pending", "Pendin", "Succeeded ", "\xff" };

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		assert_int_equal(phase_from_name(unknown[i]), PHASE_Pending);
		assert_int_equal(source_state_from_name(unknown[i]), SOURCE_None);
	}
	assert_string_equal(phase_name((enum phase)99), "Pending");
	assert_string_equal(source_state_name((enum source_state)99), "None");
}

/* The table as docs/architecture.md has it, written out again: a row for each phase. */
static void test_moves(void **state)
{
	static const char *const allowed[PHASE_COUNT] = {
		[PHASE_Pending] = "-P----SFC", [PHASE_Preparing] = "--T---SFC", [PHASE_Transferring] = "---fRC-FX", [PHASE_Freezing] = "----RC-FX",
		[PHASE_Restoring] = "-----C-FX", [PHASE_Committed] = "------SF-", [PHASE_Succeeded] = "---------", [PHASE_Failed] = "---------",
		[PHASE_Cancelled] = "---------",
	};

	(void)state;
	for (int from = 0; from < PHASE_COUNT; from++)
		for (int to = 0; to < PHASE_COUNT; to++)
			if (phase_may_follow((enum phase)from, (enum phase)to) != (allowed[from][to] != '-'))
				fail_msg("%s -> %s", phase_name((enum phase)from), phase_name((enum phase)to));
	assert_false(phase_may_follow((enum phase)99, PHASE_Failed));
	assert_false(phase_may_follow(PHASE_Pending, (enum phase)99));
}

/* Nothing follows an end, nothing but Succeeded, or Failed when it was given back, follows the commit, and every phase can come to an end. */
static void test_ends(void **state)
{
	(void)state;
	for (int p = 0; p < PHASE_COUNT; p++) {
		bool follows = false, end_in_reach = false;

		for (int to = 0; to < PHASE_COUNT; to++) {
			follows |= phase_may_follow((enum phase)p, (enum phase)to);
			end_in_reach |= phase_may_follow((enum phase)p, (enum phase)to) && phase_ended((enum phase)to);
		}
		assert_int_equal(follows, !phase_ended((enum phase)p));
		assert_int_equal(end_in_reach, !phase_ended((enum phase)p));
	}
	assert_true(phase_may_follow(PHASE_Committed, PHASE_Failed));
	assert_false(phase_may_follow(PHASE_Committed, PHASE_Cancelled));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_there_and_back),
		cmocka_unit_test(test_unknown_names),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
