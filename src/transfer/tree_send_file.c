/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "migration/reason.h"
#include "tree_mapped.h"
#include "tree_walk.h"

/* Of what is sent while frozen nothing is recorded: no record has this number. */
#define GROUP_LAST UINT32_MAX

static bool unchanged(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* --- several names of one file --- */

/* The other names become links to this one. */
static int meet(struct tree_walk *w, struct hardlink *l, uint32_t group, uint64_t size, int64_t ctime_ns, uint8_t flags, struct error *err)
{
	int r;

	if (!l)
		return 0;
	l->group = group;
	l->size = size;
	l->ctime_ns = ctime_ns;
	l->flags = flags;
	r = hardlinks_set(&w->links, l, w->path);
	if (r == -E2BIG)
		return error_reason(err, -ENOTSUP, REASON_UnsupportedFile, "%.300s in %s: too many files have several names", w->path, w->from->tree);
	return r < 0 ? error_set(err, r, "out of memory for hard links") : 0;
}

/* While the pod runs the first name may have become another file since, here and at the other side. */
static bool still_there(const struct tree_walk *w, const struct hardlink *l)
{
	const struct known *first;

	if (!w->from->running)
		return true;
	first = known_by_path(w->from->record, l->path);
	return first && S_ISREG(first->mode) && first->group == l->group && first->ino == l->ino;
}

static int send_link(struct tree_walk *w, struct tree_place *p, const struct hardlink *l, const struct stat *st, struct error *err)
{
	struct tree_entry e = { .type = TREE_HARDLINK, .path = w->path, .link = l->path };
	struct known *k = p->known;
	int r = 0;

	if (!k || !S_ISREG(k->mode) || k->group != l->group) {
		if (!tree_walk_may_send(w, p, st))
			return 0;
		k = p->known;
		r = tree_walk_entry(w, &e, NULL, err);
		if (r == 0 && w->from->running) {
			tree_walk_note(w, k, st, true);
			known_forget_digests(w->from->record, k);
			k->group = l->group;
		}
	}
	/* Of what was read under the first name. */
	if (r == 0 && w->from->running) {
		if (!k->digests)
			k->size = l->size;
		k->ctime_ns = l->ctime_ns;
		k->flags = l->flags;
	}
	return r;
}

/* --- the file itself --- */

/*
 * A write that has begun sets the time first and its data after, which can take long.  It holds the inode's lock meanwhile: SEEK_DATA waits for it in ext4 and btrfs
 * (ext4_llseek, find_desired_extent), a read in xfs (xfs_file_buffered_read).  What begins later has a later time than the walk.
 */
static int wait_for_writers(struct tree_walk *w, int fd, struct stat *st, struct error *err)
{
	char byte;

	if (!w->from->running)
		return 0;
	if (lseek(fd, 0, SEEK_DATA) < 0 && errno != ENXIO && errno != EINVAL && errno != EOPNOTSUPP)
		return error_errno(err, "seek in %.300s", w->path);
	if (pread(fd, &byte, 1, 0) < 0)
		return error_errno(err, "read %.300s", w->path);
	return fstat(fd, st) < 0 ? error_errno(err, "stat %.300s", w->path) : 0;
}

/* Whether the other side has the file and gets only what differs; what it will have, block by block, is then kept in p->known. */
static bool prepare_record(struct tree_walk *w, struct tree_place *p, const struct stat *st)
{
	struct tree_record *r = w->from->record;
	struct known *k = p->known;
	bool large = st->st_size >= (r && r->compares ? 1 : TREE_LARGE);
	bool patch = large && k && S_ISREG(k->mode) && k->ino == st->st_ino && k->digests && known_resize(r, k, (uint64_t)st->st_size);

	if (!w->from->running || patch)
		return patch;
	known_forget_digests(r, k);
	k->size = 0;
	if (large)
		known_resize(r, k, (uint64_t)st->st_size);
	k->group = ++r->groups;
	return false;
}

/* From its entry on the other side has this file, whatever becomes of its content. */
static void note_entry(struct tree_walk *w, struct known *k, const struct stat *st, bool xattrs)
{
	known_drop_children(w->from->record, k);
	k->ino = st->st_ino;
	k->mode = st->st_mode;
	k->flags = xattrs ? KNOWN_XATTRS : 0;
}

/* same: the other side has all but the content.  It then gets the entry only when some of that differs. */
static int send_all(struct tree_walk *w, struct tree_place *p, int fd, const struct stat *st, bool same, bool *ret_patch, struct error *err)
{
	bool running = w->from->running, has_xattrs;
	struct tree_entry e;
	cJSON *xattrs = NULL;
	char proc[64];
	int r;

	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	r = tree_xattrs_read(proc, w->from->ids, &xattrs, err);
	if (r < 0)
		return error_wrap(err, r, "%.300s", w->path);
	/* Only now: the record must not tell of a file that was not sent. */
	*ret_patch = prepare_record(w, p, st);
	tree_walk_attributes(w, st, &e);
	e.type = TREE_FILE;
	e.size = (uint64_t)st->st_size;
	e.patch = *ret_patch;
	has_xattrs = xattrs;
	if (same && *ret_patch && !xattrs && !(p->known->flags & KNOWN_XATTRS))
		w->late = &e;
	else
		r = tree_walk_entry(w, &e, xattrs, err);
	if (r == 0 && running)
		note_entry(w, p->known, st, has_xattrs);
	if (r == 0)
		r = tree_content_send(w, fd, e.size, running || *ret_patch ? p->known : NULL, *ret_patch, err);
	w->late = NULL;
	return r;
}

static int send_file(struct tree_walk *w, struct tree_place *p, int fd, const struct stat *st, struct hardlink *l, struct error *err)
{
	bool patch = false, whole, same = tree_walk_same_entry(p->known, st);
	struct stat after;
	struct known *k;
	int r;

	if (!tree_walk_may_send(w, p, st))
		return 0;
	k = p->known;
	r = send_all(w, p, fd, st, same, &patch, err);
	/* Some of it may have been sent. */
	if (r < 0 && w->from->running)
		known_forget_digests(w->from->record, k);
	if (r == 0 && fstat(fd, &after) < 0)
		return error_errno(err, "stat %.300s", w->path);
	if (r < 0)
		return r;
	whole = unchanged(st, &after);
	if (!w->from->running)
		return whole ? meet(w, l, patch ? k->group : GROUP_LAST, (uint64_t)st->st_size, 0, 0, err) :
			       error_set(err, -EIO, "%.300s changed while it was read: something outside the pod writes to it", w->path);
	tree_walk_note(w, k, st, whole && !tree_mapped_has(w->from->mapped, w->from->overlay, p->name, st));
	return meet(w, l, k->group, k->size, k->ctime_ns, k->flags, err);
}

int tree_walk_file(struct tree_walk *w, struct tree_place *p, const struct stat *seen, struct error *err)
{
	cleanup_close int fd = -1;
	struct hardlink *l = NULL;
	struct stat st = *seen;
	enum overlay_mark mark;
	int r;

	if (st.st_nlink > 1) {
		l = hardlinks_get(&w->links, st.st_dev, st.st_ino);
		if (!l)
			return error_set(err, -ENOMEM, "out of memory for hard links");
		if (l->path && still_there(w, l))
			return send_link(w, p, l, &st, err);
	}
	if (tree_walk_same(w, p, &st))
		return meet(w, l, p->known->group, p->known->size, p->known->ctime_ns, p->known->flags, err);
	r = tree_walk_open(w, p, O_RDONLY | O_NONBLOCK, &st, &fd, err);
	if (r == 0)
		r = wait_for_writers(w, fd, &st, err);
	if (r == 0)
		r = tree_walk_mark(w, fd, &st, &mark, err);
	if (r < 0)
		return r;
	return mark == WHITEOUT ? tree_walk_whiteout(w, p, err) : send_file(w, p, fd, &st, l, err);
}
