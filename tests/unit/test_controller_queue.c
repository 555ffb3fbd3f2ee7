/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "controller/queue.h"

static struct queue *make(void)
{
	struct queue *q = NULL;
	struct error err = { 0 };

	assert_int_equal(queue_new(&q, &err), 0);
	return q;
}

static void take(struct queue *q, const char *want)
{
	char key[QUEUE_KEY_SIZE];
	int64_t waited;

	assert_true(queue_get(q, key, &waited));
	assert_string_equal(key, want);
	assert_true(waited >= 0);
}

static void test_order_and_merging(void **state)
{
	struct queue *q = make();

	(void)state;
	queue_add(q, "d/a");
	queue_add(q, "d/b");
	queue_add(q, "d/a");
	assert_int_equal(queue_depth(q), 2);
	take(q, "d/a");
	queue_add(q, "d/a");            /* while a worker has it: not before that one is through */
	take(q, "d/b");
	assert_int_equal(queue_depth(q), 0);
	queue_done(q, "d/a", false);
	assert_int_equal(queue_depth(q), 1);
	take(q, "d/a");
	queue_done(q, "d/a", false);
	queue_done(q, "d/b", false);
	assert_int_equal(queue_depth(q), 0);
	queue_free(q);
}

static void test_delays(void **state)
{
	struct queue *q = make();
	int64_t begun = clock_mono_us();

	(void)state;
	queue_add_after(q, "d/late", 60000);
	queue_add_after(q, "d/soon", 20000);
	queue_add_after(q, "d/late", 40000);            /* earlier counts */
	queue_add_after(q, "d/soon", 500000000);        /* later does not */
	take(q, "d/soon");
	assert_true(clock_mono_us() - begun >= 20000);
	take(q, "d/late");
	assert_in_range(clock_mono_us() - begun, 40000, 3000000);
	queue_add_after(q, "d/x", 500000000);
	queue_add(q, "d/x");                            /* at once after all */
	take(q, "d/x");
	queue_add_after(q, "d/x", 1000);                /* due while it is in work */
	queue_done(q, "d/x", false);
	take(q, "d/x");
	queue_stop(q);
	queue_free(q);
}

static void test_back_off(void **state)
{
	struct queue *q = make();
	int64_t last = 0;

	(void)state;
	queue_add(q, "d/bad");
	for (int i = 0; i < 5; i++) {
		take(q, "d/bad");
		/* The clock was read before the wait began, however long this thread was kept from the processor. */
		if (i)
			assert_true(clock_mono_us() - last >= QUEUE_RETRY_FIRST_US << (i - 1));
		last = clock_mono_us();
		queue_done(q, "d/bad", true);
	}
	take(q, "d/bad");
	queue_done(q, "d/bad", false);          /* forgotten */
	queue_add(q, "d/bad");
	take(q, "d/bad");
	queue_done(q, "d/bad", true);
	last = clock_mono_us();
	take(q, "d/bad");
	assert_in_range(clock_mono_us() - last, 1000, 3000000);
	queue_free(q);
}

static void test_keys_too_long(void **state)
{
	struct queue *q = make();
	char key[QUEUE_KEY_SIZE + 10];

	(void)state;
	memset(key, 'a', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	queue_add(q, key);
	assert_int_equal(queue_depth(q), 0);
	queue_done(q, "never/seen", true);
	queue_free(q);
}

/* Many threads, few keys: never two workers with one key, and nothing that was added is forgotten. */
#define KEYS 13
#define ADDS 20000

struct crowd {
	struct queue *q;
	_Atomic int busy[KEYS], added[KEYS], seen[KEYS], taken;
};

static void *crowd_worker(void *arg)
{
	struct crowd *c = arg;
	char key[QUEUE_KEY_SIZE];
	int64_t waited;

	while (queue_get(c->q, key, &waited)) {
		int k = (int)strtol(key, NULL, 10), now = c->added[k];

		if (c->busy[k]++)
			abort();
		c->seen[k] = now;
		c->taken++;
		c->busy[k]--;
		queue_done(c->q, key, c->taken % 97 == 0);
	}
	return NULL;
}

static void test_crowd(void **state)
{
	struct crowd c = { .q = make() };
	pthread_t t[6];
	unsigned seed = 7;

	(void)state;
	for (int i = 0; i < 6; i++)
		assert_int_equal(pthread_create(&t[i], NULL, crowd_worker, &c), 0);
	for (int i = 0; i < ADDS; i++) {
		int k = rand_r(&seed) % KEYS;
		char key[16];

		snprintf(key, sizeof(key), "%d", k);
		c.added[k]++;
		if (i % 5)
			queue_add(c.q, key);
		else
			queue_add_after(c.q, key, rand_r(&seed) % 3000);
	}
	for (int tries = 0, left = 1; left && tries < 2000; tries++) {
		left = 0;
		for (int k = 0; k < KEYS; k++)
			left += c.seen[k] != c.added[k];
		nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
	}
	for (int k = 0; k < KEYS; k++)
		assert_int_equal(c.seen[k], c.added[k]);
	queue_stop(c.q);
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	queue_free(c.q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_merging), cmocka_unit_test(test_delays), cmocka_unit_test(test_back_off),
		cmocka_unit_test(test_keys_too_long), cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
