/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "tar.h"

/* The folder of the last entry stays open: the next one is mostly in it too. */
struct target {
	int root, dir;
	char path[TAR_PATH_SIZE];       /* of dir */
};

static int fill_file(int fd, const struct tar_entry *e, const struct timespec times[2])
{
	int r = write_full(fd, e->data, e->size);

	if (r < 0)
		return r;
	/* The owner before the mode: chown takes the setuid bit away. */
	return fchown(fd, e->uid, e->gid) < 0 || fchmod(fd, e->mode) < 0 || futimens(fd, times) < 0 ? -errno : 0;
}

static int make_file(int dir, const char *name, const struct tar_entry *e, const struct timespec times[2])
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fill_file(fd, e, times);
}

static int make_symlink(int dir, const char *name, const struct tar_entry *e, const struct timespec times[2])
{
	if (symlinkat(e->link, dir, name) < 0 || fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

/* fchmodat() follows links, but the node was made in this instant by us. */
static int make_node(int dir, const char *name, const struct tar_entry *e, mode_t kind, const struct timespec times[2])
{
	if (mknodat(dir, name, kind | 0600, makedev(e->major, e->minor)) < 0 || fchownat(dir, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dir, name, e->mode, 0) < 0 || utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int make_dir(int dir, const char *name)
{
	struct stat st;

	if (mkdirat(dir, name, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	/* A folder that is there is fine. */
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) ? 0 : -EEXIST;
}

static int make_entry(int dir, const char *name, const struct tar_entry *e)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = e->mtime } };

	switch (e->type) {
	case TAR_DIR:
		return make_dir(dir, name);
	case TAR_SYMLINK:
		return make_symlink(dir, name, e, times);
	case TAR_CHAR:
		return make_node(dir, name, e, S_IFCHR, times);
	case TAR_BLOCK_DEVICE:
		return make_node(dir, name, e, S_IFBLK, times);
	case TAR_FIFO:
		return make_node(dir, name, e, S_IFIFO, times);
	default:
		return make_file(dir, name, e, times);
	}
}

/* The folder that the entry lies in, and the entry's own name. */
static int parent_dir(struct target *t, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	if (!len)
		return t->root;
	if (t->dir >= 0 && strlen(t->path) == len && !memcmp(t->path, path, len))
		return t->dir;
	memcpy(t->path, path, len);
	t->path[len] = '\0';
	if (t->dir >= 0)
		close(t->dir);
	t->dir = open_beneath(t->root, t->path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, true);
	return t->dir;
}

static int make(struct target *t, const struct tar_entry *e)
{
	const char *name;
	int dir = parent_dir(t, e->path, &name), r;

	if (dir < 0)
		return dir;
	r = make_entry(dir, name, e);
	/* As tar does it: what was there goes. */
	if (r == -EEXIST && unlinkat(dir, name, 0) == 0)
		r = make_entry(dir, name, e);
	return r;
}

static int finish_dir(int root, const struct tar_entry *e)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = e->mtime } };
	cleanup_close int own = -1;
	int fd = root;

	if (e->path[0])
		fd = own = open_beneath(root, e->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, true);
	if (fd < 0)
		return fd;
	return fchown(fd, e->uid, e->gid) < 0 || fchmod(fd, e->mode) < 0 || futimens(fd, times) < 0 ? -errno : 0;
}

int tar_extract(int root, const struct tar_entry *entries, size_t n, struct error *err)
{
	struct target t = { .root = root, .dir = -1 };
	const struct tar_entry *e;
	int r = 0;

	for (e = entries; r == 0 && e < entries + n; e++)
		if (e->path[0])
			r = make(&t, e);
	if (t.dir >= 0)
		close(t.dir);
	/* Folders last: what is made in them changes their times. */
	for (const struct tar_entry *d = entries; r == 0 && d < entries + n; d++)
		if (d->type == TAR_DIR) {
			r = finish_dir(root, d);
			e = d + 1;
		}
	return r < 0 ? error_set(err, r, "cannot make %s: %s", e[-1].path[0] ? e[-1].path : ".", strerror(-r)) : 0;
}
