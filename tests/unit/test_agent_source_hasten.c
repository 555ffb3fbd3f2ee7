/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/source_hasten.c"

/* How long the network of a pod that has moved goes on refusing clients: seen every 20 ms, a client every client_ms until last_ms. */
static int64_t kept_ms(int64_t client_ms, int64_t last_ms)
{
	struct refusing f = { 0 };
	uint64_t resets = 7;            /* of its life before */
	int64_t ms = 0, asked_us = 5000000;

	for (; ms < 60000; ms += 20) {
		if (client_ms && ms && ms <= last_ms && ms % client_ms == 0)
			resets++;
		if (!source_refuses(&f, asked_us, asked_us + ms * 1000, resets))
			break;
	}
	return ms;
}

static void nobody_comes(void **state)
{
	(void)state;
	assert_int_equal(kept_ms(0, 0), 1200);
}

static void clients_that_stay_away_in_time_change_nothing(void **state)
{
	(void)state;
	assert_int_equal(kept_ms(20, 880), 1200);
}

/* kube-proxy is late: whoever connects is refused until nobody does any more. */
static void clients_that_still_come_are_refused(void **state)
{
	(void)state;
	assert_int_equal(kept_ms(20, 1600), 1900);
	assert_int_equal(kept_ms(200, 3000), 3300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_comes), cmocka_unit_test(clients_that_stay_away_in_time_change_nothing), cmocka_unit_test(clients_that_still_come_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
