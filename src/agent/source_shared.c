/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "source.h"

#define PAGE 4096u
/* As of private memory (source_memory.c): of the pause that is allowed, the part that it may take. */
#define MEMORY_SHARE 4
#define IMAGE_MIN 65536u                /* a smaller one goes as it is */

/* *ret: bytes that went.  Nobody tells what is written to shared memory, so each pass reads all of it; what it takes is known afterwards only. */
static int send_pass(struct source_container *c, uint64_t *ret, struct error *err)
{
	uint64_t before = c->shared_ahead.bytes;
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = source_list_processes(c, pids, err), r = n < 0 ? n : 0;

	shared_begin(c->shared);
	for (int i = 0; r == 0 && i < n; i++) {
		struct error gone = { 0 };
		cleanup_close int held = source_hold_process(c, pids[i], &gone);
		const struct pages_source from = { .container = c->index, .pid = pids[i], .pidfd = held, .packer = c->packer };

		r = held < 0 ? 0 : shared_send(c->shared, c->source->wire, &from, &c->shared_ahead, err);
		if (r == -ESRCH)
			r = 0;
	}
	*ret = c->shared_ahead.bytes - before;
	return r;
}

int source_shared_ahead(struct source_container *c, struct error *err)
{
	uint64_t sent;
	int r;

	if (!c->source->stored)
		return 0;
	r = shared_new(&c->shared, err);
	return r == 0 ? send_pass(c, &sent, err) : r;
}

/* Would so many bytes, which is what changed in the time of one pass, cost less of the pause than they may? */
static bool is_little(const struct source_container *c, uint64_t bytes)
{
	return (double)bytes * wire_cost(c->source->wire) <= (double)(c->source->downtime_us / MEMORY_SHARE);
}

int source_shared_again(struct source_container *c, struct error *err)
{
	uint64_t sent = UINT64_MAX, before;
	int r = 0, passes = 1;

	if (!c->shared)
		return 0;
	do {
		before = sent;
		r = send_pass(c, &sent, err);
	} while (r == 0 && ++passes < SHARED_PASSES_MAX && !is_little(c, sent) && sent < before / 10 * 7);
	return r == 0 ? shared_end(c->shared, err) : r;
}

/* pages-N.img: of shared memory, and little else, since the processes' own is not in it (--lazy-pages). */
bool source_shared_image_is(const struct source_container *c, const char *name, uint64_t size)
{
	return c->source->stored && !strncmp(name, "pages-", 6) && size >= IMAGE_MIN && size % PAGE == 0;
}

int source_shared_image(struct source_container *c, int fd, uint64_t size, struct error *err)
{
	const struct pages_source from = { .container = c->index, .packer = c->packer };
	struct pages_stats stats = { 0 };
	int r = shared_send_file(c->shared, c->source->wire, &from, fd, size, &stats, err);

	c->image_bytes += stats.bytes;
	return r;
}
