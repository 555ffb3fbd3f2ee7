/* SPDX-License-Identifier: Apache-2.0 */
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
#include "migration/reason.h"
#include "transfer/tree.h"
#include "tree_mapped.h"
#include "tree_walk.h"

#define ALIVE_EACH 256u         /* entries */

static int fail_errno(const struct tree_walk *w, const char *what, struct error *err)
{
	return error_errno(err, "%s %.300s", what, w->path);
}

static int unsupported(const struct tree_walk *w, const char *why, struct error *err)
{
	return error_reason(err, -ENOTSUP, REASON_UnsupportedFile, "%.300s in %s: %s", w->path, w->from->tree, why);
}

int tree_walk_entry(struct tree_walk *w, const struct tree_entry *e, cJSON *xattrs, struct error *err)
{
	cleanup_json cJSON *j = NULL;
	int r = tree_entry_to_json(e, w->from->tree, xattrs, &j, err);

	if (r < 0)
		return r;
	w->stats->entries++;
	if (w->from->running)
		w->from->record->ahead->entries++;
	r = wire_send_json(w->from->wire, WIRE_FILE, w->from->container, j, err);
	w->sent_us = clock_mono_us();
	return r == -ENOSPC ? unsupported(w, "its extended attributes are too large", err) : r;
}

int tree_walk_late(struct tree_walk *w, struct error *err)
{
	const struct tree_entry *e = w->late;

	w->late = NULL;
	return e ? tree_walk_entry(w, e, NULL, err) : 0;
}

int tree_walk_alive(struct tree_walk *w, struct error *err)
{
	return wire_send_alive(w->from->wire, &w->sent_us, err);
}

void tree_walk_attributes(const struct tree_walk *w, const struct stat *st, struct tree_entry *e)
{
	*e = (struct tree_entry){
		.path = w->path,
		.mode = st->st_mode & 07777,
		.uid = uid_inside(w->from->ids, st->st_uid),
		.gid = gid_inside(w->from->ids, st->st_gid),
		.mtime = st->st_mtim,
	};
}

/* ---- what the other side has ---- */

