/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_TREE_H
#define TRANSFER_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "transfer/wire.h"

/*
 * A folder's content with types, owner, mode, times, xattrs, hard links and holes: overlay upper folders (whiteouts and opaque folders included), emptyDirs, /dev/shm.
 */
struct tree_stats {
	uint64_t entries, bytes;
	int64_t micros;
};

/* tree: "rootfs", "volume:<name>", "shm".  overlay: whiteouts (character device 0:0) and trusted.overlay.* are sent as what they are. */
int tree_send(struct wire *w, uint16_t container, const char *tree, int dir_fd, bool overlay, struct tree_stats *stats, struct error *err);

/*
 * Applies entries below dir_fd (a mounted root, not an upper folder): whiteout removes, opaque folder is emptied first.  Paths cannot leave dir_fd (openat2
 * RESOLVE_BENEATH, no symlinks followed); device nodes other than whiteouts are refused.  Limits: entries, bytes, depth.
 */
struct tree_apply;
int tree_apply_new(int dir_fd, uint64_t max_bytes, uint64_t max_entries, struct tree_apply **ret, struct error *err);
int tree_apply_file(struct tree_apply *t, const cJSON *entry, struct error *err);       /* FILE */
int tree_apply_data(struct tree_apply *t, uint64_t offset, const void *data, size_t len, struct error *err);   /* DATA */
int tree_apply_finish(struct tree_apply *t, struct error *err);        /* folder times last */
void tree_apply_free(struct tree_apply *t);

#endif
