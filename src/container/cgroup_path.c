/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup_path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cgroup_ns.h"

#define CGROUP2_MAGIC 0x63677270        /* linux/magic.h */

bool cgroup_is_unified(const char *cgroup_root)
{
	struct statfs st;

	return statfs(cgroup_root, &st) == 0 && st.f_type == CGROUP2_MAGIC;
}

/* cgroups(7): lines "id:controllers:path"; the v2 line is "0::path". */
int cgroup_path_parse(const char *text, bool unified, char *out, size_t size, bool *ret_v2)
{
	const char *v1 = NULL, *v2 = NULL;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		const char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			return -EBADMSG;
		if (!unified && path - controllers == 8 && !strncmp(controllers, ":freezer", 8))
			v1 = path + 1;
		else if (path == controllers + 1 && line[0] == '0')
			v2 = path + 1;
	}
	/* In a hybrid node runc uses the v1 freezer. */
	*ret_v2 = !v1;
	if (!v1)
		v1 = v2;
	/* "/../" would name a group outside of the cgroup namespace that answered. */
	if (!v1 || *v1 != '/' || !strncmp(v1, "/..", 3))
		return -EBADMSG;
	return path_format(out, size, "%.*s", (int)strcspn(v1, "\n"), v1);
}

/* The kubelet's name of a pod's group: "pod<uid>" (cgroupfs driver) or "kubepods[-class]-pod<uid>.slice" (systemd driver). */
static bool is_pod_name(const char *name, size_t len)
{
	if (len > 3 && !strncmp(name, "pod", 3))
		return true;
	if (len <= 14 || strncmp(name, "kubepods-", 9))
		return false;
	for (size_t i = 8; i + 4 < len; i++)
		if (!strncmp(name + i, "-pod", 4))
			return true;
	return false;
}

/* Length of path up to and with the pod's group, 0 when there is none with something below it. */
static size_t pod_prefix(const char *path)
{
	const char *part = path + 1;

	while (*part) {
		size_t len = strcspn(part, "/");

		if (part[len] == '/' && is_pod_name(part, len))
			return (size_t)(part + len - path);
		part += len + (part[len] == '/');
	}
	return 0;
}

/* Length of the longest group path that is above all of them (not one of them); 0 when that is the root. */
static size_t common_prefix(const struct cgroup_paths *p)
{
	size_t len = strlen(p->group[0]);

	for (int i = 0; i < p->n; i++) {
		const char *a = p->group[0], *b = p->group[i];
		size_t same = 0;

		while (same < len && a[same] == b[same])
			same++;
		len = same;
		/* Cut back to a whole component that is followed by another in both. */
		while (len > 0 && !(a[len] == '/' && b[len] == '/'))
			len--;
	}
	return len;
}

void cgroup_paths_split(struct cgroup_paths *p)
{
	size_t len = pod_prefix(p->group[0]);

	for (int i = 1; len && i < p->n; i++)
		if (strncmp(p->group[i], p->group[0], len) || p->group[i][len] != '/')
			len = 0;
	p->pod_named = len > 0;
	if (!len)
		len = common_prefix(p);
	p->pod[0] = '\0';
	if (!len)
		return;
	memcpy(p->pod, p->group[0], len);
	p->pod[len] = '\0';
	for (int i = 0; i < p->n; i++)
		p->group[i][len + 1 + strcspn(p->group[i] + len + 1, "/")] = '\0';
}

struct reader {
	bool unified;
	const pid_t *pids;
	int n;
	struct cgroup_paths *ret;
	struct error *err;
};

static int read_one(struct reader *rd, int i)
{
	cleanup_buf struct buf text = BUF_INIT(65536);
	char path[64];
	bool v2;
	int r;

	path_format(path, sizeof(path), "/proc/%d/cgroup", rd->pids[i]);
	r = file_read(AT_FDCWD, path, &text, rd->err);
	if (r < 0)
		return r;
	r = cgroup_path_parse(text.data, rd->unified, rd->ret->group[i], sizeof(rd->ret->group[i]), &v2);
	if (r < 0)
		return error_set(rd->err, r, "cgroup of process %d cannot be told from %s", rd->pids[i], path);
	if (i > 0 && v2 != rd->ret->v2)
		return error_set(rd->err, -EBADMSG, "cgroups of the containers are of different versions");
	rd->ret->v2 = v2;
	return 0;
}

static int read_all(void *ctx)
{
	struct reader *rd = ctx;
	int r = 0;

	for (int i = 0; r == 0 && i < rd->n; i++)
		r = read_one(rd, i);
	return r;
}

/* /proc/PID/cgroup answers in terms of the reader's cgroup namespace; the agent's is not the node's. */
int cgroup_paths_read(const char *cgroup_root, const pid_t *pids, int n, struct cgroup_paths *ret, struct error *err)
{
	struct reader rd = { cgroup_is_unified(cgroup_root), pids, n, ret, err };
	int r = cgroup_ns_run(read_all, &rd, err);

	if (r < 0)
		return r;
	ret->n = n;
	cgroup_paths_split(ret);
	return 0;
}

int cgroup_paths_of_pod(const char *cgroup_root, pid_t pid, struct cgroup_paths **ret, struct error *err)
{
	cleanup_free struct cgroup_paths *p = calloc(1, sizeof(*p));
	int r = p ? cgroup_paths_read(cgroup_root, &pid, 1, p, err) : error_set(err, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	if (!p->pod_named)
		return error_set(err, -ENOENT, "process %d is in no cgroup of a pod", (int)pid);
	*ret = take_ptr(p);
	return 0;
}