static int64_t ctime_ns(const struct stat *st)
{
	return (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

bool tree_walk_same_entry(const struct known *k, const struct stat *st)
{
	return k && (k->flags & KNOWN_OLD) && k->ino == st->st_ino && k->ctime_ns == ctime_ns(st) && k->mode == st->st_mode &&
	       (!S_ISREG(st->st_mode) || k->size == (uint64_t)st->st_size);
}

bool tree_walk_same(const struct tree_walk *w, const struct tree_place *p, const struct stat *st)
{
	const struct known *k = p->known;

	if (!tree_walk_same_entry(k, st))
		return false;
	if (!S_ISREG(st->st_mode))
		return true;
	/* Without digests there is nothing to compare it with, and it would go whole each time: once more is enough, while frozen. */
	if (w->from->record->compares && st->st_size > 0 && (!w->from->running || k->digests))
		return false;
	return (k->flags & KNOWN_CONTENT) && !tree_mapped_has(w->from->mapped, w->from->overlay, p->name, st);
}

static uint64_t bytes_on_disk(const struct stat *st)
{
	uint64_t used = (uint64_t)st->st_blocks * 512, size = (uint64_t)st->st_size;

	return !S_ISREG(st->st_mode) ? 0 : used < size ? used : size;
}

bool tree_walk_may_send(struct tree_walk *w, struct tree_place *p, const struct stat *st)
{
	struct tree_record *r = w->from->record;

	if (!w->from->running) {
		w->full = st && r && !known_take_room(r, p->known, st, tree_walk_same_entry(p->known, st));
		return !w->full;
	}
	if (r->ahead->entries >= r->ahead->entries_max || (st && r->ahead->bytes + bytes_on_disk(st) > r->ahead->bytes_max))
		return false;
	if (!p->known)
		p->known = known_add(r, p->parent, p->name);
	if (!p->known || (st && !known_take_room(r, p->known, st, tree_walk_same_entry(p->known, st))))
		return false;
	p->known->flags &= (uint8_t)~(KNOWN_OLD | KNOWN_CONTENT);
	return true;
}

void tree_walk_note(struct tree_walk *w, struct known *k, const struct stat *st, bool content)
{
	bool old = ctime_ns(st) < tree_mapped_began(w->from->mapped);

	if (!S_ISDIR(st->st_mode))
		known_drop_children(w->from->record, k);
	if (!S_ISREG(st->st_mode))
		known_forget_digests(w->from->record, k);
	if (!k->digests)
		k->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
	k->ino = st->st_ino;
	k->ctime_ns = ctime_ns(st);
	k->mode = st->st_mode;
	k->flags = (uint8_t)((old ? KNOWN_OLD : 0) | (content ? KNOWN_CONTENT : 0) | (S_ISDIR(st->st_mode) ? k->flags & KNOWN_OPAQUE : k->flags & KNOWN_XATTRS));
}

/* ---- the overlay's own marks ---- */

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
int tree_walk_mark(struct tree_walk *w, int fd, const struct stat *st, enum overlay_mark *ret, struct error *err)
{
	char first, proc[64];
	int r = 0;

	*ret = PLAIN;
	if (!w->from->overlay)
		return 0;
	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
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

/* Many whiteouts are one inode (fs/overlayfs/dir.c, ovl_whiteout): that it is one is all there is to know. */
int tree_walk_whiteout(struct tree_walk *w, struct tree_place *p, struct error *err)
{
	static const struct stat nothing = { .st_mode = S_IFCHR };
	struct tree_entry e = { .type = TREE_WHITEOUT, .path = w->path };
	int r;

	if ((p->known && S_ISCHR(p->known->mode)) || !tree_walk_may_send(w, p, NULL))
		return 0;
	r = tree_walk_entry(w, &e, NULL, err);
	if (r == 0 && w->from->running)
		tree_walk_note(w, p->known, &nothing, false);
	return r;
}

/* ---- one entry of each type ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT);
}

int tree_walk_open(struct tree_walk *w, const struct tree_place *p, int flags, struct stat *st, int *ret, struct error *err)
{
	cleanup_close int fd = openat(p->dir, p->name, flags | O_NOFOLLOW | O_CLOEXEC);
	struct stat now;

	if (fd < 0 || fstat(fd, &now) < 0)
		return fail_errno(w, "open", err);
	if (!same_file(st, &now))
		return error_set(err, w->from->running ? -ESTALE : -EIO, "%.300s was replaced while it was read", w->path);
	*st = now;
	*ret = take_fd(&fd);
	return 0;
}

static int send_other(struct tree_walk *w, struct tree_place *p, const struct stat *st, const struct tree_entry *e, struct error *err)
{
	int r;

	if (!tree_walk_may_send(w, p, st))
		return 0;
	r = tree_walk_entry(w, e, NULL, err);
	if (r == 0 && w->from->running)
		tree_walk_note(w, p->known, st, true);
	return r;
}

static int send_symlink(struct tree_walk *w, struct tree_place *p, const struct stat *st, struct error *err)
{
	char target[TREE_PATH_MAX + 1];
	struct tree_entry e;
	ssize_t n;

	if (tree_walk_same(w, p, st))
		return 0;
	n = readlinkat(p->dir, p->name, target, sizeof(target));
	if (n < 0 && errno == EINVAL)
		return error_set(err, -ESTALE, "%.300s was replaced while it was read", w->path);
	if (n < 0)
		return fail_errno(w, "read the link", err);
	if (n == 0 || n >= (ssize_t)sizeof(target))
		return unsupported(w, "a symbolic link without target or with one too long", err);
	target[n] = '\0';
	tree_walk_attributes(w, st, &e);
	e.type = TREE_SYMLINK;
	e.link = target;
	return send_other(w, p, st, &e, err);
}

static int send_node(struct tree_walk *w, struct tree_place *p, const struct stat *st, enum tree_type type, struct error *err)
{
	struct tree_entry e;

	if (tree_walk_same(w, p, st))
		return 0;
	tree_walk_attributes(w, st, &e);
	e.type = type;
	return send_other(w, p, st, &e, err);
}

static int send_folder(struct tree_walk *w, struct tree_place *p, int fd, const struct stat *st, unsigned depth, struct error *err);

static int send_subfolder(struct tree_walk *w, struct tree_place *p, struct stat *st, unsigned depth, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	if (st->st_dev != w->dev)
		return unsupported(w, "another file system is mounted there", err);
	r = tree_walk_open(w, p, O_RDONLY | O_DIRECTORY, st, &fd, err);
	return r < 0 ? r : send_folder(w, p, take_fd(&fd), st, depth, err);
}

static int send_strictly(struct tree_walk *w, struct tree_place *p, unsigned depth, struct error *err)
{
	struct stat st;

	if (depth > TREE_DEPTH_MAX)
		return unsupported(w, "nested in too many folders", err);
	if (fstatat(p->dir, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_errno(w, "stat", err);
	if (p->known)
		p->known->walk = w->from->record->walk;
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
		return send_subfolder(w, p, &st, depth, err);
	case S_IFREG:
		return tree_walk_file(w, p, &st, err);
	case S_IFLNK:
		return send_symlink(w, p, &st, err);
	case S_IFIFO:
		return send_node(w, p, &st, TREE_FIFO, err);
	case S_IFSOCK:
		return send_node(w, p, &st, TREE_SOCKET, err);
	case S_IFCHR:
		if (w->from->overlay && st.st_rdev == makedev(0, 0))
			return tree_walk_whiteout(w, p, err);
		return unsupported(w, "a device node cannot be moved; remove it", err);
	default:
		return unsupported(w, "a device node cannot be moved; remove it", err);
	}
}

/* It has gone or became something else between two looks; what was sent of it is in the record as nothing that is known. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ESTALE || r == -ENOTDIR || r == -ELOOP || r == -ENXIO || r == -ENODATA;
}

static int send_one(struct tree_walk *w, struct tree_place *p, unsigned depth, struct error *err)
{
	struct error why;
	int r;

	if (!w->from->running) {
		r = send_strictly(w, p, depth, err);
		/* Nothing is told of it: it is no error, since another walk follows (forget_all). */
		return r == 0 && w->full ? -EDQUOT : r;
	}
	why.reason = REASON_NONE;
	why.message[0] = '\0';
	r = send_strictly(w, p, depth, &why);
	if (r < 0 && is_gone(r))
		return 0;
	if (r < 0 && err)
		*err = why;
	return r;
}

/* Appends a name to the path at hand; the caller cuts it off again. */
static int push_name(struct tree_walk *w, const char *name, struct error *err)
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
 * (criu/mount.c, open_mountpoint).  The pod is frozen: it comes and goes under our eyes, and is none of its files.  Anything else of such a name is.
 */
static bool made_by_criu(const struct dirent *e, unsigned depth)
{
	static const char prefix[] = "cr-tmpfs.";

	return depth <= 1 && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) && strncmp(e->d_name, prefix, sizeof(prefix) - 1) == 0 &&
	       strlen(e->d_name) == sizeof(prefix) - 1 + 6;
}

