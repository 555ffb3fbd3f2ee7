/* SPDX-License-Identifier: Apache-2.0 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "hardlinks.h"
#include "migration/reason.h"
#include "transfer/tree.h"
#include "tree_entry.h"

struct walk {
	struct wire *wire;
	uint16_t container;
	const char *tree;
	bool overlay;
	dev_t dev;                      /* of the root: other file systems are not entered */
	struct tree_stats *stats;
	struct hardlinks links;
	char path[TREE_PATH_MAX + 1];   /* of the entry at hand */
	size_t path_len;
	char *chunk;                    /* WIRE_DATA_MAX bytes */
};

static int fail_errno(const struct walk *w, const char *what, struct error *err)
{
	return error_errno(err, "%s %.300s", what, w->path);
}

static int unsupported(const struct walk *w, const char *why, struct error *err)
{
	return error_reason(err, -ENOTSUP, REASON_UnsupportedFile, "%.300s in %s: %s", w->path, w->tree, why);
}

static int send_entry(struct walk *w, const struct tree_entry *e, cJSON *xattrs, struct error *err)
{
	cleanup_json cJSON *j = NULL;
	int r = tree_entry_to_json(e, w->tree, xattrs, &j, err);

	if (r < 0)
		return r;
	w->stats->entries++;
	r = wire_send_json(w->wire, WIRE_FILE, w->container, j, err);
	return r == -ENOSPC ? unsupported(w, "its extended attributes are too large", err) : r;
}

static void attributes(const struct walk *w, const struct stat *st, struct tree_entry *e)
{
	*e = (struct tree_entry){
		.path = w->path,
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim,
	};
}

/* ---- the overlay's own marks (Documentation/filesystems/overlayfs.rst) ---- */

enum overlay_mark { PLAIN, OPAQUE, WHITEOUT };

static int has_mark(const char *proc, const char *name, char *first)
{
	char attribute[64];

	*first = '\0';
	path_format(attribute, sizeof(attribute), "trusted.overlay.%s", name);
	return tree_xattr_first(proc, attribute, first);
}

/*
 * What an upper folder says by attributes.  A folder renamed without its content (redirect) and a file of which only the metadata
 * was copied up (metacopy) need the image below, which is not sent: containerd mounts without both.
 */
static int overlay_mark(struct walk *w, const char *proc, const struct stat *st, enum overlay_mark *ret, struct error *err)
{
	char first;
	int r = 0;

	*ret = PLAIN;
	if (!w->overlay)
		return 0;
	if (has_mark(proc, "redirect", &first) > 0 || has_mark(proc, "metacopy", &first) > 0)
		return unsupported(w, "overlayfs with redirect_dir or metacopy", err);
	if (S_ISDIR(st->st_mode)) {
		r = has_mark(proc, "opaque", &first);
		*ret = r > 0 && first == 'y' ? OPAQUE : PLAIN;
	} else if (S_ISREG(st->st_mode) && st->st_size == 0) {
		r = has_mark(proc, "whiteout", &first);
		*ret = r > 0 ? WHITEOUT : PLAIN;
	}
	return r < 0 ? fail_errno(w, "read overlay attributes of", err) : 0;
}

static int send_whiteout(struct walk *w, struct error *err)
{
	struct tree_entry e = { .type = TREE_WHITEOUT, .path = w->path };

	return send_entry(w, &e, NULL, err);
}

/* ---- files ---- */

static int send_extent(struct walk *w, int fd, uint64_t start, uint64_t end, struct error *err)
{
	while (start < end) {
		size_t want = end - start < WIRE_DATA_MAX ? (size_t)(end - start) : WIRE_DATA_MAX;
		ssize_t n = pread(fd, w->chunk, want, (off_t)start);
		uint64_t offset = htole64(start);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(w, "read", err);
		if (n == 0)
			return error_set(err, -EIO, "%.300s became shorter while it was read", w->path);
		r = wire_send(w->wire, WIRE_DATA, w->container, &offset, sizeof(offset), w->chunk, (size_t)n, err);
		if (r < 0)
			return r;
		start += (uint64_t)n;
		w->stats->bytes += (uint64_t)n;
	}
	return 0;
}

