/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_TREE_WALK_H
#define SRC_TRANSFER_TREE_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "hardlinks.h"
#include "transfer/tree.h"
#include "tree_entry.h"
#include "tree_record.h"

/* One walk through a tree that is sent (tree_send.c, tree_send_file.c, tree_content.c). */
struct tree_walk {
	const struct tree_source *from;
	dev_t dev;                      /* of the root: other file systems are not entered */
	struct tree_stats *stats;
	struct hardlinks links;
	char path[TREE_PATH_MAX + 1];   /* of the entry at hand */
	size_t path_len;
	char *chunk;                    /* WIRE_DATA_MAX bytes */
	uint64_t data_start, data_end;  /* of the file at hand: the data that was found last, UINT64_MAX: up to the file's end (tree_content.c) */
	const struct tree_entry *late;  /* goes before the first data: without any there is nothing to tell */
	bool full;                      /* while frozen: the other side may have no room for the rest */
	int64_t sent_us;                /* clock_mono_us of the last frame */
	unsigned looked_at;             /* entries */
};

/* The entry at hand: its name in the open folder dir, and what is known of both (NULL: nothing). */
struct tree_place {
	int dir;
	const char *name;
	struct known *parent, *known;
};

/* The overlay's own marks (Documentation/filesystems/overlayfs.rst). */
enum overlay_mark { PLAIN, OPAQUE, WHITEOUT };

/* --- tree_send.c --- */

/* Takes xattrs. */
int tree_walk_entry(struct tree_walk *w, const struct tree_entry *e, cJSON *xattrs, struct error *err);
void tree_walk_attributes(const struct tree_walk *w, const struct stat *st, struct tree_entry *e);
int tree_walk_mark(struct tree_walk *w, int fd, const struct stat *st, enum overlay_mark *ret, struct error *err);
/* The other side waits for a frame, and there may be nothing to send for long. */
int tree_walk_alive(struct tree_walk *w, struct error *err);
int tree_walk_whiteout(struct tree_walk *w, struct tree_place *p, struct error *err);
/* Everything opened is compared with what was seen by name (*st): a name that changes its meaning in between is an error.  *st is then of what was opened. */
int tree_walk_open(struct tree_walk *w, const struct tree_place *p, int flags, struct stat *st, int *ret, struct error *err);
/* The entry of late, when there is one. */
int tree_walk_late(struct tree_walk *w, struct error *err);
/* The other side has all of it but perhaps the content. */
bool tree_walk_same_entry(const struct known *k, const struct stat *st);
/* The other side has it just so. */
bool tree_walk_same(const struct tree_walk *w, const struct tree_place *p, const struct stat *st);
/* False: it must wait for a later walk, or while frozen (full) for one into an empty folder.  While running p->known is not NULL afterwards, and knows nothing any more but what is below it. */
bool tree_walk_may_send(struct tree_walk *w, struct tree_place *p, const struct stat *st);
/* It was sent as it was in st; content: of a file, and all of it. */
void tree_walk_note(struct tree_walk *w, struct known *k, const struct stat *st, bool content);

/* tree_send_file.c: a regular file, of one name or more. */
int tree_walk_file(struct tree_walk *w, struct tree_place *p, const struct stat *st, struct error *err);

/*
 * tree_content.c: the content of a file of so many bytes.  k: NULL, or a record whose digests are of what the other side has, and are kept so; patch: it has the file, and
 * gets only the blocks that differ.  Of a file that became shorter meanwhile the rest is zeros, when that may be (running); else -EIO.
 */
int tree_content_send(struct tree_walk *w, int fd, uint64_t size, struct known *k, bool patch, struct error *err);

#endif
