/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of CRIU images that came over the wire.  Parts: pagemap-1.img, pages-1.img, an IPC image; then two bytes more: which pages the store holds. */
#include "fuzz.h"

#include <errno.h>

#include "container/criu_images.h"

#define PAGE CRIU_PAGE_SIZE

static int dir_fd;
static uint8_t known;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	dir_fd = open(fuzz_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir_fd >= 0);
	return 0;
}

static const void *lookup(void *ctx, uint64_t vaddr)
{
	static const uint8_t page[PAGE] = { 1 }, zero[PAGE];

	(void)ctx;
	if (known & 1)
		return NULL;
	return vaddr / PAGE % 3 ? page : zero;
}

struct seen {
	uint64_t end, pages;
};

static int visit(void *ctx, pid_t ns_pid, uint64_t vaddr, uint64_t pages, struct error *err)
{
	struct seen *s = ctx;

	/* In order, apart, whole pages, below the end of user space. */
	must(ns_pid == 1 && pages > 0 && vaddr % PAGE == 0 && vaddr >= s->end && vaddr < 1ull << 57 && pages <= ((1ull << 57) - vaddr) / PAGE);
	s->end = vaddr + pages * PAGE;
	s->pages += pages;
	return s->pages > 65536 ? error_set(err, -E2BIG, "enough") : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parts in = { data, size };
	struct seen seen = { 0 }, again = { 0 };
	const uint8_t *part;
	struct error err;
	pid_t pids[4];
	size_t len = parts_next(&in, &part);
	int r;

	fuzz_file("pagemap-1.img", part, len);
	len = parts_next(&in, &part);
	fuzz_file("pages-1.img", part, len);
	len = parts_next(&in, &part);
	fuzz_file("ipcns-shm-9.img", part, len);
	known = in.left ? in.p[0] : 0;
	must(criu_pagemap_pids(dir_fd, pids, 4, &err) == 1 && pids[0] == 1);
	r = criu_lazy_pages(dir_fd, 1, visit, &seen, &err);
	/* Nothing is so large that completing would take long, unless a page is missing at once. */
	if (r == 0 || (known & 1))
		if (criu_pages_complete(dir_fd, 1, lookup, NULL, &err) == 0)
			/* What was completed is a whole image: the same pages, all present. */
			must(r < 0 || (criu_lazy_pages(dir_fd, 1, visit, &again, &err) == 0 && again.pages == seen.pages));
	if (criu_ipc_clear(dir_fd, &err) == 0)
		must(criu_ipc_has_objects(dir_fd, &err) == 0);
	unlinkat(dir_fd, "pages-1.img", 0);
	return 0;
}
