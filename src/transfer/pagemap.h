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
};

/* by_scan false: /proc/PID/pagemap even where the kernel has PAGEMAP_SCAN. */
int pagemap_open(pid_t pid, bool by_scan, struct pagemap **ret, struct error *err);
void pagemap_close(struct pagemap *p);
/* Sets the range that pagemap_next goes through. */
void pagemap_range(struct pagemap *p, uint64_t start, uint64_t end);
/* 1: *ret is the next run; 0: end of the range; negative errno. */
int pagemap_next(struct pagemap *p, struct page_run *ret, struct error *err);
bool pagemap_by_scan(const struct pagemap *p);

#endif