/* What was sent of this folder, and was not met in it any more. */
static int send_gone(struct tree_walk *w, struct known *k, struct error *err)
{
	struct tree_record *record = w->from->record;
	struct known **at = k ? &k->child : NULL;
	size_t len = w->path_len;
	int r = 0;

	while (r == 0 && at && *at) {
		struct tree_entry e = { .type = TREE_WHITEOUT, .path = w->path };
		bool gone = (*at)->walk != record->walk;

		if (gone && !S_ISCHR((*at)->mode)) {
			r = push_name(w, (*at)->name, err);
			if (r == 0)
				r = tree_walk_entry(w, &e, NULL, err);
			w->path_len = len;
			w->path[len] = '\0';
		}
		if (r == 0 && gone && (w->from->running || record->compares))
			known_drop(record, at);
		else
			at = &(*at)->sibling;
	}
	return r;
}

/* Where there may be little room (tree_record.room) what has gone makes place first for what has come. */
static int send_gone_first(struct tree_walk *w, DIR *d, struct known *k, struct error *err)
{
	struct tree_record *record = w->from->record;
	struct dirent *e;

	for (errno = 0; (e = readdir(d)); errno = 0) {
		struct known *met = known_find(record, k, e->d_name);

		if (met)
			met->walk = record->walk;
	}
	if (errno)
		return fail_errno(w, "read folder", err);
	rewinddir(d);
	return send_gone(w, k, err);
}

static int send_children(struct tree_walk *w, DIR *d, struct known *k, unsigned depth, struct error *err)
{
	bool gone_first = k && k->child && w->from->record->compares;
	int r = gone_first ? send_gone_first(w, d, k, err) : 0;
	size_t len = w->path_len;
	struct dirent *e;

	if (r < 0)
		return r;
	for (errno = 0; (e = readdir(d)); errno = 0) {
		struct tree_place p = { .dir = dirfd(d), .name = e->d_name, .parent = k };

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || made_by_criu(e, depth))
			continue;
		p.known = known_find(w->from->record, k, e->d_name);
		r = push_name(w, e->d_name, err);
		if (r == 0 && w->from->record && ++w->looked_at % ALIVE_EACH == 0)
			r = tree_walk_alive(w, err);
		if (r == 0)
			r = send_one(w, &p, depth + 1, err);
		if (r < 0)
			return r;
		w->path_len = len;
		w->path[len] = '\0';
	}
	if (errno)
		return fail_errno(w, "read folder", err);
	return gone_first ? 0 : send_gone(w, k, err);
}

