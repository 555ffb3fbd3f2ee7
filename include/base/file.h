/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* Whole reads and writes over EINTR and short counts; 0, or negative errno (-EPIPE at an early end of file). */
int read_full(int fd, void *data, size_t len);
int write_full(int fd, const void *data, size_t len);

/* Reads a whole file below dirfd (AT_FDCWD) into b, at most b->max bytes. */
int file_read(int dirfd, const char *path, struct buf *b, struct error *err);

/* Writes path anew: temporary file beside it, fsync when durable, rename, fsync of the folder when durable. */
int file_write(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool durable, struct error *err);

/* fsyncs the folder that path is in: the entry of that name is on disk.  0, or negative errno. */
int file_sync_folder(int dirfd, const char *path);

/* mkdir -p; existing folders are fine. */
int dir_make(int dirfd, const char *path, mode_t mode, struct error *err);

/*
 * Removes path and all below it, never following a symbolic link; a missing path is fine.  What cannot be removed (what is mounted below: -EXDEV) stays with the folders above it,
 * and nothing else does.
 */
int tree_remove(int dirfd, const char *path, struct error *err);

/*
 * openat2 with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS (kernel 5.6): the path cannot leave dirfd, whatever links are in it.
 * nofollow adds RESOLVE_NO_SYMLINKS.  Returns an fd or negative errno.
 */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode, bool nofollow);

/* True when s is a safe single path component: 1..255 bytes, no '/', not "." or "..". */
bool name_is_safe(const char *s);

/* snprintf that reports truncation: 0 or -ENAMETOOLONG. */
int path_format(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
