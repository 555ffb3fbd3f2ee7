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

static int set_attributes(int mount, unsigned flags, const struct mount_attr *attr)
{
	return (int)syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | flags, attr, sizeof(*attr));
}

/* A clone of a shared mount is its peer: what is unmounted below the one would be at the other, the node's (mount_namespaces(7)).  What lies below gets its ids mapped where runc maps them, too ("ridmap"), and nowhere else. */
static int prepare(int mount, enum lent_ids ids, int userns)
{
	const struct mount_attr private = { .propagation = MS_PRIVATE }, mapped = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (__u64)userns };

	if (set_attributes(mount, AT_RECURSIVE, &private) < 0)
		return -1;
	return ids == LENT_AS_THEY_ARE ? 0 : set_attributes(mount, ids == LENT_MAPPED_BELOW ? AT_RECURSIVE : 0, &mapped);
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

/* A mount that is nowhere yet, and ends with its last descriptor. */
static int copy(const struct lent *l, int i, int userns, struct error *err)
{
	cleanup_close int mount = (int)syscall(SYS_open_tree, AT_FDCWD, l->sources[i], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (mount < 0 || prepare(mount, l->ids[i], userns) < 0)
		return error_errno(err, "map the ids of %s", l->sources[i]);
	return take_fd(&mount);
}

static int lend(const struct lent *l, int i, int userns, struct error *err)
{
	cleanup_close int mount = copy(l, i, userns, err);
	char path[640];
	int r;

	if (mount < 0)
		return mount;
	path_format(path, sizeof(path), "%s/%d", l->dir, i);
	r = make_place(mount, path);
	if (r < 0)
		return error_set(err, r, "make %s: %s", path, strerror(-r));
	if (syscall(SYS_move_mount, mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return error_errno(err, "mount %s at %s", l->sources[i], path);
	return 0;
}

/* Volumes are in there, and on the way to them is nothing else that keeps the node's other users out. */
static int make_folder(const struct lent *l, struct error *err)
{
	if ((mkdir(LENT_DIR, 0711) < 0 && errno != EEXIST) || chmod(LENT_DIR, 0711) < 0)
		return error_errno(err, "make %s", LENT_DIR);
	if (mkdir(l->dir, 0700) < 0 || chown(l->dir, 0, l->gid) < 0 || chmod(l->dir, 0710) < 0)
		return error_errno(err, "make %s", l->dir);
	return 0;
}

int lent_make(struct lent *l, const char *userns, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	if (!l->dir[0])
		return 0;
	fd = open(userns, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, "open the pod's user namespace %s", userns);
	lent_remove(strrchr(l->dir, '/') + 1);
	r = make_folder(l, err);
	for (int i = 0; r == 0 && i < l->n; i++)
		r = lend(l, i, fd, err);
	return r;
}

/* --- what is to be lent --- */

static enum lent_ids ids_of(struct span mount)
{
	struct span v, at, option;

	if (!json_member(mount, "uidMappings", &v))
		return LENT_AS_THEY_ARE;
	if (!json_member(mount, "options", &v))
		return LENT_MAPPED;
	for (at = json_members(v); json_next(&at, NULL, &option);)
		if (json_equals(option, "ridmap"))
			return LENT_MAPPED_BELOW;
	return LENT_MAPPED;
}

static int plan_one(struct lent *l, const char *source, enum lent_ids ids, struct error *err)
{
	for (int i = 0; i < l->n; i++) {
		if (strcmp(l->sources[i], source))
			continue;
		return l->ids[i] == ids ? 0 : error_set(err, -ENOTSUP, "%s is mounted more than once, with its ids mapped and as they are", source);
	}
	if (l->n == LENT_MAX)
		return error_set(err, -E2BIG, "more than %d mounts", LENT_MAX);
	l->ids[l->n] = ids;
	l->sources[l->n] = strdup(source);
	return l->sources[l->n] ? l->n++, 0 : error_set(err, -ENOMEM, "out of memory");
}

static int plan_all(struct lent *l, const struct spec *s, struct error *err)
{
	struct span list, at, m;
	char source[PATH_SIZE];
	int r = 0;

	if (!json_member(s->root, "mounts", &list))
		return 0;
	for (at = json_members(list); r == 0 && json_next(&at, NULL, &m);)
		if (spec_is_bind(m) && json_copy_at(m, "source", source, sizeof(source)) == 0)
			r = plan_one(l, source, ids_of(m), err);
	return r;
}

static int read_group(struct lent *l, const struct spec *s, struct error *err)
{
	struct span list, at, m;
	int64_t inside, outside;

	if (!json_find(s->root, "linux.gidMappings", &list) || (at = json_members(list), !json_next(&at, NULL, &m)) || json_number_at(m, "containerID", 0, 0, &inside) < 0 ||
	    json_number_at(m, "hostID", 1, UINT32_MAX - 1, &outside) < 0)
		return error_set(err, -EINVAL, "config.json: linux.gidMappings does not begin with group 0 of the user namespace");
	l->gid = (gid_t)outside;
	return 0;
}

/* What cannot be mapped is found before the pod stands still. */
static int try_all(const struct lent *l, const char *userns, struct error *err)
{
	cleanup_close int fd = open(userns, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, "open the pod's user namespace %s", userns);
	for (int i = 0; i < l->n; i++) {
		cleanup_close int mount = copy(l, i, fd, err);

		if (mount < 0)
			return mount;
	}
	return 0;
}

int lent_plan(struct lent *l, const char *bundle, const char *id, const char *userns, struct error *err)
{
	struct spec s;
	int r = spec_load(bundle, &s, err);

	if (r == 0)
		r = read_group(l, &s, err);
	if (r == 0)
		r = plan_all(l, &s, err);
	if (r == 0)
		r = try_all(l, userns, err);
	if (r == 0 && path_format(l->dir, sizeof(l->dir), "%s/%s", LENT_DIR, id) < 0)
		r = error_set(err, -ENAMETOOLONG, "id too long");
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
