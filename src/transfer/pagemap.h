/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_PAGEMAP_H
#define SRC_TRANSFER_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Which pages of a process exist and belong to it alone: present or swapped, and not a page of a file or of shared memory. */
struct pagemap;

struct page_run {
	uint64_t start, end;            /* bytes, end exclusive */
	bool zero;                      /* known to be the kernel's zero page */
	bool swapped; /* not in memory; may also be a marker without content on kernels that do not tell them apart */
	bool watched, written;          /* SELECT_STATES only; not by scan: its soft-dirty bit (written in the sense of soft_dirty.h), and never watched */
};

/* Of these, which; all but the first and the last need PAGEMAP_SCAN.  Watched: mappings that are registered for write protection (transfer/track.h). */
enum page_select {
	SELECT_ALL,
	SELECT_UNWATCHED,               /* in mappings that are not watched */
	SELECT_WRITTEN,                 /* in watched mappings, written since they were protected */
	SELECT_STATES,                  /* all, each run with whether it is in a watched mapping, and whether it was written since it was protected */
};

/* by_scan false: /proc/PID/pagemap even where the kernel has PAGEMAP_SCAN. */
int pagemap_open(pid_t pid, bool by_scan, struct pagemap **ret, struct error *err);
void pagemap_close(struct pagemap *p);
/* Sets the range that pagemap_next goes through, SELECT_ALL. */
void pagemap_range(struct pagemap *p, uint64_t start, uint64_t end);
/* The same for a selection; protect: each page that is told is write-protected in the same moment, where its mapping is watched; others are left out then. */
void pagemap_select(struct pagemap *p, uint64_t start, uint64_t end, enum page_select select, bool protect);
/*
 * For the ranges from now on: whether they may hold pages of files, which are left out.  To begin with they may; of memory alone the kernel need not look at each page's own
 * record, which makes it two to four times as fast.
 */
void pagemap_files(struct pagemap *p, bool files);
/* 1: *ret is the next run; 0: end of the range; negative errno. */
int pagemap_next(struct pagemap *p, struct page_run *ret, struct error *err);
bool pagemap_by_scan(const struct pagemap *p);
/*
 * Where a page of the run that was told last is: its frame of memory (which nobody is told who may not know, without CAP_SYS_ADMIN), twice, and 1 when it has its soft-dirty bit; 0: not known, or swapped.  Not by scan.
 * look: the same of any pages, as they are now; all 0 when it cannot be told.
 */
uint64_t pagemap_where(const struct pagemap *p, uint64_t address);
void pagemap_look(const struct pagemap *p, uint64_t address, uint32_t pages, uint64_t *ret);

#endif
