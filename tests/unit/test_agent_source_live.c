/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "agent/source_live.c"

static cJSON *told;             /* the last of status.source.containers */
static int64_t told_bytes;

void record_live(struct record *r, int64_t bytes, cJSON *containers)
{
	(void)r;
	cJSON_Delete(told);
	told = containers;
	told_bytes = bytes;
}

void source_throttle_report(const struct source_container *c, cJSON *e)
{
	if (c->cpu_percent)
		cJSON_AddNumberToObject(e, "cpuPercent", c->cpu_percent);
}

cJSON *source_report_round(const struct source_round *round)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddNumberToObject(j, "pages", (double)round->pages);
	return j;
}


static struct source *make(void)
{
	struct source *s = calloc(1, sizeof(*s));

	pthread_mutex_init(&s->throttle_lock, NULL);
	s->record = (struct record *)(void *)s;         /* there is one */
	s->n = 2;
	for (int i = 0; i < s->n; i++) {
		s->containers[i].source = s;
		snprintf(s->containers[i].info.name, sizeof(s->containers[i].info.name), "c%d", i);
	}
	s->containers[0].rounds[0] = (struct source_round){ .pages = 100, .bytes = 409600 };
	s->containers[0].rounds[1] = (struct source_round){ .pages = 7, .bytes = 28672 };
	s->containers[0].n_rounds = 1;
	return s;
}

static void rounds_that_are_over_are_told(void **state)
{
	struct source *s = make();

	(void)state;
	/* The first is not over until it is said to be. */
	source_live_tell(s);
	assert_int_equal(cJSON_GetArraySize(told), 2);
	assert_null(json_at(cJSON_GetArrayItem(told, 0), "rounds"));
	assert_int_equal(told_bytes, -1);
	source_live_round(&s->containers[0]);
	s->containers[0].n_rounds = 2;
	s->containers[1].cpu_percent = 80;
	source_live_tell(s);
	assert_int_equal(cJSON_GetArraySize(json_at(cJSON_GetArrayItem(told, 0), "rounds")), 1);
	assert_int_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(told, 0), "pages")->valueint, 100);
	assert_int_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(told, 1), "cpuPercent")->valueint, 80);
	source_live_round(&s->containers[0]);
	source_live_tell(s);
	assert_int_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(told, 0), "bytes")->valueint, 438272);
	free(s);
}

/* It ends at once, and not when it would have told again. */
static void it_does_not_hold_up_the_freeze(void **state)
{
	struct source *s = make();
	int64_t began = clock_mono_us();
	struct source_live *l = source_live_begin(s);

	(void)state;
	assert_non_null(l);
	usleep(10000);
	source_live_end(l);
	assert_true(clock_mono_us() - began < 2000000);
	/* A remote source has nobody to tell. */
	s->record = NULL;
	assert_null(source_live_begin(s));
	source_live_end(NULL);
	cJSON_Delete(told);
	told = NULL;
	source_live_tell(s);
	assert_null(told);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rounds_that_are_over_are_told),
		cmocka_unit_test(it_does_not_hold_up_the_freeze),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
