/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "tar.h"

#define DEPTH_MAX 64
#define CONTENT_MAX 65536               /* of one file */

struct archive {
	struct buf *out;
	dev_t dev;                      /* of the file system that is archived */
	size_t entries;
	char path[TAR_PATH_SIZE];       /* of the folder being walked, with a '/' at the end: "./", "./pts/" */
};

/* Whole digits with a NUL behind them. */
static bool put_octal(char *field, size_t size, uint64_t value)
{
	field[size - 1] = '\0';
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (char)('0' + (value & 7));
	return value == 0;
}

/* The name, cut at a '/' into prefix and name when it is long. */
static bool put_path(struct tar_header *h, const char *path)
{
	size_t len = strlen(path), cut = 0;

	while (len - cut > sizeof(h->name)) {
		const char *slash = strchr(path + cut, '/');

		if (!slash || !slash[1] || (size_t)(slash - path) > sizeof(h->prefix))
			return false;
		cut = (size_t)(slash - path) + 1;
	}
	if (cut)
		memcpy(h->prefix, path, cut - 1);
	memcpy(h->name, path + cut, len - cut);
	return true;
}

unsigned tar_checksum(const struct tar_header *h)
{
	const unsigned char *bytes = (const unsigned char *)h;
	unsigned sum = 0;

	for (size_t i = 0; i < sizeof(*h); i++)
		sum += bytes[i];
	for (size_t i = 0; i < sizeof(h->checksum); i++)
		sum += ' ' - (unsigned char)h->checksum[i];
	return sum;
}

static bool put_header(struct archive *a, const char *path, const struct stat *st, char type, size_t size, const char *link)
{
	struct tar_header h = { .type = type };
	bool fits = put_path(&h, path) && put_octal(h.mode, sizeof(h.mode), st->st_mode & 07777) && put_octal(h.uid, sizeof(h.uid), st->st_uid) &&
		    put_octal(h.gid, sizeof(h.gid), st->st_gid) && put_octal(h.size, sizeof(h.size), size) && st->st_mtime >= 0 &&
		    put_octal(h.mtime, sizeof(h.mtime), (uint64_t)st->st_mtime) && strlen(link) <= sizeof(h.link);
	bool device = type == TAR_CHAR || type == TAR_BLOCK_DEVICE;

	if (!fits || !put_octal(h.major, sizeof(h.major), device ? major(st->st_rdev) : 0) ||
	    !put_octal(h.minor, sizeof(h.minor), device ? minor(st->st_rdev) : 0))
		return false;
	memcpy(h.magic, TAR_MAGIC_POSIX, sizeof(h.magic));
	memcpy(h.link, link, strlen(link));
	/* Six digits, a NUL and a space, as ever. */
	put_octal(h.checksum, 7, tar_checksum(&h));
	h.checksum[7] = ' ';
	return ++a->entries <= TAR_ENTRIES_MAX && buf_append(a->out, &h, sizeof(h)) == 0;
}

static bool put_zeros(struct buf *out, size_t n)
{
	static const char zeros[2 * TAR_BLOCK];

	return buf_append(out, zeros, n) == 0;
}

/* Holes are for the node's tar (--sparse), and so is a file that changes. */
static bool put_file(struct archive *a, int dir, const char *name, const char *path, const struct stat *st)
{
	size_t size = (size_t)st->st_size;
	cleanup_close int fd = -1;
	struct stat now;

	if (st->st_size > CONTENT_MAX || st->st_blocks * 512 < st->st_size || !put_header(a, path, st, TAR_FILE, size, ""))
		return false;
	if (!size)
		return true;
	fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &now) < 0 || now.st_ino != st->st_ino || now.st_size != st->st_size || buf_reserve(a->out, size) < 0 ||
	    read_full(fd, a->out->data + a->out->len, size) < 0)
		return false;
	a->out->len += size;
	return put_zeros(a->out, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

static bool put_symlink(struct archive *a, int dir, const char *name, const char *path, const struct stat *st)
{
	char target[TAR_LINK_SIZE];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));

	if (n <= 0 || n == (ssize_t)sizeof(target))
		return false;
	target[n] = '\0';
	return put_header(a, path, st, TAR_SYMLINK, 0, target);
}

/*
 * Names of attributes of a file of the working directory.  The label of SELinux is no reason to give up: every file has one there, and tar takes none along
 * unless it is told to.
 */
static bool has_xattrs(const char *name)
{
	char list[1024];
	ssize_t n = llistxattr(name, list, sizeof(list));

	if (n < 0)
		return errno != ENOTSUP;
	for (const char *p = list; p < list + n; p += strlen(p) + 1)
		if (strcmp(p, "security.selinux"))
			return true;
	return false;
}

static bool walk(struct archive *a, int fd, size_t path_len, int depth);

static bool put_dir(struct archive *a, int dir, const char *name, size_t path_len, const struct stat *st, int depth)
{
	cleanup_close int fd = -1;

	if (path_len + 2 > sizeof(a->path))
		return false;
	a->path[path_len++] = '/';
	a->path[path_len] = '\0';
	if (depth > DEPTH_MAX || !put_header(a, a->path, st, TAR_DIR, 0, ""))
		return false;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 && walk(a, fd, path_len, depth) && fchdir(dir) == 0;
}

/* dir is the working directory too (has_xattrs()). */
static bool put_entry(struct archive *a, int dir, const char *name, size_t path_len, int depth)
{
	size_t len = strlen(name);
	struct stat st;

	if (path_len + len + 1 > sizeof(a->path) || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != a->dev || has_xattrs(name))
		return false;
	memcpy(a->path + path_len, name, len + 1);
	if (S_ISDIR(st.st_mode))
		return put_dir(a, dir, name, path_len + len, &st, depth + 1);
	if (st.st_nlink > 1)
		return false;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return put_file(a, dir, name, a->path, &st);
	case S_IFLNK:
		return put_symlink(a, dir, name, a->path, &st);
	case S_IFCHR:
		return put_header(a, a->path, &st, TAR_CHAR, 0, "");
	case S_IFBLK:
		return put_header(a, a->path, &st, TAR_BLOCK_DEVICE, 0, "");
	case S_IFIFO:
		return put_header(a, a->path, &st, TAR_FIFO, 0, "");
	default:
		return false;
	}
}

/* a->path ends in '/' at path_len. */
static bool walk(struct archive *a, int fd, size_t path_len, int depth)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *d = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!d || fchdir(fd) < 0)
		return false;
	while (errno = 0, (e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!put_entry(a, fd, e->d_name, path_len, depth))
			return false;
	}
	return errno == 0;
}

bool tar_create(int fd, struct buf *out)
{
	struct archive a = { .out = out, .path = "./" };
	struct stat st;

	if (fstat(fd, &st) < 0 || fchdir(fd) < 0 || has_xattrs("."))
		return false;
	a.dev = st.st_dev;
	return buf_reserve(out, 65536) == 0 && put_header(&a, a.path, &st, TAR_DIR, 0, "") && walk(&a, fd, strlen(a.path), 0) &&
	       put_zeros(out, 2 * TAR_BLOCK);
}
