/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_TREE_RECORD_H
#define SRC_TRANSFER_TREE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "transfer/tree.h"

/* Of a block of a file as the other side holds it; all zero: it holds zeros (as many as the block has). */
struct tree_digest {
	uint64_t low, high;
};

enum {
	KNOWN_OLD = 1,          /* the times were old enough: whoever has changed it since has changed them, too */
	KNOWN_CONTENT = 2,      /* of a file: the content that came was all there was, and nobody could write to it without touching the times */
	KNOWN_OPAQUE = 4,       /* of a folder: was sent as opaque */
	KNOWN_XATTRS = 8,       /* of a file: was sent with extended attributes (on tmpfs of older kernels their changes set no time) */
};

/*
 * One path that the other side has, as it was told: whatever was sent has one, also when nobody knows any more what it holds (no flags).  All but walk and group
 * are of the source's inode.
 */
struct known {
	struct known *parent, *child, *sibling, *chain;
	struct tree_digest *digests;    /* one for each block (tree_record.block) of size; NULL: none are kept */
	uint64_t ino, size;
	uint64_t room;                  /* that it takes at the other side, at most; counted where there is a limit (tree_record.room) */
	int64_t ctime_ns;
	uint32_t mode;                  /* with the type; 0: nothing is known; S_IFCHR: a whiteout */
	uint32_t group;                 /* the same for names of one inode at the other side, never used again */
	uint16_t walk;                  /* that saw it last */
	uint8_t flags;
	char name[];
};

struct tree_record {
	struct tree_ahead *ahead;
	bool compares;                  /* no time tells of what was written: each file has digests, and is read in each walk */
	uint32_t block;                 /* TREE_BLOCK or TREE_PAGE */
	uint64_t room, taken;           /* bytes that the other side has room for, UINT64_MAX: there is no limit; those that are taken */
	struct known *root;
	struct known **buckets;
	size_t n_buckets, n;
	uint32_t groups;
	uint16_t walk;
};

/* All of these: r may be NULL, and parent, too (nothing is known of what lies below). */
struct known *known_find(const struct tree_record *r, const struct known *parent, const char *name);
struct known *known_by_path(const struct tree_record *r, const char *path);
/* NULL: there is no room for it (tree_ahead.memory_max). */
struct known *known_add(struct tree_record *r, struct known *parent, const char *name);
void known_drop_children(struct tree_record *r, struct known *k);
/* Takes *at, one of its parent's list of children, out; at then points to the next. */
void known_drop(struct tree_record *r, struct known **at);
/* Digests for so many bytes: those that are there stay, new ones are of zeros.  false: no room, and none are kept any more. */
bool known_resize(struct tree_record *r, struct known *k, uint64_t size);
void known_forget_digests(struct tree_record *r, struct known *k);
/* What st has comes to the other side in place of k (NULL: of nothing).  false: there may be no room for it. */
bool known_take_room(struct tree_record *r, struct known *k, const struct stat *st, bool same);
/* The other side has just what the digests of k say: so much room it takes. */
void known_count_room(struct tree_record *r, struct known *k);

#endif
