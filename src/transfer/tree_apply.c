/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/reason.h"
#include "transfer/tree.h"
#include "tree_entry.h"
#include "tree_folders.h"

struct tree_apply {
	int dir_fd;
	struct id_range ids;
	struct tree_budget *budget;
	struct tree_folders folders;
	/* The file that DATA goes to; attributes follow when the next entry comes, since writing drops capabilities and sets the
	 * time. */
	int file_fd;
	cJSON *file_json;
	struct tree_entry file;
	/* Files of one folder come together: its fd is kept.  Dropped when anything is removed. */
	int parent_fd;
	char parent[TREE_PATH_MAX + 1];
};

static int refuse(struct error *err, const char *path, const char *what)
{
	return error_reason(err, -EPROTO, REASON_ProtocolError, "file entry %.200s: %s", path, what);
}

static int fail_errno(struct error *err, const char *what, const char *path)
{
	int r = error_errno(err, "%s %.300s", what, path);

	if (err && (r == -ENOSPC || r == -EDQUOT))
		err->reason = REASON_NoSpace;
	return r;
}

static void drop_parent(struct tree_apply *t)
{
	if (t->parent_fd >= 0)
		close(t->parent_fd);
	t->parent_fd = -1;
}

int tree_apply_new(int dir_fd, struct tree_budget *budget, struct tree_apply **ret, struct error *err)
{
	struct tree_apply *t = calloc(1, sizeof(*t));

	if (!t)
		return error_set(err, -ENOMEM, "out of memory for files");
	t->dir_fd = dir_fd;
	t->budget = budget;
	t->file_fd = t->parent_fd = -1;
	*ret = t;
	return 0;
}

void tree_apply_ids(struct tree_apply *t, const struct id_range *ids)
{
	t->ids = *ids;
}

void tree_apply_free(struct tree_apply *t)
{
	if (!t)
		return;
	tree_folders_free(&t->folders);
	if (t->file_fd >= 0)
		close(t->file_fd);
	drop_parent(t);
	cJSON_Delete(t->file_json);
	free(t);
}

/* ---- attributes ---- */

/* By the inode, not by name.  Owner first: chown(2) clears setuid and capabilities.  The mode last: an ACL sets its group bits.
 */
