/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"

int read_full(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int write_full(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int file_read(int dirfd, const char *path, struct buf *b, struct error *err)
{
	cleanup_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "open %s", path);
	for (;;) {
		char chunk[8192];
		ssize_t n = read(fd, chunk, sizeof(chunk));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_errno(err, "read %s", path);
		if (n == 0)
			return buf_reserve(b, 0) < 0 ? error_set(err, -ENOMEM, "read %s: out of memory", path) : 0;
		r = buf_append(b, chunk, (size_t)n);
		if (r < 0)
			return error_set(err, r == -ENOSPC ? -EFBIG : r, "%s is larger than %zu bytes", path, b->max);
	}
}

int file_sync_folder(int dirfd, const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];
	cleanup_close int fd = -1;

	if (path_format(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".") < 0)
		return -ENAMETOOLONG;
	fd = openat(dirfd, slash == path ? "/" : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_write(int dirfd, const char *path, const void *data, size_t len, mode_t mode, bool durable, struct error *err)
{
	char tmp[4096];
	cleanup_close int fd = -1;
	int r;

	if (path_format(tmp, sizeof(tmp), "%s.tmp", path) < 0)
		return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
	if (unlinkat(dirfd, tmp, 0) < 0 && errno != ENOENT)
		return error_errno(err, "remove old %s", tmp);
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return error_errno(err, "create %s", tmp);
	r = write_full(fd, data, len);
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		r = -errno;
	if (r == 0 && durable)
		r = file_sync_folder(dirfd, path);
	if (r < 0) {
		unlinkat(dirfd, tmp, 0);
		errno = -r;
		return error_errno(err, "write %s", path);
	}
	return 0;
}

int dir_make(int dirfd, const char *path, mode_t mode, struct error *err)
{
	char part[4096];
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(part))
		return error_set(err, -ENAMETOOLONG, "path too long or empty: %s", path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdirat(dirfd, part, mode) < 0 && errno != EEXIST)
			return error_errno(err, "make folder %s", part);
	}
	return 0;
}

#define TREE_DEPTH_MAX 512

/* What is mounted below is not ours to remove: -EXDEV. */
static int open_to_remove(int dirfd, const char *name, int depth)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, .resolve = depth ? RESOLVE_NO_XDEV : 0 };

	return (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
}

static int remove_below(int dirfd, const char *name, int depth)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	int fd, r = 0;

	if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth > TREE_DEPTH_MAX)
		return -ELOOP;
	fd = open_to_remove(dirfd, name, depth);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return -ENOMEM;
	}
	/* What cannot be removed keeps nothing else from it: it may be a secret. */
	while ((e = readdir(d))) {
		int one = strcmp(e->d_name, ".") && strcmp(e->d_name, "..") ? remove_below(fd, e->d_name, depth + 1) : 0;

		r = r < 0 ? r : one;
	}
	return r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : r;
}

#define REMOVE_TRIES 5

int tree_remove(int dirfd, const char *path, struct error *err)
{
	int r = 0;

	/* A program that still writes there (CRIU its statistics) makes a folder change under our hands: look again. */
	for (int i = 0; i < REMOVE_TRIES; i++) {
		r = remove_below(dirfd, path, 0);
		if (r != -ENOTEMPTY && r != -ENOTDIR && r != -ENOENT && r != -EEXIST)
			break;
	}
	if (r < 0) {
		errno = -r;
		return error_errno(err, "remove %s", path);
	}
	return 0;
}

int open_beneath(int dirfd, const char *path, int flags, mode_t mode, bool nofollow)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (nofollow ? RESOLVE_NO_SYMLINKS : 0),
	};
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

bool name_is_safe(const char *s)
{
	size_t len = s ? strlen(s) : 0;

	return len > 0 && len <= 255 && !strchr(s, '/') && strcmp(s, ".") && strcmp(s, "..");
}

int path_format(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, size, fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}
