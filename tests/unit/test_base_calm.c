/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>

#include "base/calm.h"
#include "base/clock.h"

static void parses(void **state)
{
	struct calm_sample s;

	(void)state;
	assert_int_equal(calm_parse("cpu  100 20 30 4000 50 6 7 8 9 1\ncpu0 1 1 1 1 1 1 1 1 0 0\n", &s), 0);
	assert_int_equal(s.busy, 171);
	assert_int_equal(s.all, 4221);
}

static void refuses(void **state)
{
	static const char *const bad[] = { "", "cpu0 1 2 3 4 5 6 7 8\n", "cpu 1 2 3\n", "intr 5\n" };
	struct calm_sample s;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(calm_parse(bad[i], &s), -EBADMSG);
}

static void judges(void **state)
{
	static const struct {
		struct calm_sample from, to;
		bool calm;
	} cases[] = {
		{ { 0, 0 }, { 75, 100 }, true },
		{ { 0, 0 }, { 76, 100 }, false },
		{ { 500, 1000 }, { 500, 1012 }, true },
		{ { 500, 1000 }, { 512, 1012 }, false },
		{ { 500, 1000 }, { 500, 1000 }, false },       /* no tick went by: nothing is known */
		{ { 500, 1000 }, { 400, 900 }, false },        /* backwards */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(calm_between(&cases[i].from, &cases[i].to), cases[i].calm);
}

/* On a machine that is busy for good it waits as long as it was told, not longer. */
static void ends(void **state)
{
	int64_t start = clock_mono_us(), waited = calm_wait(200000), took = clock_mono_us() - start;

	(void)state;
	assert_true(waited > 0 && waited <= took && took < 2000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(parses), cmocka_unit_test(refuses), cmocka_unit_test(judges), cmocka_unit_test(ends) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