/* Data only, no holes: lseek(2) SEEK_DATA, which file systems without holes answer with the whole file. */
static int send_content(struct walk *w, int fd, uint64_t size, struct error *err)
{
	uint64_t at = 0;

	while (at < size) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)         /* a hole up to the end */
			return 0;
		if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
			return fail_errno(w, "seek in", err);
		if (data < 0)
			return send_extent(w, fd, at, size, err);
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return fail_errno(w, "seek in", err);
		r = send_extent(w, fd, (uint64_t)data, (uint64_t)hole < size ? (uint64_t)hole : size, err);
		if (r < 0)
			return r;
		at = (uint64_t)hole;
	}
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT);
}

static bool unchanged(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int send_file(struct walk *w, int fd, const struct stat *st, struct error *err)
{
	struct tree_entry e;
	cJSON *xattrs = NULL;
	struct stat after;
	char proc[64];
	int r;

	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	r = tree_xattrs_read(proc, &xattrs, err);
	if (r < 0)
		return error_wrap(err, r, "%.300s", w->path);
	attributes(w, st, &e);
	e.type = TREE_FILE;
	e.size = (uint64_t)st->st_size;
	r = send_entry(w, &e, xattrs, err);
	if (r == 0)
		r = send_content(w, fd, e.size, err);
	if (r == 0 && fstat(fd, &after) < 0)
		return fail_errno(w, "stat", err);
	if (r == 0 && !unchanged(st, &after))
		return error_set(err, -EIO, "%.300s changed while it was read: something outside the pod writes to it", w->path);
	return r;
}

/* Everything opened is compared with what was seen by name: a name that changes its meaning in between is an error. */
static int open_entry(struct walk *w, int dir, const char *name, int flags, const struct stat *st, int *ret, struct error *err)
{
	cleanup_close int fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC);
	struct stat now;

	if (fd < 0 || fstat(fd, &now) < 0)
		return fail_errno(w, "open", err);
	if (!same_file(st, &now))
		return error_set(err, -EIO, "%.300s was replaced while it was read", w->path);
	*ret = take_fd(&fd);
	return 0;
}

static int send_regular(struct walk *w, int dir, const char *name, const struct stat *st, struct error *err)
{
	cleanup_close int fd = -1;
	enum overlay_mark mark;
	char proc[64];
	int r;

	if (st->st_nlink > 1) {
		const char *first = hardlinks_seen(&w->links, st->st_dev, st->st_ino, w->path, &r);
		struct tree_entry e = { .type = TREE_HARDLINK, .path = w->path, .link = first };

		if (r < 0)
			return error_set(err, r, "out of memory for hard links");
		if (first)
			return send_entry(w, &e, NULL, err);
	}
	r = open_entry(w, dir, name, O_RDONLY | O_NONBLOCK, st, &fd, err);
	if (r < 0)
		return r;
	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	r = overlay_mark(w, proc, st, &mark, err);
	if (r < 0)
		return r;
	return mark == WHITEOUT ? send_whiteout(w, err) : send_file(w, fd, st, err);
}

/* ---- everything else ---- */

static int send_symlink(struct walk *w, int dir, const char *name, const struct stat *st, struct error *err)
{
	char target[TREE_PATH_MAX + 1];
	ssize_t n = readlinkat(dir, name, target, sizeof(target));
	struct tree_entry e;

	if (n < 0)
		return fail_errno(w, "read the link", err);
	if (n == 0 || n >= (ssize_t)sizeof(target))
		return unsupported(w, "a symbolic link without target or with one too long", err);
	target[n] = '\0';
	attributes(w, st, &e);
	e.type = TREE_SYMLINK;
	e.link = target;
	return send_entry(w, &e, NULL, err);
}

static int send_node(struct walk *w, const struct stat *st, enum tree_type type, struct error *err)
{
	struct tree_entry e;

	attributes(w, st, &e);
	e.type = type;
	return send_entry(w, &e, NULL, err);
}

static int send_folder(struct walk *w, int fd, const struct stat *st, unsigned depth, struct error *err);

static int send_subfolder(struct walk *w, int dir, const char *name, const struct stat *st, unsigned depth, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	if (st->st_dev != w->dev)
		return unsupported(w, "another file system is mounted there", err);
	r = open_entry(w, dir, name, O_RDONLY | O_DIRECTORY, st, &fd, err);
	return r < 0 ? r : send_folder(w, take_fd(&fd), st, depth, err);
}

