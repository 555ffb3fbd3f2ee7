/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_TREE_FOLDERS_H
#define SRC_TRANSFER_TREE_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/error.h"

/* The times that folders shall have; { 0 } is empty.  They are set when nothing is put into them for a while, and again when something was. */
struct tree_folders {
	struct tree_folder **buckets;
	size_t n_buckets, n;
};

/* The last one told counts.  *used, of max: bytes that are kept. */
int tree_folders_put(struct tree_folders *f, const char *path, struct timespec mtime, uint64_t *used, uint64_t max, struct error *err);
/* Something was put into it, or taken away. */
void tree_folders_touch(struct tree_folders *f, const char *path, size_t len);
/* Sets the times of all that were put or touched since.  One that has gone by now is passed over. */
int tree_folders_settle(struct tree_folders *f, int dir_fd, struct error *err);
void tree_folders_free(struct tree_folders *f);

#endif
