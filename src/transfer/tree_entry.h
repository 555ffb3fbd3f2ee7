/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_TREE_ENTRY_H
#define SRC_TRANSFER_TREE_ENTRY_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"
#include "base/ids.h"
#include "transfer/limits.h"

enum tree_type { TREE_FOLDER, TREE_FILE, TREE_SYMLINK, TREE_FIFO, TREE_SOCKET, TREE_WHITEOUT, TREE_HARDLINK, TREE_TYPES };

/* The JSON of a FILE frame (docs/protocol.md); strings and xattrs are borrowed. */
struct tree_entry {
	enum tree_type type;
	const char *path;               /* relative, "." for the root */
	const char *link;               /* symlink: target; hardlink: path of the first name; else NULL */
	mode_t mode;                    /* 07777 */
	uid_t uid;
	gid_t gid;
	uint64_t size;                  /* files */
	struct timespec mtime;
	bool patch;                     /* files: DATA changes the one that is there */
	bool opaque;                    /* folders: nothing of the image's folder of this name is seen */
	const cJSON *xattrs;            /* name: base64; NULL: none */
};

/* Takes e->xattrs into the new object (also on failure). */
int tree_entry_to_json(const struct tree_entry *e, const char *tree, cJSON *xattrs, cJSON **ret, struct error *err);
/* Checks everything that comes from outside: -EPROTO, reason ProtocolError. *ret borrows from json. */
int tree_entry_from_json(const cJSON *json, struct tree_entry *ret, struct error *err);

/* True for "." and for safe names joined by single slashes, within depth and length. */
bool tree_path_ok(const char *path);

/*
 * Extended attributes that belong to a container: user.*, security.capability and POSIX ACLs.  All others are the node's own
 * (security.selinux, security.ima) or the overlay's, and are not carried.  path: a /proc/self/fd/N that names the file.
 */
bool tree_xattr_carried(const char *name);
/* A new object of all carried ones, NULL when there are none.  ids: of users in them (tree_ids.h); NULL: as they are. */
int tree_xattrs_read(const char *path, const struct id_range *ids, cJSON **ret, struct error *err);
/* Sets all of xattrs (may be NULL) and removes other carried ones. */
int tree_xattrs_write(const char *path, const struct id_range *ids, const cJSON *xattrs, struct error *err);
/* 1 when there is an attribute of this name, with *ret_first its first byte (0 when empty); 0 when not; negative errno. */
int tree_xattr_first(const char *path, const char *name, char *ret_first);

#endif
