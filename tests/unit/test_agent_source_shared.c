/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stream_pair.h"

#include "agent/source_shared.c"

/* When and how often shared memory goes ahead, and which of CRIU's files it is for: of this process, to a side that only counts. */

#define PAGES 1024u

static uint64_t *memory;
static uint32_t changes[SHARED_PASSES_MAX + 2]; /* pages that are written before each pass */
static int passes;

int source_list_processes(struct source_container *c, pid_t *pids, struct error *err)
{
	(void)c;
	(void)err;
	assert_true(passes < SHARED_PASSES_MAX + 2);
	for (uint32_t i = 0; i < changes[passes]; i++)
		memory[i * PAGE / 8] += 1;
	passes++;
	pids[0] = getpid();
	pids[1] = getpid();
	return 2;
}

/* The second one has ended. */
int source_hold_process(const struct source_container *c, pid_t pid, struct error *err)
{
	static unsigned turn;

	(void)c;
	return turn++ % 2 ? error_set(err, -ESRCH, "gone") : (int)syscall(SYS_pidfd_open, pid, 0);
}

static void *receive_main(void *arg)
{
	struct error err = { 0 };
	struct wire_frame f;

	while (wire_receive(arg, 0, &f, &err) == 0 && f.type != WIRE_ALL_SENT)
		assert_true(f.type == WIRE_PAGES || f.type == WIRE_STORED);
	return NULL;
}

struct place {
	struct source s;
	struct wire *w[2];
	pthread_t t;
};

static struct source_container *begin(struct place *p, bool stored)
{
	struct source_container *c = &p->s.containers[0];

	memset(p, 0, sizeof(*p));
	memset(changes, 0, sizeof(changes));
	passes = 0;
	wire_pair(p->w, 10000000);
	p->s.wire = p->w[0];
	p->s.stored = stored;
	c->source = &p->s;
	assert_int_equal(pthread_create(&p->t, NULL, receive_main, p->w[1]), 0);
	return c;
}

static void end(struct place *p)
{
	struct error err = { 0 };

	assert_int_equal(wire_send_end(p->w[0], &err), 0);
	pthread_join(p->t, NULL);
	wire_free(p->w[0]);
	wire_free(p->w[1]);
	shared_free(p->s.containers[0].shared);
}

/* An agent that does not know it gets everything as before. */
static void not_known_there(void **state)
{
	static struct place p;
	struct source_container *c = begin(&p, false);
	struct error err = { 0 };

	(void)state;
	assert_int_equal(source_shared_ahead(c, &err), 0);
	assert_int_equal(source_shared_again(c, &err), 0);
	assert_null(c->shared);
	assert_int_equal(passes, 0);
	assert_int_equal(wire_bytes_sent(p.w[0]), 0);
	assert_false(source_shared_image_is(c, "pages-2.img", 1u << 20));
	end(&p);
}

/* maxDowntime 0: nothing is little.  It ends when it gets no less, or after so many passes. */
static void how_often(void **state)
{
	static const struct {
		uint32_t changes[SHARED_PASSES_MAX + 2];
		int64_t downtime_us;
		int passes;
	} cases[] = {
		{ { PAGES, 0 }, 0, 2 },
		{ { PAGES, PAGES, PAGES }, 0, 3 },
		{ { PAGES, PAGES, 600, 580 }, 0, 4 },
		{ { PAGES, 900, 500, 250, 100, 50 }, 0, SHARED_PASSES_MAX },
		{ { PAGES, 900, 500, 250, 100, 50 }, 3600000000, 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		static struct place p;
		struct source_container *c = begin(&p, true);
		struct error err = { 0 };
		uint64_t sum = 0;

		p.s.downtime_us = cases[i].downtime_us;
		memcpy(changes, cases[i].changes, sizeof(changes));
		assert_int_equal(source_shared_ahead(c, &err), 0);
		assert_int_equal(passes, 1);
		assert_int_equal(source_shared_again(c, &err), 0);
		assert_int_equal(passes, cases[i].passes);
		for (int k = 0; k < passes; k++)
			sum += cases[i].changes[k];
		assert_int_equal(c->shared_ahead.pages, sum);
		end(&p);
	}
}

static void which_images(void **state)
{
	static struct place p;
	struct source_container *c = begin(&p, true);
	struct error err = { 0 };
	int fd = memfd_create("pages", MFD_CLOEXEC);

	(void)state;
	assert_true(source_shared_image_is(c, "pages-2.img", IMAGE_MIN));
	assert_false(source_shared_image_is(c, "pages-2.img", IMAGE_MIN - PAGE));
	assert_false(source_shared_image_is(c, "pages-2.img", IMAGE_MIN + 1));
	assert_false(source_shared_image_is(c, "pagemap-shmem-2.img", IMAGE_MIN));
	/* What went ahead does not go again, and the report counts what went. */
	changes[0] = PAGES;
	assert_int_equal(source_shared_ahead(c, &err), 0);
	assert_int_equal(source_shared_again(c, &err), 0);
	memory[0]++;
	assert_int_equal(pwrite(fd, memory, PAGES * PAGE, 0), PAGES * PAGE);
	assert_int_equal(source_shared_image(c, fd, PAGES * PAGE, &err), 0);
	assert_int_equal(c->image_bytes, PAGE);
	close(fd);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(not_known_there), cmocka_unit_test(how_often), cmocka_unit_test(which_images) };

	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (uint32_t i = 0; i < PAGES; i++)
		memory[i * PAGE / 8 + 1] = i;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
