/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_TREE_H
#define TRANSFER_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/ids.h"
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
 * What may go ahead while the pod runs.  Of each tree there is a record of what was sent: a later walk sends only what differs from it, and what has gone as
 * whiteouts.  A file that was changed without its times being changed is found all the same: tree_mapped.
 */
struct tree_ahead {
	uint64_t memory_max;
	_Atomic uint64_t memory;        /* of all records; what does not fit is left for the walk while it is frozen */
	uint64_t entries_max, entries;  /* sent while the pod ran, in all walks: what is beyond waits as well */
	uint64_t bytes_max, bytes;
};
struct tree_record;
/*
 * What a file system tells of changes by its times.  ALL: all of them, but for those that tree_mapped finds.  ATTRIBUTES: not those of a file's content, which is therefore
 * compared in each walk, page by page.  NOTHING: a record is worth nothing there.
 */
enum tree_tells { TREE_TELLS_NOTHING, TREE_TELLS_ATTRIBUTES, TREE_TELLS_ALL };
enum tree_tells tree_tells(int dir_fd);
/*
 * How much can be in this file system, in bytes, when that is a limit of its own (tmpfs) which the other side has as well; else UINT64_MAX.  What would not fit there beside what has
 * gone here since waits, and in the last walk all is sent anew into an empty folder when nothing else is left.
 */
uint64_t tree_room(int dir_fd);
/* ahead: borrowed, its memory counted by whoever has one of its records, each of which is one thread's at a time.  tells: not NOTHING.  room: UINT64_MAX for an overlay's folder. */
int tree_record_new(struct tree_ahead *ahead, enum tree_tells tells, uint64_t room, struct tree_record **ret, struct error *err);
void tree_record_free(struct tree_record *r);

/*
 * The files to which the processes of a pod may write without the times telling: those that they have mapped (a page that is dirty and mapped writable is
 * written to without a fault), and those that they write to past the page cache (O_DIRECT: the time is that of the beginning).  Made before each walk, and then
 * given all processes of all containers; a mapping that is made later faults at its first write, which sets the times.  Names and inode numbers are taken from
 * /proc: overlayfs shows others than the folder below it has, so there may be some too many.
 */
struct tree_mapped;
int tree_mapped_new(struct tree_mapped **ret, struct error *err);       /* the walk begins */
/* running false: it is frozen, so nothing is on its way to a file.  A process that has ended is nothing to add. */
int tree_mapped_add(struct tree_mapped *m, pid_t pid, bool running, struct error *err);
void tree_mapped_free(struct tree_mapped *m);

struct tree_source {
	struct wire *wire;
	uint16_t container;
	const char *tree;               /* "rootfs", "volume:<name>", "shm" */
	int dir_fd;                     /* borrowed */
	bool overlay;                   /* it is an overlay's upper folder: whiteouts (character device 0:0) and trusted.overlay.* are sent as what they mean */
	bool running;                   /* anything may change meanwhile, and what does is left for the next walk; needs record and mapped */
	struct tree_record *record;     /* NULL: nothing went ahead, all is sent */
	const struct tree_mapped *mapped;       /* with a record */
	const struct id_range *ids;     /* the container's user namespace, when the file system has its ids as the node sees them; borrowed, NULL: as they are */
};

/*
 * Not running: nothing may write below dir_fd meanwhile: -EIO when something does.  -ENOTSUP (reason UnsupportedFile) for device nodes, foreign mounts,
 * overlayfs with redirect_dir or metacopy.  No symbolic link is followed.  stats are added to.
 */
int tree_send(const struct tree_source *from, struct tree_stats *stats, struct error *err);

/*
 * Applies entries below dir_fd (a mounted root, not an upper folder; borrowed): a whiteout removes, an opaque folder is emptied
 * first, a folder on a folder keeps it, all else replaces what was there by a new inode.  The sender is not trusted: paths cannot
 * leave dir_fd (openat2 RESOLVE_BENEATH, no symbolic link followed), there are no device nodes, limits on entries, bytes, depth
 * (-EPROTO, -ENOSPC, -E2BIG).  A patch is written into the regular file that is there; its pages of zeros become holes.  It may make
 * setuid files of any owner, as the image itself may: nobody runs anything from there but the container.  An error leaves the tree half applied; only tree_apply_free may follow.
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
/* The entries' users and groups are those inside of this namespace, and the file system is to have them as the node sees them.  Before the first entry. */
void tree_apply_ids(struct tree_apply *t, const struct id_range *ids);
int tree_apply_file(struct tree_apply *t, const cJSON *entry, struct error *err);       /* FILE */
int tree_apply_data(struct tree_apply *t, uint64_t offset, const void *data, size_t len, struct error *err);   /* DATA */
/* The last file's attributes, then the times of folders that something was put into since the last time; more may follow. */
int tree_apply_settle(struct tree_apply *t, struct error *err);
void tree_apply_free(struct tree_apply *t);

#endif
