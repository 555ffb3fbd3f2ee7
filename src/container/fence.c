/* SPDX-License-Identifier: Apache-2.0 */
#include "container/fence.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cgroup_path.h"
#include "fence_group.h"
#include "migration/reason.h"

int fence_group_open(const char *cgroup_root, const struct fence *f, int *ret, struct error *err)
{
	/* A v2 group's controllers may stand beside the v1 hierarchies; so the folder is the first that has the file. */
	static const char *const v1[] = { "pids" }, *const v2[] = { ".", "unified" };
	const char *const *names = f->v2 ? v2 : v1;
	char path[4096];
	int why = 0;

	for (int i = 0; i < (f->v2 ? 2 : 1); i++) {
		cleanup_close int fd = -1;

		if (path_format(path, sizeof(path), "%s/%s%s", cgroup_root, names[i], f->group) < 0)
			return error_set(err, -ENAMETOOLONG, "path of the pod's cgroup is too long");
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && faccessat(fd, FENCE_FILE, F_OK, 0) == 0) {
			*ret = take_fd(&fd);
			return 0;
		}
		/* Only what is not there needs no fence. */
		if (errno != ENOENT)
			why = errno;
	}
	if (why)
		return error_set(err, -why, "open cgroup %s: %s", f->group, strerror(why));
	return error_set(err, -ENOENT, "no limit of processes (" FENCE_FILE ") for cgroup %s", f->group);
}

static bool is_limit(const char *s)
{
	return !strcmp(s, "max") || (*s && strspn(s, "0123456789") == strlen(s));
}

bool fence_is_sound(const struct fence *f)
{
	return !f->group[0] || (f->group[0] == '/' && !strstr(f->group, "/..") && is_limit(f->limit));
}

static int read_limit(int group, struct fence *f, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	int r = file_read(group, FENCE_FILE, &b, err);

	if (r < 0)
		return r;
	b.data[strcspn(b.data, "\n")] = '\0';
	if (!is_limit(b.data) || path_format(f->limit, sizeof(f->limit), "%s", b.data) < 0)
		return error_set(err, -EBADMSG, "cgroup %s: " FENCE_FILE " is \"%.32s\"", f->group, b.data);
	/* Nobody lets a pod run without processes: a fence that somebody has left. */
	if (!strcmp(f->limit, FENCE_CLOSED))
		memcpy(f->limit, "max", sizeof("max"));
	return 0;
}

int fence_look(const char *cgroup_root, pid_t pid, struct fence *ret, struct error *err)
{
	cleanup_free struct cgroup_paths *p = NULL;
	cleanup_close int group = -1;
	struct fence f = { 0 };
	int r = cgroup_paths_of_pod(cgroup_root, pid, &p, err);

	if (r < 0)
		return r;
	f.v2 = p->v2;
	if (path_format(f.group, sizeof(f.group), "%s", p->pod) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the pod's cgroup is too long");
	r = fence_group_open(cgroup_root, &f, &group, err);
	if (r == 0)
		r = read_limit(group, &f, err);
	if (r == 0)
		*ret = f;
	return r;
}

static int write_limit(const char *cgroup_root, const struct fence *f, const char *limit, struct error *err)
{
	cleanup_close int group = -1, fd = -1;
	int r;

	if (!f->group[0])
		return 0;
	r = fence_group_open(cgroup_root, f, &group, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	fd = openat(group, FENCE_FILE, O_WRONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : write_full(fd, limit, strlen(limit));
	if (r == 0 || r == -ENOENT || r == -ENODEV)
		return 0;
	return error_set(err, r, "write \"%s\" to " FENCE_FILE " of cgroup %s: %s", limit, f->group, strerror(-r));
}

int fence_close(const char *cgroup_root, const struct fence *f, struct error *err)
{
	struct error why = { 0 };
	int r = write_limit(cgroup_root, f, FENCE_CLOSED, &why);

	/* Frozen, but not held: nothing is committed then. */
	return r < 0 ? error_reason(err, r, REASON_FreezeFailed, "a container of the frozen pod could be started anew beside the destination: %s", why.message) : 0;
}

int fence_lift(const char *cgroup_root, const struct fence *f, struct error *err)
{
	return write_limit(cgroup_root, f, f->limit, err);
}
