/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroups.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cgroup_name.h"
#include "base/cleanup.h"
#include "base/file.h"

#define ROOT "/sys/fs/cgroup"

/* "4:memory:/a/b" or "0::/a/b" (cgroups(7)); a hierarchy that is not mounted where everybody mounts it is skipped. */
static void take_line(struct cgroups *g, char *line)
{
	char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
	const char *name;
	struct stat st;

	if (!path || g->n == CGROUPS_MAX)
		return;
	*path++ = '\0';
	controllers++;
	name = !strncmp(controllers, "name=", 5) ? controllers + 5 : controllers;
	if (path_format(g->items[g->n].mount, sizeof(g->items[g->n].mount), "%s%s%s", ROOT, *name ? "/" : "", name) < 0 ||
	    path_format(g->items[g->n].path, sizeof(g->items[g->n].path), "%s", path) < 0)
		return;
	if (!*name && (stat(ROOT "/cgroup.controllers", &st) < 0))
		return;         /* the unified hierarchy beside v1 controls nothing here */
	if (stat(g->items[g->n].mount, &st) < 0)
		return;
	g->items[g->n].cpuset = strstr(controllers, "cpuset") != NULL;
	g->n++;
}

int cgroups_current(struct cgroups *ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(65536);
	int r = file_read(AT_FDCWD, "/proc/self/cgroup", &b, err);

	ret->n = 0;
	if (r < 0)
		return r;
	for (char *line = b.data, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			break;
		*end = '\0';
		take_line(ret, line);
	}
	return ret->n ? 0 : error_set(err, -ENOENT, "no cgroup hierarchy is mounted below " ROOT);
}

const char *cgroups_own_source(const struct cgroups *here, const char *cgroups_path, const char *source, char *path, size_t size)
{
	char own[1024], at[1200];

	if (cgroup_name_expand(cgroups_path, own, sizeof(own)) < 0)
		return NULL;
	for (int i = 0; i < here->n; i++) {
		const char *mount = here->items[i].mount;

		/* The root, too: cgroups_return may have had nowhere else to go. */
		if (path_format(at, sizeof(at), "%s%s", mount, here->items[i].path) < 0 || (strcmp(source, at) && strcmp(source, mount)))
			continue;
		return path_format(path, size, "%s%s", mount, own) < 0 ? NULL : path;
	}
	return NULL;
}

/* A new v1 cpuset is empty and takes no process before it has cpus and memory nodes (cpusets(7)). */
static void fill_cpuset(const char *dir, const char *parent)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };

	for (int i = 0; i < 2; i++) {
		cleanup_buf struct buf own = BUF_INIT(4096), inherited = BUF_INIT(4096);
		cleanup_close int fd = -1;
		char path[1024];

		if (path_format(path, sizeof(path), "%s/%s", dir, files[i]) < 0 || file_read(AT_FDCWD, path, &own, NULL) < 0 || own.len > 1)
			continue;
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (path_format(path, sizeof(path), "%s/%s", parent, files[i]) == 0 && file_read(AT_FDCWD, path, &inherited, NULL) == 0 && fd >= 0)
			write_full(fd, inherited.data, inherited.len);
	}
}

static int make_group(const char *mount, const char *path, int cpuset, char *dir, size_t size, struct error *err)
{
	size_t base = strlen(mount), len;
	char parent[1024];

	if (path_format(dir, size, "%s%s", mount, path) < 0)
		return error_set(err, -ENAMETOOLONG, "cgroup path too long");
	len = strlen(dir);
	for (size_t i = base + 1; i <= len; i++) {
		char c = dir[i];

		if (c != '/' && c != '\0')
			continue;
		dir[i] = '\0';
		if (mkdir(dir, 0755) < 0 && errno != EEXIST)
			return error_errno(err, "make cgroup %s", dir);
		if (cpuset) {
			snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
			fill_cpuset(dir, parent);
		}
		dir[i] = c;
	}
	return 0;
}

