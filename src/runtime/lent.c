/* SPDX-License-Identifier: Apache-2.0 */
#include "lent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "criu_rpc.h"
#include "spec.h"

#define PATH_SIZE 4096

/* Kernel 5.12; on headers that do not have it. */
#ifndef MOUNT_ATTR_IDMAP
#define MOUNT_ATTR_IDMAP 0x00100000
#endif

static int map_ids(int mount, int userns)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (__u64)userns };

	return (int)syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof(attr));
}

static int make_place(int mount, const char *path)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (fstat(mount, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return mkdir(path, 0700) < 0 ? -errno : 0;
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : 0;
}

static int lend(struct lent *l, const char *source, int userns, struct error *err)
{
	cleanup_close int mount = (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	char path[640];
	int r;

	if (mount < 0 || (userns >= 0 && map_ids(mount, userns) < 0))
		return error_errno(err, "map the ids of %s", source);
	if (l->n == LENT_MAX || path_format(path, sizeof(path), "%s/%d", l->dir, l->n) < 0)
		return error_set(err, -E2BIG, "too many mounts");
	r = make_place(mount, path);
	if (r < 0)
		return error_set(err, r, "make %s: %s", path, strerror(-r));
	if (syscall(SYS_move_mount, mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, "mount %s at %s", source, path);
	l->sources[l->n] = strdup(source);
	return l->sources[l->n] ? l->n++, 0 : error_set(err, -ENOMEM, "out of memory");
}

static int lend_all(struct lent *l, const struct spec *s, int userns, struct error *err)
{
	struct span list, at, m, mapped;
	char source[PATH_SIZE];
	int r = 0;

	if (!json_member(s->root, "mounts", &list))
		return 0;
	for (at = json_members(list); r == 0 && json_next(&at, NULL, &m);)
		if (spec_is_bind(m) && json_copy_at(m, "source", source, sizeof(source)) == 0)
			r = lend(l, source, json_member(m, "uidMappings", &mapped) ? userns : -1, err);
	return r;
}

int lent_make(struct lent *l, const char *bundle, const char *id, const char *userns, struct error *err)
{
	cleanup_close int fd = open(userns, O_RDONLY | O_CLOEXEC);
	struct spec s;
	int r;

	if (fd < 0)
		return error_errno(err, "open the pod's user namespace %s", userns);
	lent_remove(id);
	if (mkdir(LENT_DIR, 0711) < 0 && errno != EEXIST)
		return error_errno(err, "make %s", LENT_DIR);
	if (path_format(l->dir, sizeof(l->dir), "%s/%s", LENT_DIR, id) < 0)
		return error_set(err, -ENAMETOOLONG, "id too long");
	if (mkdir(l->dir, 0711) < 0 || chmod(LENT_DIR, 0711) < 0 || chmod(l->dir, 0711) < 0)
		return error_errno(err, "make %s", l->dir);
	r = spec_load(bundle, &s, err);
	if (r == 0)
		r = lend_all(l, &s, fd, err);
	spec_free(&s);
	return r;
}

static const char *place_of(void *ctx, const char *source, char *path, size_t size)
{
	const struct lent *l = ctx;

	for (int i = 0; i < l->n; i++)
		if (!strcmp(l->sources[i], source))
			return path_format(path, size, "%s/%d", l->dir, i) < 0 ? NULL : path;
	return NULL;
}

int lent_add(const struct lent *l, struct buf *request)
{
	return l->n ? criu_rpc_replace_mounts(request, place_of, (void *)l) : 0;
}

void lent_end(struct lent *l)
{
	const char *id = strrchr(l->dir, '/');

	if (id)
		lent_remove(id + 1);
	for (int i = 0; i < l->n; i++)
		free(l->sources[i]);
	*l = (struct lent){ .n = 0 };
}

/* What is mounted is somebody's data: whatever cannot be unmounted stays. */
void lent_remove(const char *id)
{
	char dir[512], path[1024];
	cleanup_closedir DIR *d = path_format(dir, sizeof(dir), "%s/%s", LENT_DIR, id) < 0 ? NULL : opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || path_format(path, sizeof(path), "%s/%s", dir, e->d_name) < 0)
			continue;
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL)
			continue;
		if (unlink(path) < 0)
			rmdir(path);
	}
	if (d)
		rmdir(dir);
}