static int set_attributes(const struct tree_apply *t, int fd, const struct tree_entry *e, struct error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, e->mtime };
	char proc[64];
	int r;

	path_format(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (!id_fits(&t->ids, e->uid) || !id_fits(&t->ids, e->gid))
		return error_reason(err, -EPROTO, REASON_ProtocolError, "%.300s belongs to %u:%u, and the pod's user namespace has %u ids", e->path, e->uid, e->gid, t->ids.count);
	if (fchownat(fd, "", id_outside(&t->ids, t->ids.uid, e->uid), id_outside(&t->ids, t->ids.gid, e->gid), AT_EMPTY_PATH) < 0)
		return fail_errno(err, "change the owner of", e->path);
	if (e->type != TREE_SYMLINK) {
		r = tree_xattrs_write(proc, &t->ids, e->xattrs, err);
		if (r < 0)
			return error_wrap(err, r, "%.300s", e->path);
		/* Through /proc, since chmod by an O_PATH descriptor needs kernel 6.6 (fchmodat2). */
		if (chmod(proc, e->mode) < 0)
			return fail_errno(err, "change the mode of", e->path);
	}
	if (e->type != TREE_FOLDER && utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		return fail_errno(err, "set the time of", e->path);
	return 0;
}

static int finish_file(struct tree_apply *t, struct error *err)
{
	int r = 0;

	if (t->file_fd >= 0)
		r = set_attributes(t, t->file_fd, &t->file, err);
	if (t->file_fd >= 0)
		close(t->file_fd);
	t->file_fd = -1;
	cJSON_Delete(t->file_json);
	t->file_json = NULL;
	return r;
}

/* ---- names ---- */

/* *ret_fd (borrowed) and *ret_name: where the last component of path lives. */
static int open_parent(struct tree_apply *t, const char *path, int *ret_fd, const char **ret_name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	*ret_name = slash ? slash + 1 : path;
	if (!slash) {
		tree_folders_touch(&t->folders, ".", 1);
		*ret_fd = t->dir_fd;
		return 0;
	}
	if (t->parent_fd < 0 || strncmp(t->parent, path, len) != 0 || t->parent[len] != '\0') {
		drop_parent(t);
		memcpy(t->parent, path, len);
		t->parent[len] = '\0';
		fd = open_beneath(t->dir_fd, t->parent, O_PATH | O_DIRECTORY, 0, true);
		if (fd == -ELOOP || fd == -EXDEV || fd == -ENOTDIR || fd == -ENOENT)
			return refuse(err, path, "its folder is not one, or lies behind a link");
		if (fd < 0) {
			errno = -fd;
			return fail_errno(err, "open the folder of", path);
		}
		t->parent_fd = fd;
		tree_folders_touch(&t->folders, path, len);
	}
	*ret_fd = t->parent_fd;
	return 0;
}

/* 1: there is something of this name (*st); 0: nothing; negative errno. */
static int look(int parent, const char *name, struct stat *st, const char *path, struct error *err)
{
	if (fstatat(parent, name, st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : fail_errno(err, "stat", path);
}

static int remove_existing(struct tree_apply *t, int parent, const char *name, const char *path, struct error *err)
{
	struct stat st;
	int r = look(parent, name, &st, path, err);

	if (r <= 0)
		return r;
	if (!S_ISDIR(st.st_mode)) {
		if (unlinkat(parent, name, 0) < 0)
			return fail_errno(err, "remove", path);
		return 0;
	}
	r = tree_remove(parent, name, err);
	/* The kept fd may be of a folder that is gone now; the caller's `parent` is above what was removed. */
	if (parent != t->parent_fd)
		drop_parent(t);
	return r;
}

static int empty_folder(struct tree_apply *t, int fd, const char *path, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	struct dirent *e;

	d = copy >= 0 ? fdopendir(copy) : NULL;
	if (!d) {
		if (copy >= 0)
			close(copy);
		return fail_errno(err, "open", path);
	}
	drop_parent(t);
	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = tree_remove(fd, e->d_name, err);
	return r < 0 ? error_wrap(err, r, "empty %.300s", path) : 0;
}

/* ---- one entry of each type; parent and name are where it goes, whatever was there is gone ---- */

/* The file that came before; nothing but a regular one is opened. */
static int open_patched(int parent, const char *name, const struct tree_entry *e, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (look(parent, name, &st, e->path, NULL) != 1 || !S_ISREG(st.st_mode))
		return refuse(err, e->path, "a patch, and there is no such file");
	fd = openat(parent, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_errno(err, "open", e->path);
	return S_ISREG(st.st_mode) ? take_fd(&fd) : refuse(err, e->path, "a patch, and there is no such file");
}

static int apply_file(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, const cJSON *json,
		      struct error *err)
{
	int fd = e->patch ? open_patched(parent, name, e, err) : openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return e->patch ? fd : fail_errno(err, "create", e->path);
	t->file_fd = fd;
	if (ftruncate(fd, (off_t)e->size) < 0)
		return fail_errno(err, "set the size of", e->path);
	t->file_json = cJSON_Duplicate(json, 1);
	return t->file_json ? tree_entry_from_json(t->file_json, &t->file, err) :
			      error_set(err, -ENOMEM, "out of memory for %.300s", e->path);
}

static int open_new(const struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, struct error *err)
{
	cleanup_close int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? fail_errno(err, "open", e->path) : set_attributes(t, fd, e, err);
}

static int apply_symlink(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, const cJSON *json,
			 struct error *err)
{
	(void)json;
	if (symlinkat(e->link, parent, name) < 0)
		return fail_errno(err, "create the link", e->path);
	return open_new(t, parent, name, e, err);
}

static int apply_node(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, const cJSON *json,
		      struct error *err)
{
	(void)json;
	if (mknodat(parent, name, (e->type == TREE_FIFO ? S_IFIFO : S_IFSOCK) | 0600u, 0) < 0)
		return fail_errno(err, "create", e->path);
	return open_new(t, parent, name, e, err);
}

static int apply_whiteout(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, const cJSON *json,
			  struct error *err)
{
	(void)t;
	(void)parent;
	(void)name;
	(void)e;
	(void)json;
	(void)err;
	return 0;
}

static int apply_hardlink(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, const cJSON *json,
			  struct error *err)
{
	cleanup_close int folder = -1;
	const char *slash = strrchr(e->link, '/');
	char path[TREE_PATH_MAX + 1];

	(void)json;
	if (slash) {
		path_format(path, sizeof(path), "%.*s", (int)(slash - e->link), e->link);
		folder = open_beneath(t->dir_fd, path, O_PATH | O_DIRECTORY, 0, true);
		if (folder < 0)
			return refuse(err, e->path, "the file it links to is not there");
	}
	/* linkat does not follow a symbolic link unless told to. */
	if (linkat(slash ? folder : t->dir_fd, slash ? slash + 1 : e->link, parent, name, 0) < 0) {
		if (errno == ENOENT || errno == EPERM || errno == EXDEV)
			return refuse(err, e->path, "the file it links to is not there");
		return fail_errno(err, "link", e->path);
	}
	return 0;
}

/* The root, or a folder that may be there already. */
static int apply_folder(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, struct error *err)
{
	cleanup_close int fd = -1;
	struct stat st;
	bool fresh = false;
	int r = look(parent, name, &st, e->path, err);

	if (r < 0)
		return r;
	if (r == 1 && !S_ISDIR(st.st_mode) && unlinkat(parent, name, 0) < 0)
		return fail_errno(err, "replace", e->path);
	if (r == 0 || !S_ISDIR(st.st_mode)) {
		if (mkdirat(parent, name, 0700) < 0)
			return fail_errno(err, "make folder", e->path);
		fresh = true;
	}
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, "open folder", e->path);
	r = e->opaque && !fresh ? empty_folder(t, fd, e->path, err) : 0;
	if (r == 0)
		r = set_attributes(t, fd, e, err);
	return r == 0 ? tree_folders_put(&t->folders, e->path, e->mtime, &t->budget->folders, t->budget->max_folders, err) : r;
}

static int apply_other(struct tree_apply *t, int parent, const char *name, const struct tree_entry *e, const cJSON *json,
		       struct error *err)
{
	static int (*const apply[TREE_TYPES])(struct tree_apply *, int, const char *, const struct tree_entry *, const cJSON *,
					      struct error *) = {
		[TREE_FILE] = apply_file,     [TREE_SYMLINK] = apply_symlink,   [TREE_FIFO] = apply_node,
		[TREE_SOCKET] = apply_node,   [TREE_WHITEOUT] = apply_whiteout, [TREE_HARDLINK] = apply_hardlink,
	};
	int r;

	/* A name linked to itself would be removed first. */
	if (e->type == TREE_HARDLINK && strcmp(e->link, e->path) == 0)
		return refuse(err, e->path, "a link to itself");
	r = e->patch ? 0 : remove_existing(t, parent, name, e->path, err);
	return r == 0 ? apply[e->type](t, parent, name, e, json, err) : r;
}

int tree_apply_file(struct tree_apply *t, const cJSON *entry, struct error *err)
{
	struct tree_entry e;
	const char *name = NULL;
	int parent = -1, r = finish_file(t, err);

	if (r < 0)
		return r;
	r = tree_entry_from_json(entry, &e, err);
	if (r < 0)
		return r;
	if (t->budget->entries >= t->budget->max_entries)
		return error_reason(err, -E2BIG, REASON_NoSpace, "more than %" PRIu64 " files", t->budget->max_entries);
	t->budget->entries++;
	r = open_parent(t, e.path, &parent, &name, err);
	if (r < 0)
		return r;
	return e.type == TREE_FOLDER ? apply_folder(t, parent, name, &e, err) : apply_other(t, parent, name, &e, entry, err);
}

static int write_at(struct tree_apply *t, const char *p, size_t len, uint64_t offset, struct error *err)
{
	while (len) {
		ssize_t n = pwrite(t->file_fd, p, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_errno(err, "write", t->file.path);
		p += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

#define PAGE 4096u

static bool is_zero(const char *p, size_t len)
{
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

/* Whole blocks come, with the holes that are in them as zeros: they become holes again, so that the file takes no more room here than there. */
static int patch_at(struct tree_apply *t, const char *p, size_t len, uint64_t offset, struct error *err)
{
	int r = 0;

	while (r == 0 && len) {
		size_t n = 0, page, room;
		bool zero = false;

		for (; n < len; n += page) {
			page = len - n < PAGE ? len - n : PAGE;
			if (n == 0)
				zero = is_zero(p, page);
			else if (is_zero(p + n, page) != zero)
				break;
		}
		/* The last page is only freed as a whole. */
		room = offset + n == t->file.size ? (n + PAGE - 1) / PAGE * PAGE : n;
		if (!zero || fallocate(t->file_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)room) < 0)
			r = write_at(t, p, n, offset, err);
		p += n;
		offset += n;
		len -= n;
	}
	return r;
}

int tree_apply_data(struct tree_apply *t, uint64_t offset, const void *data, size_t len, struct error *err)
{
	if (t->file_fd < 0)
		return refuse(err, "(none)", "data without an open file");
	if (offset > t->file.size || len > t->file.size - offset)
		return refuse(err, t->file.path, "data beyond the file's size");
	if (len > t->budget->max_bytes - t->budget->bytes)
		return error_reason(err, -ENOSPC, REASON_NoSpace,
				    "the pod's files do not fit the %" PRIu64 " MiB allowed for them here", t->budget->max_bytes >> 20);
	t->budget->bytes += len;
	return t->file.patch ? patch_at(t, data, len, offset, err) : write_at(t, data, len, offset, err);
}

int tree_apply_settle(struct tree_apply *t, struct error *err)
{
	int r = finish_file(t, err);

	/* What is put into the same folder from now on is to be seen as new. */
	drop_parent(t);
	return r == 0 ? tree_folders_settle(&t->folders, t->dir_fd, err) : r;
}
