/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/criu_fields.h"
#include "container/criu_images.h"
#include "migration/reason.h"
#include "proto/criu.pb-c.h"

#define PAGE 4096u
#define SAMPLE "tests/unit/data/criu-4.2.1"

/* What the sample (a real metadata-only dump by CRIU 4.2.1) asks for; flags 4: its data came along. */
static const struct {
	uint64_t vaddr, pages;
	uint32_t flags;
} sample[] = {
	{ 0x401000, 1, 4 },	   { 0x4a4000, 5, 4 },	       { 0x4a9000, 1, 2 },	   { 0x4ad000, 2, 2 },
	{ 0x145fa000, 2, 2 },	   { 0x7f656c0a3000, 256, 2 }, { 0x7f656c1a9000, 2, 4 }, { 0x7ffc4429a000, 4, 2 },
};
#define N_SAMPLE (sizeof(sample) / sizeof(sample[0]))
#define ZERO_PAGE_AT 0x4ae000u

struct world {
	char dir[64];
	int fd;
	struct buf pagemap, pages;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/test-criu-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->pagemap = (struct buf)BUF_INIT(1u << 20);
	w->pages = (struct buf)BUF_INIT(1u << 20);
	assert_int_equal(file_read(AT_FDCWD, SAMPLE "/pagemap-1.img", &w->pagemap, NULL), 0);
	assert_int_equal(file_read(AT_FDCWD, SAMPLE "/pages-1.img", &w->pages, NULL), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	tree_remove(AT_FDCWD, w->dir, NULL);
	close(w->fd);
	buf_free(&w->pagemap);
	buf_free(&w->pages);
	free(w);
	return 0;
}

static void put(struct world *w, const char *name, const void *data, size_t len)
{
	assert_int_equal(file_write(w->fd, name, data, len, 0600, false, NULL), 0);
}

static void get(struct world *w, const char *name, struct buf *b)
{
	buf_reset(b);
	assert_int_equal(file_read(w->fd, name, b, NULL), 0);
}

static bool lazy_in_sample(uint64_t vaddr)
{
	for (size_t i = 0; i < N_SAMPLE; i++)
		if (sample[i].flags == 2 && vaddr >= sample[i].vaddr && vaddr < sample[i].vaddr + sample[i].pages * PAGE)
			return true;
	return false;
}

/* The store's pages: each begins with its own address, one is zero. */
struct arena {
	char *pages;
	size_t n, max;
};

static const void *arena_lookup(void *ctx, uint64_t vaddr)
{
	struct arena *a = ctx;
	char *page = a->pages + a->n * PAGE;

	if (!lazy_in_sample(vaddr) || a->n == a->max)
		return NULL;
	memset(page, 0, PAGE);
	if (vaddr != ZERO_PAGE_AT)
		memcpy(page, &vaddr, sizeof(vaddr));
	a->n++;
	return page;
}

static struct arena arena_new(size_t max)
{
	return (struct arena){ malloc(max * PAGE), 0, max };
}

static void real_images_are_completed(void **state)
{
	struct world *w = *state;
	struct arena a = arena_new(512);
	struct buf out = BUF_INIT(4u << 20), map = BUF_INIT(1u << 20);
	size_t at = 0, old = 0;
	struct error e = { 0 };
	struct stat st;

	put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
	put(w, "pages-1.img", w->pages.data, w->pages.len);
	assert_int_equal(criu_pages_complete(w->fd, 1, arena_lookup, &a, &e), 0);
	get(w, "pages-1.img", &out);
	for (size_t i = 0; i < N_SAMPLE; i++)
		for (uint64_t p = 0; p < sample[i].pages; p++, at += PAGE) {
			uint64_t vaddr = sample[i].vaddr + p * PAGE, first;

			assert_true(at + PAGE <= out.len);
			memcpy(&first, out.data + at, sizeof(first));
			if (sample[i].flags == 4)
				assert_memory_equal(out.data + at, w->pages.data + old++ * PAGE, PAGE);
			else
				assert_int_equal(first, vaddr == ZERO_PAGE_AT ? 0 : vaddr);
		}
	assert_int_equal(at, out.len);
	/* The page of zeros takes no room. */
	assert_int_equal(fstatat(w->fd, "pages-1.img", &st, 0), 0);
	assert_true(st.st_blocks * 512 < (off_t)out.len);
	/* The same entries, all present; nothing is left to do, so a second time needs nothing. */
	get(w, "pagemap-1.img", &map);
	assert_int_equal(map.len, w->pagemap.len);
	a.n = a.max;
	assert_int_equal(criu_pages_complete(w->fd, 1, arena_lookup, &a, &e), 0);
	buf_free(&out);
	buf_free(&map);
	free(a.pages);
}

static void completed_pagemap_differs_only_in_flags(void **state)
{
	struct world *w = *state;
	struct arena a = arena_new(512);
	struct buf map = BUF_INIT(1u << 20);

	put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
	put(w, "pages-1.img", w->pages.data, w->pages.len);
	assert_int_equal(criu_pages_complete(w->fd, 1, arena_lookup, &a, NULL), 0);
	get(w, "pagemap-1.img", &map);
	for (size_t i = 0; i < map.len; i++)
		if (map.data[i] != w->pagemap.data[i]) {
			assert_int_equal(w->pagemap.data[i], 2);        /* PE_LAZY */
			assert_int_equal(map.data[i], 6);               /* and PE_PRESENT */
			assert_int_equal(map.data[i - 1], 0x20);        /* field 4 */
		}
	buf_free(&map);
	free(a.pages);
}

static const void *nothing(void *ctx, uint64_t vaddr)
{
	(void)ctx;
	(void)vaddr;
	return NULL;
}

static void a_missing_page_is_named_and_the_images_stay(void **state)
{
	struct world *w = *state;
	struct buf now = BUF_INIT(1u << 20);
	struct error e = { 0 };

	put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
	put(w, "pages-1.img", w->pages.data, w->pages.len);
	assert_int_equal(criu_pages_complete(w->fd, 1, nothing, NULL, &e), -ENODATA);
	assert_int_equal(e.reason, REASON_TransferFailed);
	assert_non_null(strstr(e.message, "0x4a9000"));
	get(w, "pagemap-1.img", &now);
	assert_memory_equal(now.data, w->pagemap.data, w->pagemap.len);
	get(w, "pages-1.img", &now);
	assert_int_equal(now.len, w->pages.len);
	assert_int_equal(faccessat(w->fd, "pages-1.img.tmp", F_OK, 0), -1);
	buf_free(&now);
}

/* The sample with every byte changed in every bit, and cut at every length: refused or completed, and never out of bounds (ASan) or without end. */
static void damaged_images_do_no_harm(void **state)
{
	struct world *w = *state;
	struct arena a = arena_new(512);
	int accepted = 0;

	for (size_t cut = 0; cut < w->pagemap.len; cut++) {
		put(w, "pages-1.img", w->pages.data, w->pages.len);
		put(w, "pagemap-1.img", w->pagemap.data, cut);
		a.n = 0;
		accepted += criu_pages_complete(w->fd, 1, arena_lookup, &a, NULL) == 0;
	}
	/* Only without the last entry, which is lazy, it is still whole. */
	assert_int_equal(accepted, 1);
	for (size_t bit = 0; bit < w->pagemap.len * 8; bit++) {
		char *p = w->pagemap.data + bit / 8;

		*p = (char)(*p ^ (1 << bit % 8));
		put(w, "pages-1.img", w->pages.data, w->pages.len);
		put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
		a.n = 0;
		criu_pages_complete(w->fd, 1, arena_lookup, &a, NULL);
		*p = (char)(*p ^ (1 << bit % 8));
	}
	free(a.pages);
}

struct seen {
	uint64_t vaddr[16], pages[16];
	size_t n, fail_at;
};

static int see(void *ctx, pid_t ns_pid, uint64_t vaddr, uint64_t pages, struct error *err)
{
	struct seen *s = ctx;

	assert_int_equal(ns_pid, 1);
	if (s->n == s->fail_at)
		return error_set(err, -ENODATA, "enough");
	s->vaddr[s->n] = vaddr;
	s->pages[s->n++] = pages;
	return 0;
}

static void lazy_pages_are_told_and_the_images_stay(void **state)
{
	struct world *w = *state;
	struct buf now = BUF_INIT(1u << 20);
	struct seen s = { .fail_at = 16 };
	struct error e = { 0 };
	size_t n = 0;

	put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
	put(w, "pages-1.img", w->pages.data, w->pages.len);
	assert_int_equal(criu_lazy_pages(w->fd, 1, see, &s, &e), 0);
	for (size_t i = 0; i < N_SAMPLE; i++)
		if (sample[i].flags == 2) {
			assert_int_equal(s.vaddr[n], sample[i].vaddr);
			assert_int_equal(s.pages[n++], sample[i].pages);
		}
	assert_int_equal(s.n, n);
	get(w, "pagemap-1.img", &now);
	assert_memory_equal(now.data, w->pagemap.data, w->pagemap.len);
	s = (struct seen){ .fail_at = 1 };
	assert_int_equal(criu_lazy_pages(w->fd, 1, see, &s, &e), -ENODATA);
	assert_string_equal(e.message, "enough");
	/* Nothing is told of an image that is damaged further on. */
	s = (struct seen){ .fail_at = 16 };
	put(w, "pages-1.img", w->pages.data, PAGE);
	assert_int_equal(criu_lazy_pages(w->fd, 1, see, &s, &e), -EBADMSG);
	put(w, "pages-1.img", w->pages.data, w->pages.len);
	for (size_t cut = 0; cut < w->pagemap.len; cut++) {
		put(w, "pagemap-1.img", w->pagemap.data, cut);
		if (criu_lazy_pages(w->fd, 1, see, &s, &e) == 0)
			assert_true(s.n > 0);
		else
			assert_int_equal(s.n, 0);
		s.n = 0;
	}
	assert_int_equal(unlinkat(w->fd, "pages-1.img", 0), 0);
	put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
	assert_int_equal(criu_lazy_pages(w->fd, 1, see, &s, &e), -ENOENT);
	buf_free(&now);
}

/* Between what CRIU has listed, over it, before and behind it: each page is told once, in order, and what was there stays. */
static void pages_that_criu_did_not_see_are_listed(void **state)
{
	static const struct criu_run runs[] = {
		{ 0x10000, 2 }, { 0x4a9000, 3 }, { 0x7f0000000000, 1u << 20 }, { 0x7f656c0a2000, 258 }, { 0x7ffd00000000, 4 }, { 0x7fff00000000, 1 },
	};
	static const struct {
		uint64_t vaddr, pages;
	} wanted[] = {
		{ 0x10000, 2 }, { 0x4a9000, 1 }, { 0x4aa000, 2 }, { 0x4ad000, 2 }, { 0x145fa000, 2 }, { 0x7f0000000000, 1u << 20 }, { 0x7f656c0a2000, 1 },
		{ 0x7f656c0a3000, 256 }, { 0x7f656c1a3000, 1 }, { 0x7ffc4429a000, 4 }, { 0x7ffd00000000, 4 }, { 0x7fff00000000, 1 },
	};
	const struct criu_run bad[][2] = { { { 0x2000, 2 }, { 0x3000, 1 } }, { { 0x2000, 1 }, { 0x1000, 1 } }, { { 0x2001, 1 }, { 0x5000, 1 } }, { { 0x2000, 0 }, { 0x5000, 1 } } };
	const size_t n = sizeof(wanted) / sizeof(wanted[0]);
	struct world *w = *state;
	struct seen s = { .fail_at = 16 };
	struct buf now = BUF_INIT(1u << 20);
	struct error e = { 0 };

	put(w, "pagemap-1.img", w->pagemap.data, w->pagemap.len);
	put(w, "pages-1.img", w->pages.data, w->pages.len);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(criu_pagemap_add(w->fd, 1, bad[i], 2, NULL), -EINVAL);
	assert_int_equal(criu_pagemap_add(w->fd, 1, runs, 0, &e), 0);
	get(w, "pagemap-1.img", &now);
	assert_int_equal(now.len, w->pagemap.len);
	assert_memory_equal(now.data, w->pagemap.data, now.len);
	assert_int_equal(criu_pagemap_add(w->fd, 1, runs, sizeof(runs) / sizeof(runs[0]), &e), 0);
	/* A second time there is nothing to add. */
	assert_int_equal(criu_pagemap_add(w->fd, 1, runs, sizeof(runs) / sizeof(runs[0]), &e), 0);
	assert_int_equal(criu_lazy_pages(w->fd, 1, see, &s, &e), 0);
	assert_int_equal(s.n, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(s.vaddr[i], wanted[i].vaddr);
		assert_int_equal(s.pages[i], wanted[i].pages);
	}
	assert_int_equal(criu_pagemap_add(w->fd, 7, runs, 1, &e), -ENOENT);
	buf_free(&now);
}

static void add(struct buf *b, const ProtobufCMessage *m)
{
	uint8_t packed[512];
	uint32_t len = (uint32_t)protobuf_c_message_pack(m, packed);

	assert_int_equal(buf_append(b, &len, 4), 0);
	assert_int_equal(buf_append(b, packed, len), 0);
}

static void begin(struct buf *b)
{
	static const uint32_t magic[2] = { 0x54564319, 0x56084025 };
	Criu__PagemapHead head = CRIU__PAGEMAP_HEAD__INIT;

	head.pages_id = 1;
	buf_reset(b);
	assert_int_equal(buf_append(b, magic, sizeof(magic)), 0);
	add(b, &head.base);
}

struct made {
	uint64_t vaddr, pages;
	int flags;              /* -1: none */
	bool compat, parent;
};

static int complete_made(struct world *w, const struct made *m, size_t n, struct arena *a, struct error *e)
{
	struct buf b = BUF_INIT(65536);
	int r;

	begin(&b);
	for (size_t i = 0; i < n; i++) {
		Criu__PagemapEntry entry = CRIU__PAGEMAP_ENTRY__INIT;

		entry.vaddr = m[i].vaddr;
		entry.compat_nr_pages = m[i].compat ? (uint32_t)m[i].pages : 0;
		entry.has_nr_pages = !m[i].compat;
		entry.nr_pages = m[i].compat ? 0 : m[i].pages;
		entry.has_flags = m[i].flags >= 0;
		entry.flags = m[i].flags >= 0 ? (uint32_t)m[i].flags : 0;
		entry.has_in_parent = entry.in_parent = m[i].parent;
		add(&b, &entry.base);
	}
	put(w, "pagemap-1.img", b.data, b.len);
	buf_free(&b);
	*e = (struct error){ 0 };
	r = criu_pages_complete(w->fd, 1, arena_lookup, a, e);
	a->n = 0;
	return r;
}

static void entries_are_checked(void **state)
{
	static const struct {
		struct made made[2];
		size_t n;
		int result;
	} cases[] = {
		{ { { 0x4a9001, 1, 2, false, false } }, 1, -EBADMSG },                          /* not a page's address */
		{ { { 0x4a9000, 0, 2, false, false } }, 1, -EBADMSG },                          /* no page */
		{ { { 0x4a9000, UINT64_MAX / PAGE, 2, false, false } }, 1, -EBADMSG },          /* past the end of all addresses */
		{ { { 0x4a9000, UINT64_MAX, 2, false, false } }, 1, -EBADMSG },
		{ { { 0xfffffffffffff000, 1, 2, false, false } }, 1, -EBADMSG },
		{ { { 0x4a9000, 1, 0, false, false } }, 1, -EBADMSG },                          /* neither here nor there */
		{ { { 0x4a9000, 1, 8, false, false } }, 1, -EBADMSG },                          /* a flag nobody knows */
		{ { { 0x4a9000, 1, 1, false, false } }, 1, -ENOTSUP },                          /* in a parent image */
		{ { { 0x4a9000, 1, 2, false, true } }, 1, -ENOTSUP },
		{ { { 0x4ad000, 2, 2, false, false }, { 0x4ae000, 1, 2, false, false } }, 2, -EBADMSG },        /* overlap */
		{ { { 0x4ad000, 1, 2, false, false }, { 0x4a9000, 1, 2, false, false } }, 2, -EBADMSG },        /* order */
		{ { { 0x4a9000, 1, 4, false, false } }, 1, -EBADMSG },                          /* data that is not in the pages file */
		{ { { 0x4a9000, 1u << 30, 2, false, false } }, 1, -ENODATA },                   /* more than the store has */
		{ { { 0x4a9000, 1, -1, false, false } }, 1, -EBADMSG },                         /* no flags: present (before CRIU 3) */
		{ { { 0x4a9000, 1, 2, true, false } }, 1, 0 },                                  /* CRIU up to 4.1 */
	};
	struct world *w = *state;
	struct arena a = arena_new(512);
	struct error e;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put(w, "pages-1.img", "", 0);
		assert_int_equal(complete_made(w, cases[i].made, cases[i].n, &a, &e), cases[i].result);
		assert_true(cases[i].result == 0 || e.reason != REASON_NONE);
	}
	free(a.pages);
}

