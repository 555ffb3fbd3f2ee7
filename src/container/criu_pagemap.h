/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CRIU_PAGEMAP_H
#define CONTAINER_CRIU_PAGEMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* pagemap-<pid>.img, read and checked entry by entry. */

#define PE_PARENT 1u
#define PE_LAZY 2u /* may be fetched later; its data is not in the pages file unless PE_PRESENT, too */
#define PE_PRESENT 4u

#define PAGEMAP_MAX (256u << 20)
#define PAGEMAP_ENTRY_MAX 256 /* one entry has 5 numbers; the head has one */

/* An image being read. */
struct criu_pagemap {
	const char *name;
	const uint8_t *p, *end;
	struct error *err;
};

struct pagemap_entry {
	uint64_t vaddr, pages;
	uint32_t compat_pages;
	bool has_pages; /* field 5 (CRIU 4.2) rather than field 2 */
	uint32_t flags;
};

/* Reads magic and head of the image (the whole file, which must stay); its entries come next. */
int criu_pagemap_start(struct criu_pagemap *m, const struct buf *image, uint32_t *ret_pages_id);
/* Next entry, which must be at or above address from; 0 at the end, 1, or negative errno. */
int criu_pagemap_next(struct criu_pagemap *m, uint64_t from, struct pagemap_entry *ret);
/* All that follow, for a pages file of that many pages; *ret_lazy is how many must come from elsewhere. */
int criu_pagemap_check(struct criu_pagemap *m, uint64_t pages_in_file, uint64_t *ret_lazy);
/* An entry as it stands in the image; its length. */
size_t pagemap_entry_pack(const struct pagemap_entry *e, uint8_t out[4 + PAGEMAP_ENTRY_MAX]);

#endif
