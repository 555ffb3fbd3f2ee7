/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_PENDING_H
#define RUNTIME_FILL_PENDING_H

#include <stdint.h>

#include "fill_run.h"

/*
 * What one task has not got yet: where the page belongs and where it lies in the store.  It follows what the program does to its memory, so that nothing comes where
 * the program has dropped, replaced or moved it.  A page that is missing in the task and not in here is zero.
 */
struct fill_seg {
	uint64_t vaddr, offset;
	uint32_t pages;                 /* never 0 */
};

struct fill_pending {
	struct fill_seg *segs;          /* [first, n): by address, without overlaps */
	uint32_t first, n, room;
	uint64_t pages;                 /* of all */
};

/* All of these return 0 or -ENOMEM; nothing was changed then. */
int pending_load(struct fill_pending *p, const struct fill_runs *runs, uint32_t ns_pid);        /* p is empty before */
int pending_clone(const struct fill_pending *from, struct fill_pending *ret);
int pending_cut(struct fill_pending *p, uint64_t start, uint64_t end);
/* What belonged to [from, from + len) belongs to [to, to + len), where nothing else does any more. */
int pending_move(struct fill_pending *p, uint64_t from, uint64_t to, uint64_t len);
void pending_free(struct fill_pending *p);

/* The segment that holds this address, or NULL. */
const struct fill_seg *pending_find(const struct fill_pending *p, uint64_t vaddr);
/* The first segment that ends behind this address, or NULL. */
const struct fill_seg *pending_next(const struct fill_pending *p, uint64_t vaddr);
/* Of the first segment, so many pages are in place. */
void pending_advance(struct fill_pending *p, uint32_t pages);

#endif
