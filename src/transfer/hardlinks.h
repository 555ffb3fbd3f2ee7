/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_HARDLINKS_H
#define SRC_TRANSFER_HARDLINKS_H

#include <stddef.h>
#include <sys/types.h>

/* The first path under which each file with several names was met. { 0 } is empty. */
struct hardlink {
	dev_t dev;
	ino_t ino;
	char *path;
};

struct hardlinks {
	struct hardlink *table;         /* open addressing, a power of two, at most half full */
	size_t size, used;
};

/* NULL when this file is new: path is then remembered (*ret_error 0, or -ENOMEM); else the path remembered before. */
const char *hardlinks_seen(struct hardlinks *h, dev_t dev, ino_t ino, const char *path, int *ret_error);
void hardlinks_free(struct hardlinks *h);

#endif
