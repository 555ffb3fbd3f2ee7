/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <string.h>

#include "migration/reason.h"

static void test_names(void **state)
{
	(void)state;
	for (int r = REASON_NONE + 1; r < REASON_COUNT; r++) {
		assert_int_equal(reason_from_name(reason_name(r)), r);
		for (int other = r + 1; other < REASON_COUNT; other++)
			assert_string_not_equal(reason_name(r), reason_name(other));
	}
	assert_string_equal(reason_name(-1), "InternalError");
	assert_string_equal(reason_name(REASON_COUNT), "InternalError");
	assert_int_equal(reason_from_name(NULL), REASON_InternalError);
	assert_int_equal(reason_from_name("podnotfound"), REASON_InternalError);
	assert_int_equal(reason_from_name("None"), REASON_InternalError);
}

/* What the Kubernetes API conventions ask of a condition's reason: CamelCase; and an advice is one sentence. */
static void test_form(void **state)
{
	(void)state;
	assert_string_equal(reason_advice(REASON_NONE), "");
	for (int r = REASON_NONE + 1; r < REASON_COUNT; r++) {
		const char *name = reason_name(r), *advice = reason_advice(r);

		assert_true(isupper((unsigned char)name[0]) && strlen(name) < 64);
		for (const char *p = name; *p; p++)
			assert_true(isalnum((unsigned char)*p));
		assert_true(strlen(advice) > 10 && advice[strlen(advice) - 1] == '.');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names), cmocka_unit_test(test_form) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