static int send_one(struct walk *w, int dir, const char *name, unsigned depth, struct error *err)
{
	struct stat st;

	if (depth > TREE_DEPTH_MAX)
		return unsupported(w, "nested in too many folders", err);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(w, "stat", err);
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return send_subfolder(w, dir, name, &st, depth, err);
	case S_IFREG:
		return send_regular(w, dir, name, &st, err);
	case S_IFLNK:
		return send_symlink(w, dir, name, &st, err);
	case S_IFIFO:
		return send_node(w, &st, TREE_FIFO, err);
	case S_IFSOCK:
		return send_node(w, &st, TREE_SOCKET, err);
	case S_IFCHR:
		if (w->overlay && st.st_rdev == makedev(0, 0))
			return send_whiteout(w, err);
		return unsupported(w, "a device node cannot be moved; remove it", err);
	default:
		return unsupported(w, "a device node cannot be moved; remove it", err);
	}
}

/* Appends a name to the path at hand; the caller cuts it off again. */
static int push_name(struct walk *w, const char *name, struct error *err)
{
	size_t len = strlen(name), slash = w->path_len > 0;

	if (w->path_len + slash + len > TREE_PATH_MAX) {
		w->path[w->path_len] = '\0';
		return unsupported(w, "a path below it is longer than 4095 bytes", err);
	}
	if (slash)
		w->path[w->path_len++] = '/';
	memcpy(w->path + w->path_len, name, len + 1);
	w->path_len += len;
	return 0;
}

/*
 * While CRIU archives a tmpfs that something is mounted on, it has a folder of its own for a moment: /tmp/cr-tmpfs.XXXXXX in the container, or at its root
 * (criu/mount.c, open_mountpoint).  The pod is frozen: it comes and goes under our eyes, and is none of its files.
 */
static bool made_by_criu(const char *name)
{
	static const char prefix[] = "cr-tmpfs.";

	return strncmp(name, prefix, sizeof(prefix) - 1) == 0 && strlen(name) == sizeof(prefix) - 1 + 6;
}

static int send_children(struct walk *w, DIR *d, unsigned depth, struct error *err)
{
	size_t len = w->path_len;
	struct dirent *e;

	for (errno = 0; (e = readdir(d)); errno = 0) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || made_by_criu(e->d_name))
			continue;
		r = push_name(w, e->d_name, err);
		if (r == 0)
			r = send_one(w, dirfd(d), e->d_name, depth + 1, err);
		if (r < 0)
			return r;
		w->path_len = len;
		w->path[len] = '\0';
	}
	return errno ? fail_errno(w, "read folder", err) : 0;
}

/* The folder's own entry comes first, its time is set last by the receiver.  Takes fd. */
static int send_folder(struct walk *w, int fd, const struct stat *st, unsigned depth, struct error *err)
{
	cleanup_closedir DIR *d = fdopendir(fd);
	enum overlay_mark mark = PLAIN;
	struct tree_entry e;
	cJSON *xattrs = NULL;
	char proc[64];
	int r;

	if (!d) {
		close(fd);
		return fail_errno(w, "open folder", err);
	}
	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	r = depth ? overlay_mark(w, proc, st, &mark, err) : 0;
	if (r == 0)
		r = tree_xattrs_read(proc, &xattrs, err);
	if (r < 0)
		return r;
	attributes(w, st, &e);
	e.type = TREE_FOLDER;
	e.opaque = mark == OPAQUE;
	if (depth == 0)
		e.path = ".";
	r = send_entry(w, &e, xattrs, err);
	return r < 0 ? r : send_children(w, d, depth, err);
}

int tree_send(struct wire *w, uint16_t container, const char *tree, int dir_fd, bool overlay, struct tree_stats *stats,
	      struct error *err)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	int64_t began = clock_mono_us();
	struct stat st;
	int fd, r = 0;

	if (!walk || !(walk->chunk = malloc(WIRE_DATA_MAX))) {
		free(walk);
		return error_set(err, -ENOMEM, "out of memory for files");
	}
	walk->wire = w;
	walk->container = container;
	walk->tree = tree;
	walk->overlay = overlay;
	walk->stats = stats;
	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = error_errno(err, "open the folder of %s", tree);
		if (fd >= 0)
			close(fd);
	} else {
		walk->dev = st.st_dev;
		r = send_folder(walk, fd, &st, 0, err);
	}
	hardlinks_free(&walk->links);
	free(walk->chunk);
	free(walk);
	stats->micros += clock_mono_us() - began;
	return r;
}