static void older_images_keep_their_count(void **state)
{
	static const struct made old = { 0x4ad000, 2, 2, true, false };
	struct world *w = *state;
	struct arena a = arena_new(8);
	struct buf b = BUF_INIT(65536);
	Criu__PagemapEntry *entry;
	struct error e;
	uint32_t len;

	put(w, "pages-1.img", "", 0);
	assert_int_equal(complete_made(w, &old, 1, &a, &e), 0);
	get(w, "pagemap-1.img", &b);
	memcpy(&len, b.data + 14, 4);
	entry = criu__pagemap_entry__unpack(NULL, len, (const uint8_t *)b.data + 18);
	assert_non_null(entry);
	assert_int_equal(entry->compat_nr_pages, 2);
	assert_false(entry->has_nr_pages);
	assert_int_equal(entry->flags, 6);
	criu__pagemap_entry__free_unpacked(entry, NULL);
	buf_free(&b);
	free(a.pages);
}

static void pages_files_are_checked(void **state)
{
	static const struct made one = { 0x4a9000, 1, 2, false, false };
	struct world *w = *state;
	struct arena a = arena_new(8);
	struct error e;

	assert_int_equal(complete_made(w, &one, 1, &a, &e), -ENOENT);
	put(w, "pages-1.img", "x", 1);
	assert_int_equal(complete_made(w, &one, 1, &a, &e), -EBADMSG);
	assert_int_equal(unlinkat(w->fd, "pages-1.img", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", w->fd, "pages-1.img"), 0);
	assert_true(complete_made(w, &one, 1, &a, &e) < 0);
	assert_int_equal(criu_pages_complete(w->fd, 99, nothing, NULL, &e), -ENOENT);
	free(a.pages);
}

/* A newer CRIU may put compressed pages into the file: a field this program does not know changes what the others mean. */
static void unknown_fields_are_refused(void **state)
{
	static const uint8_t entry[] = { 0x08, 0x80, 0xa0, 0xaa, 0x02, 0x10, 0, 0x20, 2, 0x28, 1, 0x30, 7 };
	const uint32_t len = sizeof(entry);
	struct world *w = *state;
	struct buf b = BUF_INIT(65536);
	struct error e = { 0 };

	begin(&b);
	assert_int_equal(buf_append(&b, &len, 4), 0);
	assert_int_equal(buf_append(&b, entry, len), 0);
	put(w, "pagemap-1.img", b.data, b.len);
	put(w, "pages-1.img", "", 0);
	assert_int_equal(criu_pages_complete(w->fd, 1, nothing, NULL, &e), -ENOTSUP);
	assert_int_equal(e.reason, REASON_CRIUIncompatible);
	buf_free(&b);
}

static void processes_are_listed(void **state)
{
	static const char *const names[] = { "pagemap-17.img",	 "pagemap-1.img",  "pagemap-shmem-5.img", "pagemap-0.img",
					     "pagemap-01.img",	 "pagemap-4.imgx", "pagemap-99999999.img", "pagemap-.img",
					     "pagemap-4194304.img" };
	struct world *w = *state;
	struct error e = { 0 };
	pid_t pids[3];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		put(w, names[i], "", 0);
	assert_int_equal(criu_pagemap_pids(w->fd, pids, 3, &e), 3);
	assert_int_equal(pids[0], 1);
	assert_int_equal(pids[1], 17);
	assert_int_equal(pids[2], 4194304);
	assert_int_equal(criu_pagemap_pids(w->fd, pids, 2, &e), -E2BIG);
}

static void ipc_images_are_emptied(void **state)
{
	struct world *w = *state;
	struct error e = { 0 };
	struct stat st;

	assert_int_equal(criu_ipc_has_objects(w->fd, &e), 0);
	put(w, "ipcns-shm-9.img", "12345678", 8);
	put(w, "ipcns-var-9.img", "12345678variables", 17);
	assert_int_equal(criu_ipc_has_objects(w->fd, &e), 0);
	put(w, "ipcns-msg-9.img", "12345678a queue", 15);
	assert_int_equal(criu_ipc_has_objects(w->fd, &e), 1);
	assert_int_equal(criu_ipc_clear(w->fd, &e), 0);
	assert_int_equal(criu_ipc_has_objects(w->fd, &e), 0);
	assert_int_equal(fstatat(w->fd, "ipcns-msg-9.img", &st, 0), 0);
	assert_int_equal(st.st_size, 8);
	assert_int_equal(fstatat(w->fd, "ipcns-var-9.img", &st, 0), 0);
	assert_int_equal(st.st_size, 17);
	put(w, "ipcns-sem-9.img", "1234", 4);
	assert_int_equal(criu_ipc_has_objects(w->fd, &e), -EBADMSG);
}

static void names_are_those_of_images(void **state)
{
	static const char *const good[] = { "pages-1.img", "descriptors.json", "tmpfs-dev-227.tar.gz.img", "core-4194304.img", "a.img" };
	static const char *const bad[] = { "",		 ".img",	   "..img",	   "../pages-1.img", "a/b.img", "pages-1.img\n", "dump.log",
					   "config.json", "x descriptors.json", "p\xc3\xa4.img", ".hidden.img", "pages-1.im",  "img" };
	char name[200];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(criu_image_name_ok(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(criu_image_name_ok(bad[i]));
	assert_false(criu_image_name_ok(NULL));
	memset(name, 'a', sizeof(name));
	memcpy(name + 195, ".img", 5);
	assert_false(criu_image_name_ok(name));
}

/* One entry of files.img: a file_entry with a timerfd_entry of the given times, each below 128. */
static size_t timer_entry(char *out, char vsec, char vnsec, char isec, char insec)
{
	const char timer[] = { 0x08, 5, 0x10, 2, 0x1a, 4, 0x08, 0, 0x10, 0, 0x20, 1, 0x28, 3, 0x30, 0, 0x38, vsec, 0x40, vnsec, 0x48, isec, 0x50, insec };
	const char head[] = { 0x08, 17, 0x10, 5, 0x62, sizeof(timer) };
	uint32_t size = sizeof(head) + sizeof(timer);

	memcpy(out, &size, sizeof(size));
	memcpy(out + 4, head, sizeof(head));
	memcpy(out + 4 + sizeof(head), timer, sizeof(timer));
	return 4 + size;
}

static void write_files_image(struct world *w, const char *data, size_t size)
{
	int fd = openat(w->fd, "files.img", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, data, size), (ssize_t)size);
	close(fd);
}

static void expired_periodic_timers_go_on(void **state)
{
	struct world *w = *state;
	char data[256] = "magicmag", want[256];
	struct error err = { 0 };
	struct buf b = BUF_INIT(4096);
	size_t n = 8, expired;

	assert_int_equal(criu_timers_rearm(w->fd, &err), 0);    /* no such file */
	n += timer_entry(data + n, 0, 7, 0, 9);                 /* will expire */
	n += timer_entry(data + n, 0, 0, 0, 0);                 /* disarmed, or of one shot and expired */
	expired = n;
	n += timer_entry(data + n, 0, 0, 0, 9);
	memcpy(want, data, n);
	timer_entry(want + expired, 0, 1, 0, 9);
	write_files_image(w, data, n);
	assert_int_equal(criu_timers_rearm(w->fd, &err), 1);
	assert_int_equal(file_read(w->fd, "files.img", &b, NULL), 0);
	assert_int_equal(b.len, n);
	assert_memory_equal(b.data, want, n);
	buf_free(&b);
	assert_int_equal(criu_timers_rearm(w->fd, &err), 0);
	for (size_t cut = 9; cut < n; cut++) {
		int whole = cut == 8 + (expired - 8) / 2 || cut == expired;

		write_files_image(w, data, cut);
		assert_int_equal(criu_timers_rearm(w->fd, &err), whole ? 0 : -EBADMSG);
	}
	data[12 + 5] = 127;                                     /* longer than its entry */
	write_files_image(w, data, n);
	assert_int_equal(criu_timers_rearm(w->fd, &err), -EBADMSG);
	unlinkat(w->fd, "files.img", 0);
}

/* One thread's image as CRIU writes it; call: the system call that it was in, signal: one waits. */
struct core {
	uint64_t ax, call, di, si, dx, r10, ip, cs, machine;
	bool signal;
};

static void add_part(struct buf *b, unsigned number, const struct buf *part)
{
	assert_int_equal(fields_put_varint(b, number << 3 | 2), 0);
	assert_int_equal(fields_put_varint(b, part->len), 0);
	assert_int_equal(buf_append(b, part->data, part->len), 0);
}

static void write_core(struct world *w, const struct core *c)
{
	const uint64_t regs[][2] = { { 8, c->r10 }, { 11, c->ax }, { 13, c->dx }, { 14, c->si }, { 15, c->di }, { 16, c->call }, { 17, c->ip }, { 18, c->cs } };
	struct buf gp = BUF_INIT(256), info = BUF_INIT(512), thread = BUF_INIT(256), core = BUF_INIT(1024), image = BUF_INIT(2048), queue = BUF_INIT(16);
	uint32_t size;

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		assert_int_equal(fields_put_number(&gp, (unsigned)regs[i][0], regs[i][1]), 0);
	add_part(&info, 2, &gp);
	if (c->signal)
		assert_int_equal(buf_append(&queue, "\x0a\0", 2), 0);
	add_part(&thread, 9, &queue);
	assert_int_equal(fields_put_number(&core, 1, c->machine), 0);
	add_part(&core, 2, &info);
	add_part(&core, 5, &thread);
	size = (uint32_t)core.len;
	assert_int_equal(buf_append(&image, "magicmag", 8), 0);
	assert_int_equal(buf_append(&image, &size, sizeof(size)), 0);
	assert_int_equal(buf_append(&image, core.data, core.len), 0);
	put(w, "core-7.img", image.data, image.len);
	buf_free(&gp);
	buf_free(&info);
	buf_free(&thread);
	buf_free(&core);
	buf_free(&image);
	buf_free(&queue);
}

/* Reads ax and ip back, at their places behind the headers. */
static void look_at_core(struct world *w, uint64_t *ax, uint64_t *ip, size_t *len)
{
	struct cursor image, core, info, gp, content;
	struct buf b = BUF_INIT(4096);
	uint64_t number, value;

	assert_int_equal(file_read(w->fd, "core-7.img", &b, NULL), 0);
	*len = b.len;
	image = (struct cursor){ (const uint8_t *)b.data + CRIU_HEADER_SIZE, (const uint8_t *)b.data + b.len };
	assert_int_equal(entries_next(&image, &core), 1);
	assert_int_equal(fields_next(&core, &number, &value, &info), 1);
	assert_int_equal(fields_next(&core, &number, &value, &info), 1);
	assert_int_equal(fields_next(&info, &number, &value, &gp), 1);
	while (fields_next(&gp, &number, &value, &content) > 0) {
		if (number == 11)
			*ax = value;
		if (number == 17)
			*ip = value;
	}
	buf_free(&b);
}

static void waits_go_on(void **state)
{
	const uint64_t eintr = (uint64_t)-EINTR, ip = 0x10000001;
	const struct {
		struct core core;
		int restarts;
	} cases[] = {
		{ { eintr, 7, 0, 0, 0, 0, ip, 0x33, 1, false }, 1 },            /* poll */
		{ { eintr, 7, 0, 0, 0, 0, 0x80, 0x33, 1, false }, 1 },          /* ip - 2 needs fewer bytes */
		{ { eintr, 7, 0, 0, 0, 0, ip, 0x33, 1, true }, 0 },             /* a signal waits */
		{ { eintr, 7, 0, 0, 0, 0, ip, 0x23, 1, false }, 0 },            /* 32-bit code */
		{ { eintr, 7, 0, 0, 0, 0, ip, 0x33, 2, false }, 0 },            /* another machine */
		{ { 1, 7, 0, 0, 0, 0, ip, 0x33, 1, false }, 0 },                /* it has returned */
		{ { eintr, 35, 5000, 5000, 0, 0, ip, 0x33, 1, false }, 1 },     /* nanosleep(&t, &t) */
		{ { eintr, 35, 5000, 0, 0, 0, ip, 0x33, 1, false }, 1 },
		{ { eintr, 35, 5000, 6000, 0, 0, ip, 0x33, 1, false }, 0 },     /* the rest is for the caller */
		{ { eintr, 230, 1, 0, 5000, 5000, ip, 0x33, 1, false }, 1 },    /* clock_nanosleep(clock, flags, &t, &t) */
		{ { eintr, 230, 1, 0, 5000, 0, ip, 0x33, 1, false }, 1 },
		{ { eintr, 230, 1, 0, 5000, 6000, ip, 0x33, 1, false }, 0 },
		{ { eintr, 202, 0, 0x189, 0, 0, ip, 0x33, 1, false }, 1 },      /* FUTEX_WAIT_BITSET, private, by the wall clock */
		{ { eintr, 202, 0, 0x80, 0, 0, ip, 0x33, 1, false }, 0 },       /* FUTEX_WAIT */
		{ { eintr, 232, 0, 0, 0, 0, ip, 0x33, 1, false }, 0 },          /* epoll_wait, which every stop interrupts */
	};
	struct world *w = *state;
	struct error err = { 0 };

	assert_int_equal(criu_waits_restart(w->fd, &err), 0);           /* no such file */
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t ax = 0, now = 0;
		size_t before, after;

		write_core(w, &cases[i].core);
		look_at_core(w, &ax, &now, &before);
		assert_int_equal(criu_waits_restart(w->fd, &err), cases[i].restarts);
		look_at_core(w, &ax, &now, &after);
		assert_int_equal(after, before);
		assert_int_equal(ax, cases[i].restarts ? cases[i].core.call : cases[i].core.ax);
		assert_int_equal(now, cases[i].core.ip - (cases[i].restarts ? 2 : 0));
		assert_int_equal(criu_waits_restart(w->fd, &err), 0);
	}
	put(w, "core-7.img", "magicmag\x7f\0\0\0short", 17);
	assert_int_equal(criu_waits_restart(w->fd, &err), -EBADMSG);
	unlinkat(w->fd, "core-7.img", 0);
}

static void images_are_given_to_a_user_namespace(void **state)
{
	const struct id_range some = { .uid = 100000, .gid = 200000, .count = 65536 }, none = { 0 };
	struct world *w = *state;
	struct error err = { 0 };
	struct stat st;

	put(w, "core-1.img", "x", 1);
	assert_int_equal(criu_images_give(w->fd, &none, &err), 0);
	assert_int_equal(fstatat(w->fd, "core-1.img", &st, 0), 0);
	assert_int_not_equal(st.st_uid, 100000);
	assert_int_equal(criu_images_give(w->fd, &some, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_KernelIncompatible);
	put(w, "userns-14.img", "x", 1);
	err = (struct error){ 0 };
	assert_int_equal(criu_images_give(w->fd, &none, &err), -ENOTSUP);
	assert_int_equal(criu_images_give(w->fd, &some, &err), 0);
	for (const char *const *name = (const char *const[]){ ".", "core-1.img", "userns-14.img", NULL }; *name; name++) {
		assert_int_equal(fstatat(w->fd, *name, &st, 0), 0);
		assert_int_equal(st.st_uid, 100000);
		assert_int_equal(st.st_gid, 200000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(real_images_are_completed, setup, teardown),
		cmocka_unit_test_setup_teardown(completed_pagemap_differs_only_in_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(a_missing_page_is_named_and_the_images_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_that_criu_did_not_see_are_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(damaged_images_do_no_harm, setup, teardown),
		cmocka_unit_test_setup_teardown(lazy_pages_are_told_and_the_images_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(entries_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(older_images_keep_their_count, setup, teardown),
		cmocka_unit_test_setup_teardown(pages_files_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_fields_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(processes_are_listed, setup, teardown),
		cmocka_unit_test_setup_teardown(expired_periodic_timers_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(ipc_images_are_emptied, setup, teardown),
		cmocka_unit_test_setup_teardown(images_are_given_to_a_user_namespace, setup, teardown),
		cmocka_unit_test(names_are_those_of_images),
	};

	return cmocka_run_group_tests_name("container criu images", tests, NULL, NULL);
}
