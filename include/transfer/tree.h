/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_TREE_H
#define TRANSFER_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "transfer/wire.h"

/*
 * A folder's content with types, owner, mode (setuid and setgid kept), modification time in nanoseconds, extended attributes
 * (user.*, security.capability, POSIX ACLs), hard links and holes: overlay upper folders (whiteouts and opaque folders included),
 * emptyDirs, /dev/shm.  At most 256 levels, paths of 4095 bytes.
 */
struct tree_stats {
	uint64_t entries, bytes;        /* FILE frames; file data */
	int64_t micros;
};

/*
 * tree: "rootfs", "volume:<name>", "shm".  overlay: dir_fd is an overlay's upper folder; whiteouts (character device 0:0) and
 * trusted.overlay.* are sent as what they mean.  Nothing may write below dir_fd meanwhile: -EIO when something does.  -ENOTSUP
 * (reason UnsupportedFile) for device nodes, foreign mounts, overlayfs with redirect_dir or metacopy.  No symbolic link is
 * followed.  stats are added to.
 */
int tree_send(struct wire *w, uint16_t container, const char *tree, int dir_fd, bool overlay, struct tree_stats *stats,
	      struct error *err);

/*
 * Applies entries below dir_fd (a mounted root, not an upper folder; borrowed): a whiteout removes, an opaque folder is emptied
 * first, a folder on a folder keeps it, all else replaces what was there by a new inode.  The sender is not trusted: paths cannot
 * leave dir_fd (openat2 RESOLVE_BENEATH, no symbolic link followed), there are no device nodes, limits on entries, bytes, depth
 * (-EPROTO, -ENOSPC, -E2BIG).  It may make setuid files of any owner, as the image itself may: nobody runs anything from there
 * but the container.  An error leaves the tree half applied; only tree_apply_free may follow.
 */
struct tree_apply;
/* What all trees of one migration may take together; what they have taken is counted in it. */
struct tree_budget {
	uint64_t max_bytes, bytes;      /* of file data */
	uint64_t max_entries, entries;
	uint64_t max_folders, folders;  /* bytes kept for folders' times */
};
/* budget: borrowed, by one thread at a time. */
int tree_apply_new(int dir_fd, struct tree_budget *budget, struct tree_apply **ret, struct error *err);
int tree_apply_file(struct tree_apply *t, const cJSON *entry, struct error *err);       /* FILE */
int tree_apply_data(struct tree_apply *t, uint64_t offset, const void *data, size_t len, struct error *err);   /* DATA */
int tree_apply_finish(struct tree_apply *t, struct error *err);        /* the last file's attributes; folder times last */
void tree_apply_free(struct tree_apply *t);

#endif
