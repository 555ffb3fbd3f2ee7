/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "container/criu_images.h"
#include "criu_pagemap.h"
#include "migration/reason.h"
#include "proto/criu.pb-c.h"

#define PAGE CRIU_PAGE_SIZE

/* Both lists ascend; what is in CRIU's stays as it is. */
struct merge {
	struct criu_pagemap m;
	struct buf out;
	const struct criu_run *run, *end;       /* to be added, from at on */
	uint64_t at;
	bool wide;                              /* this CRIU's entries have field 5 */
};

static int put(struct merge *g, const struct pagemap_entry *e)
{
	uint8_t packed[4 + PAGEMAP_ENTRY_MAX];
	size_t len = pagemap_entry_pack(e, packed);

	return buf_append(&g->out, packed, len) < 0 ? error_set(g->m.err, -ENOMEM, "out of memory for %s", g->m.name) : 0;
}

static int put_run(struct merge *g, uint64_t to)
{
	uint64_t pages = (to - g->at) / PAGE;

	if (!g->wide && pages > UINT32_MAX)
		return error_set(g->m.err, -E2BIG, "%s: a run of pages is too long", g->m.name);
	return put(g, &(struct pagemap_entry){ g->at, pages, (uint32_t)pages, g->wide, PE_LAZY });
}

static void next_run(struct merge *g)
{
	g->run++;
	if (g->run < g->end && g->at < g->run->vaddr)
		g->at = g->run->vaddr;
}

/* What lies below an address. */
static int put_below(struct merge *g, uint64_t limit)
{
	int r = 0;

	while (r == 0 && g->run < g->end && g->at < limit) {
		uint64_t end = g->run->vaddr + g->run->pages * PAGE, to = end < limit ? end : limit;

		if (g->at < to)
			r = put_run(g, to);
		if (end > limit)
			g->at = limit;
		else
			next_run(g);
	}
	return r;
}

/* What CRIU has listed itself is not added again. */
static void pass(struct merge *g, uint64_t to)
{
	while (g->run < g->end && g->at < to) {
		if (g->run->vaddr + g->run->pages * PAGE > to)
			g->at = to;
		else
			next_run(g);
	}
}

static int merge(struct merge *g)
{
	struct pagemap_entry e;
	uint64_t from = 0;
	int r;

	while ((r = criu_pagemap_next(&g->m, from, &e)) > 0) {
		from = e.vaddr + e.pages * PAGE;
		g->wide = e.has_pages;
		r = put_below(g, e.vaddr);
		if (r == 0)
			r = put(g, &e);
		if (r < 0)
			return r;
		pass(g, from);
	}
	return r == 0 ? put_below(g, UINT64_MAX) : r;
}

/* Ascending, and apart from each other. */
static bool is_list(const struct criu_run *runs, size_t n)
{
	uint64_t from = 0;

	for (size_t i = 0; i < n; i++) {
		if (runs[i].vaddr % PAGE || runs[i].vaddr < from || runs[i].pages == 0 || runs[i].pages > (UINT64_MAX - runs[i].vaddr) / PAGE)
			return false;
		from = runs[i].vaddr + runs[i].pages * PAGE;
	}
	return true;
}

int criu_pagemap_add(int image_dir_fd, pid_t ns_pid, const struct criu_run *runs, size_t n, struct error *err)
{
	cleanup_buf struct buf image = BUF_INIT(PAGEMAP_MAX);
	struct merge g = { .out = BUF_INIT(PAGEMAP_MAX), .run = runs, .end = runs + n, .at = n ? runs[0].vaddr : 0, .wide = true };
	char name[64];
	uint32_t id;
	int r;

	path_format(name, sizeof(name), "pagemap-%d.img", ns_pid);
	g.m = (struct criu_pagemap){ .name = name, .err = err };
	if (!is_list(runs, n))
		return error_set(err, -EINVAL, "%s: runs of pages are out of order", name);
	r = file_read(image_dir_fd, name, &image, err);
	if (r == 0)
		r = criu_pagemap_start(&g.m, &image, &id);
	if (r == 0 && buf_append(&g.out, image.data, (size_t)(g.m.p - (const uint8_t *)image.data)) < 0)
		r = error_set(err, -ENOMEM, "out of memory for %s", name);
	if (r == 0)
		r = merge(&g);
	if (r == 0)
		r = file_write(image_dir_fd, name, g.out.data, g.out.len, 0600, false, err);
	buf_free(&g.out);
	return r;
}
