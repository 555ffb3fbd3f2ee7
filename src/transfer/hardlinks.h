/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_HARDLINKS_H
#define SRC_TRANSFER_HARDLINKS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The first path under which each file with several names was met in a walk, and what the other side has there (transfer/tree_record.h). */
struct hardlink {
	dev_t dev;
	ino_t ino;
	char *path;
	uint32_t group;
	uint64_t size;
	int64_t ctime_ns;
	uint8_t flags;
};

/* { 0 } is empty. */
struct hardlinks {
	struct hardlink *table;         /* open addressing, a power of two, at most half full */
	size_t size, used;
	uint64_t bytes;                 /* that all of it takes; never more than TREE_LINKS_MAX */
};

/* The place of this file: path is NULL when it was not met yet.  Until the next call; NULL: out of memory. */
struct hardlink *hardlinks_get(struct hardlinks *h, dev_t dev, ino_t ino);
/* The first path is this one, from now on.  -ENOMEM; -E2BIG: there are too many. */
int hardlinks_set(struct hardlinks *h, struct hardlink *l, const char *path);
void hardlinks_free(struct hardlinks *h);

#endif
