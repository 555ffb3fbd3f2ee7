/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "install.h"

/* RESOLVE_IN_ROOT (openat2(2), kernel 5.6): "/" and ".." of links mean the node's root, as for a program on the node. */
static int open_in_root(const struct node *n, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, n->root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int node_dir(const struct node *n, const char *path, bool make, struct error *err)
{
	int fd = open_in_root(n, path, O_RDONLY | O_DIRECTORY), parent;
	const char *slash = strrchr(path, '/');
	char above[4096];

	if (fd == -ENOENT && make && slash && slash[1]) {
		if (path_format(above, sizeof(above), "%.*s", slash == path ? 1 : (int)(slash - path), path) < 0)
			return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
		parent = node_dir(n, above, true, err);
		if (parent < 0)
			return parent;
		fd = mkdirat(parent, slash + 1, 0755) < 0 && errno != EEXIST ? -errno : open_in_root(n, path, O_RDONLY | O_DIRECTORY);
		close(parent);
	}
	return fd < 0 ? error_set(err, fd, "open the node's folder %s: %s", path, strerror(-fd)) : fd;
}

/* The folder of a path, and its last name. */
static int parent_dir(const struct node *n, const char *path, bool make, const char **ret_name, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char dir[4096];

	if (!slash || !name_is_safe(slash + 1) || path_format(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path) < 0)
		return error_set(err, -EINVAL, "not an absolute path of a file: %s", path);
	*ret_name = slash + 1;
	return node_dir(n, dir, make, err);
}

int node_read(const struct node *n, const char *path, struct buf *out, struct error *err)
{
	cleanup_close int fd = open_in_root(n, path, O_RDONLY);
	char self[64];
	int r;

	if (fd < 0)
		return error_set(err, fd, "open the node's %s: %s", path, strerror(-fd));
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	r = file_read(AT_FDCWD, self, out, err);
	return r < 0 ? error_wrap(err, r, "the node's %s", path) : 0;
}

int node_write(const struct node *n, const char *path, const struct buf *data, mode_t mode, struct error *err)
{
	cleanup_buf struct buf old = BUF_INIT(data->len + 1);
	cleanup_close int dir = -1;
	const char *name;
	int r;

	if (node_read(n, path, &old, NULL) == 0 && old.len == data->len && !memcmp(old.data, data->data, data->len))
		return 0;
	dir = parent_dir(n, path, true, &name, err);
	if (dir < 0)
		return dir;
	r = file_write(dir, name, data->data, data->len, mode, true, err);
	return r < 0 ? error_wrap(err, r, "the node's %s", path) : 1;
}

int node_remove(const struct node *n, const char *path, struct error *err)
{
	cleanup_close int dir = -1;
	const char *name;

	dir = parent_dir(n, path, false, &name, err);
	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? error_errno(err, "remove the node's %s", path) : 0;
}

bool node_exists(const struct node *n, const char *path)
{
	cleanup_close int fd = open_in_root(n, path, O_PATH);

	return fd >= 0;
}

#define FILE_MAX (64u << 20)

static int read_from(int from, const char *name, struct buf *out, mode_t *ret_mode, struct error *err)
{
	struct stat st;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is not a plain file", name);
	r = file_read(from, name, out, err);
	*ret_mode = st.st_mode & 0111 ? 0755 : 0644;
	return r;
}

struct folder {
	const struct node *node;
	int from, to;           /* to: the folder written to, or -1: only compare */
	const char *name;
	bool differs;
};

static int take_file(struct folder *f, const char *file, struct error *err)
{
	cleanup_buf struct buf data = BUF_INIT(FILE_MAX), old = BUF_INIT(FILE_MAX);
	char path[4096];
	mode_t mode = 0;
	int r = read_from(f->from, file, &data, &mode, err);

	if (r < 0)
		return r;
	if (f->to >= 0)
		return file_write(f->to, file, data.data, data.len, mode, true, err);
	if (path_format(path, sizeof(path), "%s/%s/%s", INSTALL_DIR, f->name, file) < 0)
		return error_set(err, -ENAMETOOLONG, "file name too long: %s", file);
	r = node_read(f->node, path, &old, NULL);
	if (r < 0 || old.len != data.len || memcmp(old.data, data.data, data.len))
		f->differs = true;
	return 0;
}

static int each_file(struct folder *f, struct error *err)
{
	int fd = openat(f->from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	cleanup_closedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d)
		return error_errno(err, "read the folder %s", f->name);
	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			r = take_file(f, e->d_name, err);
	return r;
}

/* The new folder takes the old one's name; where there was one, both names change in the same instant (RENAME_EXCHANGE). */
static int swap_in(int dir, const char *fresh, const char *name, struct error *err)
{
	if (renameat2(dir, fresh, dir, name, RENAME_EXCHANGE) == 0)
		return tree_remove(dir, fresh, err);
	if (errno != ENOENT || renameat(dir, fresh, dir, name) < 0)
		return error_errno(err, "put the folder %s in place", name);
	return 0;
}

int node_replace_folder(const struct node *n, int from_fd, const char *name, struct error *err)
{
	struct folder f = { .node = n, .name = name, .from = openat(from_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), .to = -1 };
	cleanup_close int from = f.from, dir = -1, to = -1;
	char fresh[300];
	int r;

	if (from < 0)
		return error_errno(err, "open the folder %s to be installed", name);
	r = each_file(&f, err);
	if (r < 0 || !f.differs)
		return r;
	dir = node_dir(n, INSTALL_DIR, true, err);
	if (dir < 0)
		return dir;
	if (path_format(fresh, sizeof(fresh), "%s.new", name) < 0)
		return error_set(err, -ENAMETOOLONG, "folder name too long: %s", name);
	r = tree_remove(dir, fresh, err);
	if (r < 0)
		return r;
	if (mkdirat(dir, fresh, 0755) < 0 || (to = openat(dir, fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return error_errno(err, "make the folder %s/%s on the node", INSTALL_DIR, fresh);
	f.to = to;
	r = each_file(&f, err);
	if (r == 0)
		r = swap_in(dir, fresh, name, err);
	return r < 0 ? r : 1;
}

int node_remove_folder(const struct node *n, const char *name, struct error *err)
{
	cleanup_close int dir = node_dir(n, INSTALL_DIR, false, err);

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	return tree_remove(dir, name, err);
}

/* The runtime last, since it uses the others. */
static const char *const installed[] = { INSTALL_LIBEXEC, INSTALL_BIN };
#define N_INSTALLED (sizeof(installed) / sizeof(installed[0]))

int node_install(const struct node *n, int from_fd, struct error *err)
{
	int changed = 0;

	for (size_t i = 0; i < N_INSTALLED; i++) {
		int r = node_replace_folder(n, from_fd, installed[i], err);

		if (r < 0)
			return r;
		changed |= r;
	}
	return changed;
}

int node_uninstall(const struct node *n, struct error *err)
{
	int r = 0;

	for (size_t i = N_INSTALLED; r == 0 && i-- > 0;)
		r = node_remove_folder(n, installed[i], err);
	return r;
}