/*
 * The folder's own entry comes first, its time is set last by the receiver.  Sent as opaque it is emptied there: only when it is new, or has become opaque,
 * and then nothing is known of what is in it.  *ret: what is.
 */
static int send_folder_entry(struct tree_walk *w, struct tree_place *p, int fd, const struct stat *st, unsigned depth, struct known **ret, struct error *err)
{
	struct known *k = p->known && S_ISDIR(p->known->mode) ? p->known : NULL;
	bool was = k && k->ino == st->st_ino && (k->flags & KNOWN_OPAQUE), running = w->from->running;
	enum overlay_mark mark = PLAIN;
	struct tree_entry e;
	cJSON *xattrs = NULL;
	char proc[64];
	int r = depth ? tree_walk_mark(w, fd, st, &mark, err) : 0;

	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (r == 0)
		r = tree_xattrs_read(proc, w->from->ids, &xattrs, err);
	if (r < 0)
		return r;
	tree_walk_attributes(w, st, &e);
	e.type = TREE_FOLDER;
	e.opaque = mark == OPAQUE && !was;
	if (depth == 0)
		e.path = ".";
	r = tree_walk_entry(w, &e, xattrs, err);
	if (r == 0 && running && e.opaque)
		known_drop_children(w->from->record, p->known);
	if (r == 0 && running) {
		tree_walk_note(w, p->known, st, false);
		p->known->flags = (uint8_t)((p->known->flags & ~KNOWN_OPAQUE) | (mark == OPAQUE ? KNOWN_OPAQUE : 0));
	}
	*ret = running ? p->known : e.opaque ? NULL : k;
	return r;
}

/* Takes fd. */
static int send_folder(struct tree_walk *w, struct tree_place *p, int fd, const struct stat *st, unsigned depth, struct error *err)
{
	cleanup_closedir DIR *d = fdopendir(fd);
	struct known *k = p->known;

	if (!d) {
		close(fd);
		return fail_errno(w, "open folder", err);
	}
	if (!tree_walk_same(w, p, st)) {
		int r = tree_walk_may_send(w, p, st) ? send_folder_entry(w, p, fd, st, depth, &k, err) : -ESTALE;

		if (r < 0)
			return r;
	}
	return send_children(w, d, k, depth, err);
}

static int walk_root(struct tree_walk *w, struct error *err)
{
	struct tree_place p = { .dir = w->from->dir_fd, .name = "." };
	cleanup_close int fd = openat(p.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "open the folder of %s", w->from->tree);
	w->dev = st.st_dev;
	if (w->from->record) {
		w->from->record->walk++;
		p.known = w->from->record->root;
	}
	return send_folder(w, &p, take_fd(&fd), &st, 0, err);
}

/* The folder at the other side becomes empty, and nothing is known of it any more. */
static int forget_all(struct tree_walk *w, struct error *err)
{
	struct tree_record *record = w->from->record;

	w->full = false;
	w->path_len = 0;
	w->path[0] = '\0';
	hardlinks_free(&w->links);
	w->links = (struct hardlinks){ 0 };
	record->walk++;
	record->room = UINT64_MAX;
	return send_gone(w, record->root, err);
}

int tree_send(const struct tree_source *from, struct tree_stats *stats, struct error *err)
{
	struct tree_walk *w = calloc(1, sizeof(*w));
	int64_t began = clock_mono_us();
	int r;

	if (!w || !(w->chunk = malloc(WIRE_DATA_MAX))) {
		free(w);
		return error_set(err, -ENOMEM, "out of memory for files");
	}
	w->from = from;
	w->stats = stats;
	w->sent_us = began;
	r = walk_root(w, err);
	if (w->full) {
		r = forget_all(w, err);
		if (r == 0)
			r = walk_root(w, err);
	}
	/* Nothing more may go ahead. */
	if (r == -ESTALE && from->running)
		r = 0;
	hardlinks_free(&w->links);
	free(w->chunk);
	free(w);
	stats->micros += clock_mono_us() - began;
	return r;
}
