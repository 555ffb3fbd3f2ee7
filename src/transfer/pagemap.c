/* SPDX-License-Identifier: Apache-2.0 */
#include "pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define PAGE 4096ull

/* PAGEMAP_SCAN, kernel 6.7 (Documentation/admin-guide/mm/pagemap.rst); older headers lack it, so the numbers are ours. */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)

enum category {
	IS_WPALLOWED = 1 << 0,          /* the mapping is watched */
	IS_WRITTEN = 1 << 1,
	IS_FILE = 1 << 2,
	IS_PRESENT = 1 << 3,
	IS_SWAPPED = 1 << 4,
	IS_PFNZERO = 1 << 5,
	IS_GUARD = 1 << 8,              /* kernel 6.15: MADV_GUARD_INSTALL, no content */
};

#define SCAN_PROTECT (1u << 0)          /* PM_SCAN_WP_MATCHING */

/* What a page must and must not be, beyond being there and not of a file, and what is told of it. */
static const struct {
	uint64_t must, must_not, told;
} selection[] = {
	[SELECT_ALL] = { 0, 0, 0 },
	[SELECT_UNWATCHED] = { 0, IS_WPALLOWED, 0 },
	[SELECT_WRITTEN] = { IS_WPALLOWED | IS_WRITTEN, 0, 0 },
	[SELECT_STATES] = { 0, 0, IS_WPALLOWED | IS_WRITTEN },
};

/* /proc/PID/pagemap, one u64 per page. */
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE (1ull << 61)
#define ENTRY_GUARD (1ull << 58)
#define ENTRY_SOFT_DIRTY (1ull << 55)
#define ENTRY_FRAME ((1ull << 55) - 1)

#define REGIONS 512
#define ENTRIES 4096

struct pagemap {
	int fd;
	bool scan;
	uint64_t unwanted;              /* categories a page must not have */
	enum page_select select;
	bool protect;
	uint64_t at, end;               /* not looked at yet */
	size_t next, count;
	struct scan_region regions[REGIONS];
	uint64_t entries_at;            /* the first one's address */
	uint64_t entries[ENTRIES];
};

/* Fills regions from the ioctl; -ENOTTY when the kernel has no such ioctl. */
static int fill_by_scan(struct pagemap *p)
{
	uint64_t must_not = p->unwanted | selection[p->select].must_not;
	struct scan_arg arg = {
		.size = sizeof(arg),
		.flags = p->protect ? SCAN_PROTECT : 0,
		.start = p->at,
		.end = p->end,
		.vec = (uint64_t)(uintptr_t)p->regions,
		.vec_len = REGIONS,
		.category_inverted = must_not,
		.category_mask = must_not | selection[p->select].must,
		.category_anyof_mask = IS_PRESENT | IS_SWAPPED,
		.return_mask = IS_PRESENT | IS_SWAPPED | IS_PFNZERO | selection[p->select].told,
	};
	int n = ioctl(p->fd, SCAN_IOCTL, &arg);

	if (n < 0)
		return -errno;
	p->count = (size_t)n;
	p->at = arg.walk_end;
	return 0;
}

/* The huge page of zeros, in memory that is no file's, passes for a file's here (before 6.7, fs/proc/task_mmu.c, pagemap_pmd_range). */
static uint64_t categories_of(const struct pagemap *p, uint64_t entry)
{
	uint64_t there = (entry & ENTRY_PRESENT ? IS_PRESENT : 0u) | (entry & ENTRY_SWAPPED ? IS_SWAPPED : 0u);

	if (!there || entry & ENTRY_GUARD || (entry & ENTRY_FILE && p->unwanted & IS_FILE))
		return 0;
	return there | (p->select == SELECT_STATES && entry & ENTRY_SOFT_DIRTY ? IS_WRITTEN : 0u);
}

