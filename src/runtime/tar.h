/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_TAR_H
#define RUNTIME_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * While the application is frozen CRIU runs `tar --create --gzip ..` for each tmpfs of a container, and `tar --extract --gzip ..` when it restores it
 * (criu/filesystems.c, tmpfs_dump and tmpfs_restore).  In a container of a pod these hold a few device nodes, links and folders, or nothing at all, and
 * starting tar and gzip takes far longer than the rest.  This is a tar for such trees, in one process: a plain archive in an envelope of gzip that does not
 * compress, so that `tar --extract --gzip` of another node reads it too.  Whatever it does not know for sure is the node's tar's, with the same arguments
 * in the same process, and that is decided before anything is written.
 */
#define TAR_PROGRAM "tar"

/* Runs as CRIU runs tar; returns the exit status. */
int tar_main(int argc, char **argv);

/* --- between the files of this program --- */

#define TAR_BLOCK 512
#define TAR_ENTRIES_MAX 4096            /* a tree with more is not what this is for */
#define TAR_PATH_SIZE 257               /* prefix, '/', name, NUL */
#define TAR_LINK_SIZE 101

/* POSIX.1-1988; GNU tar writes the same fields with its own magic and without the prefix. */
#define TAR_MAGIC_POSIX "ustar\0" "00"
#define TAR_MAGIC_GNU "ustar  "
struct tar_header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[8], uname[32], gname[32],
		major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a header is one block");

enum { TAR_FILE = '0', TAR_SYMLINK = '2', TAR_CHAR = '3', TAR_BLOCK_DEVICE = '4', TAR_DIR = '5', TAR_FIFO = '6' };

struct tar_entry {
	char path[TAR_PATH_SIZE];       /* relative, without "." and ".." components; "": the folder that is extracted to */
	char link[TAR_LINK_SIZE];
	char type;
	unsigned mode, uid, gid, major, minor;
	int64_t mtime;
	const char *data;               /* in the archive */
	size_t size;
};

/* Sum of the block's bytes, the field itself counted as spaces. */
unsigned tar_checksum(const struct tar_header *h);

/* Appends the archive of the folder fd to out.  False: something is there that is for the node's tar. */
bool tar_create(int fd, struct buf *out);

/* Appends the gzip file of data to out, in stored blocks (RFC 1951). */
int tar_gzip(const char *data, size_t len, struct buf *out);

/* The way back, in place.  0; 1, data unchanged: compressed, for the node's tar; -EBADMSG: damaged. */
int tar_gunzip(char *data, size_t *len, struct error *err);

/*
 * Reads the len bytes of an archive into *ret (at most TAR_ENTRIES_MAX, to be freed; they point into data).  0; 1: for the node's tar; -EBADMSG: damaged.
 * No entry leads out of the folder by its name.
 */
int tar_scan(const char *data, size_t len, struct tar_entry **ret, size_t *ret_n, struct error *err);

/* Makes the entries below the folder root, never following a link.  Owner and mode are the archive's, so umask must be 0. */
int tar_extract(int root, const struct tar_entry *entries, size_t n, struct error *err);

#endif