static int enter(const char *dir, struct error *err)
{
	char path[1200];
	cleanup_close int fd = -1;
	int r;

	if (path_format(path, sizeof(path), "%s/cgroup.procs", dir) < 0)
		return error_set(err, -ENAMETOOLONG, "cgroup path too long");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, "open %s", path);
	r = write_full(fd, "0", 1);
	if (r < 0) {
		errno = -r;
		return error_errno(err, "join cgroup %s", dir);
	}
	return 0;
}

int cgroups_join(const struct cgroups *all, const char *cgroups_path, struct error *err)
{
	char path[1024], dir[1200];

	if (cgroup_name_expand(cgroups_path, path, sizeof(path)) < 0)
		return error_set(err, -EINVAL, "config.json: linux.cgroupsPath %s is not understood", cgroups_path);
	for (int i = 0; i < all->n; i++) {
		int r = make_group(all->items[i].mount, path, all->items[i].cpuset, dir, sizeof(dir), err);

		if (r == 0)
			r = enter(dir, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int cgroups_return(const struct cgroups *all, struct error *err)
{
	char dir[1200];

	for (int i = 0; i < all->n; i++) {
		int r = path_format(dir, sizeof(dir), "%s%s", all->items[i].mount, all->items[i].path);

		r = r < 0 ? error_set(err, r, "cgroup path too long") : enter(dir, err);
		/* "/../x": above the root of our cgroup namespace, or the group is gone; the root is always there. */
		if (r < 0)
			r = enter(all->items[i].mount, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool kill_listed(int group)
{
	cleanup_close int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	cleanup_fclose FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	bool any = false;
	int pid;

	if (!f)
		return false;
	take_fd(&fd);
	while (fscanf(f, "%d", &pid) == 1)
		if (pid > 1)
			any |= kill(pid, SIGKILL) == 0;
	return any;
}

/* Also what a container has put into groups that it made itself; each level has two files open. */
#define DEPTH_MAX 128

static bool kill_below(int group, int depth)
{
	bool any = kill_listed(group);
	int list = openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_closedir DIR *d = list < 0 ? NULL : fdopendir(list);
	struct dirent *e;

	if (!d && list >= 0)
		close(list);
	while (d && depth < DEPTH_MAX && (e = readdir(d))) {
		cleanup_close int sub = e->d_type == DT_DIR && e->d_name[0] != '.' ? openat(group, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

		if (sub >= 0)
			any |= kill_below(sub, depth + 1);
	}
	return any;
}

static bool kill_group(const char *dir)
{
	cleanup_close int group = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), all = group < 0 ? -1 : openat(group, "cgroup.kill", O_WRONLY | O_CLOEXEC);
	bool any = group >= 0 && kill_below(group, 0);

	/* Version 2 from kernel 5.14 on: whoever is there or below, however deep, and whom they fork meanwhile. */
	if (all >= 0)
		write_full(all, "1", 1);
	return any;
}

/* A group that we come from, be it by another way of writing its name, would take the node's other processes with it. */
static bool is_above(const char *path, const char *ours)
{
	size_t len = strlen(path);

	return strstr(path, "//") || strstr(path, "/.") || path[len - 1] == '/' || (!strncmp(ours, path, len) && (ours[len] == '/' || ours[len] == '\0'));
}

#define KILL_PASSES 3           /* one that forks while the list is read: its child is in the next */

bool cgroups_kill(const struct cgroups *all, const char *cgroups_path)
{
	char path[1024], dir[1200];
	bool any = false;

	if (cgroup_name_expand(cgroups_path, path, sizeof(path)) < 0)
		return false;
	for (int pass = 0; pass < KILL_PASSES; pass++)
		for (int i = 0; i < all->n; i++)
			if (!is_above(path, all->items[i].path) && path_format(dir, sizeof(dir), "%s%s", all->items[i].mount, path) == 0)
				any |= kill_group(dir);
	return any;
}

void cgroups_remove(const struct cgroups *all, const char *cgroups_path)
{
	char path[1024], dir[1200];

	if (cgroup_name_expand(cgroups_path, path, sizeof(path)) < 0)
		return;
	for (int i = 0; i < all->n; i++)
		if (path_format(dir, sizeof(dir), "%s%s", all->items[i].mount, path) == 0)
			rmdir(dir);
}