static int fill_by_entries(struct pagemap *p)
{
	uint64_t pages = (p->end - p->at) / PAGE, i, start = p->at;
	size_t want = (size_t)(pages < ENTRIES ? pages : ENTRIES);
	ssize_t got;

	do
		got = pread(p->fd, p->entries, want * 8, (off_t)(p->at / PAGE * 8));
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	p->entries_at = start;
	if (got < 8) {                  /* beyond the end of user space */
		p->at = p->end;
		return 0;
	}
	for (i = 0; i < (uint64_t)got / 8; i++) {
		struct scan_region *last = p->count ? &p->regions[p->count - 1] : NULL;
		uint64_t categories = categories_of(p, p->entries[i]), address = start + i * PAGE;

		if (!categories)
			continue;
		if (last && last->end == address && last->categories == categories) {
			last->end += PAGE;
			continue;
		}
		if (p->count == REGIONS)
			break;
		p->regions[p->count++] = (struct scan_region){ address, address + PAGE, categories };
	}
	p->at = start + i * PAGE;
	return 0;
}

static int fill(struct pagemap *p)
{
	int r;

	p->next = p->count = 0;
	if (!p->scan)
		return fill_by_entries(p);
	r = fill_by_scan(p);
	if (r == -EINVAL && p->unwanted & IS_GUARD) {           /* 6.7 to 6.14 */
		p->unwanted &= ~(uint64_t)IS_GUARD;
		r = fill_by_scan(p);
	}
	if ((r != -ENOTTY && r != -EINVAL) || p->select != SELECT_ALL || p->protect)
		return r;
	p->scan = false;
	return fill_by_entries(p);
}

int pagemap_open(pid_t pid, bool by_scan, struct pagemap **ret, struct error *err)
{
	cleanup_close int fd = -1;
	struct pagemap *p;
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOENT)
			errno = ESRCH;
		return error_errno(err, "open %s", path);
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_set(err, -ENOMEM, "out of memory for a page map");
	p->fd = take_fd(&fd);
	p->scan = by_scan;
	p->unwanted = IS_FILE | IS_GUARD;
	*ret = p;
	return 0;
}

void pagemap_close(struct pagemap *p)
{
	if (!p)
		return;
	close(p->fd);
	free(p);
}

void pagemap_select(struct pagemap *p, uint64_t start, uint64_t end, enum page_select select, bool protect)
{
	p->at = start;
	p->end = end;
	p->select = select;
	p->protect = protect;
	p->next = p->count = 0;
}

void pagemap_files(struct pagemap *p, bool files)
{
	p->unwanted = (p->unwanted & ~(uint64_t)IS_FILE) | (files ? IS_FILE : 0);
}

void pagemap_range(struct pagemap *p, uint64_t start, uint64_t end)
{
	pagemap_select(p, start, end, SELECT_ALL, false);
}

bool pagemap_by_scan(const struct pagemap *p)
{
	return p->scan;
}

static uint64_t where(uint64_t entry)
{
	uint64_t frame = entry & ENTRY_PRESENT ? entry & ENTRY_FRAME : 0;

	return frame ? frame << 1 | (entry & ENTRY_SOFT_DIRTY ? 1 : 0) : 0;
}

uint64_t pagemap_where(const struct pagemap *p, uint64_t address)
{
	return where(p->entries[(address - p->entries_at) / PAGE]);
}

void pagemap_look(const struct pagemap *p, uint64_t address, uint32_t pages, uint64_t *ret)
{
	bool told = pread(p->fd, ret, (size_t)pages * 8, (off_t)(address / PAGE * 8)) == (ssize_t)pages * 8;

	for (uint32_t i = 0; i < pages; i++)
		ret[i] = told ? where(ret[i]) : 0;
}

int pagemap_next(struct pagemap *p, struct page_run *ret, struct error *err)
{
	const struct scan_region *r;

	while (p->next == p->count) {
		int code;

		if (p->at >= p->end)
			return 0;
		code = fill(p);
		if (code < 0) {
			errno = -code;
			return error_errno(err, "read the page map at %llx", (unsigned long long)p->at);
		}
	}
	r = &p->regions[p->next++];
	*ret = (struct page_run){
		.start = r->start,
		.end = r->end,
		.zero = r->categories & IS_PFNZERO,
		.swapped = r->categories & IS_SWAPPED,
		.watched = r->categories & IS_WPALLOWED,
		.written = r->categories & IS_WRITTEN,
	};
	return 1;
}
