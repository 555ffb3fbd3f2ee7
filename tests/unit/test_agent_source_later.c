/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define freezer_pids played_pids
#define process_ns_pid played_ns_pid
#define pages_answer played_answer
#define source_find played_find
#include "agent/source_later.c"

/* Who may ask for memory of what, and when. */

static int answered;

int played_pids(struct freezer *f, int i, pid_t *pids, int max)
{
	(void)f;
	(void)max;
	pids[0] = 100 + i;
	return 1;
}

int played_ns_pid(pid_t pid, pid_t *ret, struct error *err)
{
	(void)pid;
	(void)err;
	*ret = 1;
	return 0;
}

int played_answer(struct wire *w, const struct pages_source *s, uint64_t address, uint32_t pages, struct pages_stats *stats, struct error *err)
{
	(void)w;
	(void)s;
	(void)address;
	(void)pages;
	(void)stats;
	(void)err;
	answered++;
	return 0;
}

int played_find(struct source *s, struct error *err)
{
	(void)s;
	(void)err;
	return 0;
}

/* Of container 0, which is to come later, or of container 1, which has been sent. */
static int ask(uint16_t container, bool frozen, bool resumed)
{
	struct wire_pages p = { .ns_pid = 1, .address = 4096, .pages = 1 };
	struct source *s = calloc(1, sizeof(*s));
	uint8_t head[WIRE_PAGES_HEAD];
	struct wire_frame f = { .type = WIRE_WANT, .container = container, .len = sizeof(head), .body = head };
	struct error err = { 0 };
	int r;

	wire_pages_pack(&p, head);
	s->n = 2;
	s->frozen = frozen;
	s->resumed = resumed;
	s->freezer_ready = true;
	s->running = resumed ? cJSON_Parse("{\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}") : NULL;
	for (int i = 0; i < 2; i++) {
		s->containers[i] = (struct source_container){ .source = s, .index = (uint16_t)i, .later = !resumed && i == 0 };
		s->containers[i].info.name[0] = i ? 'b' : 'a';
	}
	answered = 0;
	r = source_answer(s, &f, &err);
	assert_int_equal(answered, r == 0);
	cJSON_Delete(s->running);
	for (int i = 0; i < 2; i++)
		free(s->containers[i].processes);
	free(s);
	return r;
}

static void only_what_comes_later_is_asked_for(void **state)
{
	(void)state;
	assert_int_equal(ask(0, true, false), 0);
	assert_int_equal(ask(0, false, false), -EPROTO);
	assert_int_equal(ask(2, true, false), -EPROTO);
	/* It has got this: who asks for it holds the pod. */
	assert_int_equal(ask(1, true, false), -EPROTO);
	/* Committed, and nobody knows any more what was agreed. */
	assert_int_equal(ask(1, true, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(only_what_comes_later_is_asked_for) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
