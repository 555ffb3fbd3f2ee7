/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TREE_COMPARE_H
#define TESTS_TREE_COMPARE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/* For tests of trees: how they are made, and whether two are the same in everything. */

/* ---- making trees ---- */

static inline void make_folder(const char *path, mode_t mode)
{
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static inline void make_file(const char *path, const void *data, size_t len, mode_t mode)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(write_full(fd, data, len), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static inline void make_text(const char *path, const char *text)
{
	make_file(path, text, strlen(text), 0644);
}

static inline void set_time(const char *path, time_t seconds, long nanoseconds)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = seconds, .tv_nsec = nanoseconds } };

	assert_int_equal(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static inline void make_socket(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
}

static inline void remove_all(const char *path)
{
	struct error err = { 0 };

	assert_int_equal(tree_remove(AT_FDCWD, path, &err), 0);
}

/* False where the file system has no such attribute, or has no room for one of this length. */
static inline bool set_xattr(const char *path, const char *name, const void *value, size_t len)
{
	if (setxattr(path, name, value, len, 0) == 0)
		return true;
	if (errno != EOPNOTSUPP && errno != ENOSPC)
		fail_msg("%s %s: %s", path, name, strerror(errno));
	print_message("not supported here: %s of %zu bytes\n", name, len);
	return false;
}

/* ---- the strict comparer ---- */

struct pairs {
	ino_t a[512], b[512];
	int n;
};

static inline void compare_inode(struct pairs *p, const struct stat *a, const struct stat *b, const char *path)
{
	for (int i = 0; i < p->n; i++)
		if ((p->a[i] == a->st_ino) != (p->b[i] == b->st_ino))
			fail_msg("%s: hard links differ", path);
	if (p->n < 512) {
		p->a[p->n] = a->st_ino;
		p->b[p->n++] = b->st_ino;
	}
}

static inline int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted names of attributes that count (or of a folder's entries). */
struct names {
	char *list[4096];
	int n;
};

static inline void names_free(struct names *n)
{
	for (int i = 0; i < n->n; i++)
		free(n->list[i]);
	free(n);
}

static inline struct names *xattr_names(const char *path)
{
	struct names *out = calloc(1, sizeof(*out));
	char list[65536];
	ssize_t len = llistxattr(path, list, sizeof(list));

	for (char *p = list; len > 0 && p < list + len; p += strlen(p) + 1)
		if (strncmp(p, "trusted.overlay.", 16) != 0 && strcmp(p, "security.selinux") != 0)
			out->list[out->n++] = strdup(p);
	qsort(out->list, (size_t)out->n, sizeof(char *), by_name);
	return out;
}

static inline void compare_xattrs(const char *a, const char *b)
{
	struct names *na = xattr_names(a), *nb = xattr_names(b);

	if (na->n != nb->n)
		fail_msg("%s: %d extended attributes, %s: %d", a, na->n, b, nb->n);
	for (int i = 0; i < na->n; i++) {
		char va[65536], vb[65536];
		ssize_t la = lgetxattr(a, na->list[i], va, sizeof(va)), lb = lgetxattr(b, nb->list[i], vb, sizeof(vb));

		if (strcmp(na->list[i], nb->list[i]) != 0 || la != lb || (la > 0 && memcmp(va, vb, (size_t)la) != 0))
			fail_msg("%s: %s differs", a, na->list[i]);
	}
	names_free(na);
	names_free(nb);
}

static inline void compare_content(const char *a, const char *b)
{
	cleanup_close int fa = open(a, O_RDONLY | O_CLOEXEC), fb = open(b, O_RDONLY | O_CLOEXEC);
	static char ba[65536], bb[65536];
	ssize_t n;

	assert_true(fa >= 0 && fb >= 0);
	while ((n = read(fa, ba, sizeof(ba))) > 0) {
		assert_int_equal(read_full(fb, bb, (size_t)n), 0);
		if (memcmp(ba, bb, (size_t)n) != 0)
			fail_msg("%s: content differs", a);
	}
	assert_int_equal(read(fb, bb, 1), 0);
}

static inline struct names *folder_names(const char *path)
{
	struct names *out = calloc(1, sizeof(*out));
	DIR *d = opendir(path);
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			out->list[out->n++] = strdup(e->d_name);
	closedir(d);
	qsort(out->list, (size_t)out->n, sizeof(char *), by_name);
	return out;
}

static inline void compare(const char *a, const char *b, struct pairs *pairs);

static inline void compare_children(const char *a, const char *b, struct pairs *pairs)
{
	struct names *na = folder_names(a), *nb = folder_names(b);

	for (int i = 0; i < na->n || i < nb->n; i++) {
		char *ca, *cb;

		if (i >= na->n || i >= nb->n || strcmp(na->list[i], nb->list[i]) != 0)
			fail_msg("%s and %s: names differ: %s, %s", a, b, i < na->n ? na->list[i] : "(none)",
				 i < nb->n ? nb->list[i] : "(none)");
		ca = malloc(8192);
		cb = malloc(8192);
		assert_int_equal(path_format(ca, 8192, "%s/%s", a, na->list[i]), 0);
		assert_int_equal(path_format(cb, 8192, "%s/%s", b, nb->list[i]), 0);
		compare(ca, cb, pairs);
		free(ca);
		free(cb);
	}
	names_free(na);
	names_free(nb);
}

/* Blocks in use once all is written: while btrfs writes what was overwritten it counts fewer. */
static inline long settled_blocks(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	assert_true(fd >= 0 && fsync(fd) == 0 && fstat(fd, &st) == 0);
	return (long)st.st_blocks;
}

static inline void compare(const char *a, const char *b, struct pairs *pairs)
{
	char la[4097] = "", lb[4097] = "";
	struct stat sa, sb;

	assert_int_equal(lstat(a, &sa), 0);
	assert_int_equal(lstat(b, &sb), 0);
	if (sa.st_mode != sb.st_mode || sa.st_uid != sb.st_uid || sa.st_gid != sb.st_gid)
		fail_msg("%s: mode %o owner %u:%u, the other %o %u:%u", a, sa.st_mode, sa.st_uid, sa.st_gid, sb.st_mode,
			 sb.st_uid, sb.st_gid);
	if (sa.st_mtim.tv_sec != sb.st_mtim.tv_sec || sa.st_mtim.tv_nsec != sb.st_mtim.tv_nsec)
		fail_msg("%s: time %lld.%09ld, the other %lld.%09ld", a, (long long)sa.st_mtim.tv_sec, sa.st_mtim.tv_nsec,
			 (long long)sb.st_mtim.tv_sec, sb.st_mtim.tv_nsec);
	compare_xattrs(a, b);
	if (S_ISDIR(sa.st_mode)) {
		compare_children(a, b, pairs);
		return;
	}
	if (sa.st_nlink != sb.st_nlink || sa.st_size != sb.st_size || sa.st_rdev != sb.st_rdev)
		fail_msg("%s: links %lu size %ld, the other %lu %ld", a, (unsigned long)sa.st_nlink, (long)sa.st_size,
			 (unsigned long)sb.st_nlink, (long)sb.st_size);
	compare_inode(pairs, &sa, &sb, a);
	if (S_ISLNK(sa.st_mode)) {
		assert_true(readlink(a, la, 4096) > 0 && readlink(b, lb, 4096) > 0);
		assert_string_equal(la, lb);
	} else if (S_ISREG(sa.st_mode)) {
		compare_content(a, b);
		if (sb.st_blocks > sa.st_blocks && settled_blocks(b) > settled_blocks(a))
			fail_msg("%s: %ld blocks, the other %ld: holes were filled", a, (long)sa.st_blocks, (long)sb.st_blocks);
	}
}

static inline void compare_trees(const char *a, const char *b)
{
	struct pairs *pairs = calloc(1, sizeof(*pairs));

	compare(a, b, pairs);
	free(pairs);
}

#endif
