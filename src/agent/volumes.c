/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

#define EMPTY_DIRS "volumes/kubernetes.io~empty-dir"

static int add(struct pod_volumes *v, const struct id_range *ids, const char *kind, const char *name, const char *path, struct error *err)
{
	struct pod_volume *p = &v->items[v->n];

	if (v->n == POD_VOLUMES_MAX)
		return error_set(err, -E2BIG, "the pod has more than %d volumes", POD_VOLUMES_MAX);
	if (path_format(p->tree, sizeof(p->tree), "%s%s", kind, name) < 0 || path_format(p->path, sizeof(p->path), "%s", path) < 0)
		return error_set(err, -ENAMETOOLONG, "volume %s has too long a name", name);
	p->ids = *ids;
	if (!volumes_find(v, p->tree))
		v->n++;
	return 0;
}

/* kubelet binds etc-hosts, termination logs and volumes from the pod's folder (pkg/kubelet/kubelet_getters.go). */
int volumes_pod_dir(const char *source, char *out, size_t size)
{
	const char *p = strstr(source, "/pods/"), *end = p ? strchr(p + 6, '/') : NULL;

	return end ? path_format(out, size, "%.*s", (int)(end - source), source) : -ENOENT;
}

static int add_empty_dirs(const struct agent_options *o, const char *pod_dir, const struct id_range *ids, struct pod_volumes *v, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	char dir[4096], path[4096];
	struct dirent *e;

	if (agent_host_path(o, dir, sizeof(dir), "%s/%s", pod_dir, EMPTY_DIRS) < 0)
		return error_set(err, -ENAMETOOLONG, "pod folder too long");
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "open %s", dir);
	while ((e = readdir(d))) {
		int r;

		if (e->d_name[0] == '.')
			continue;
		if (path_format(path, sizeof(path), "%s/%s/%s", pod_dir, EMPTY_DIRS, e->d_name) < 0)
			return error_set(err, -ENAMETOOLONG, "volume %s has too long a name", e->d_name);
		r = add(v, ids, "volume:", e->d_name, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int volumes_add(const struct agent_options *o, const struct bundle *b, struct pod_volumes *ret, struct error *err)
{
	for (int i = 0; i < b->n_mounts; i++) {
		const struct bundle_mount *m = &b->mounts[i];
		const struct id_range none = { 0 }, *ids = m->mapped ? &none : &b->ids;
		char pod_dir[1024];
		int r = 0;

		if (m->bind && !strcmp(m->destination, "/dev/shm")) {
			r = add(ret, ids, "shm", "", m->source, err);
		} else if (m->bind && volumes_pod_dir(m->source, pod_dir, sizeof(pod_dir)) == 0) {
			r = add_empty_dirs(o, pod_dir, ids, ret, err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

const struct pod_volume *volumes_find(const struct pod_volumes *v, const char *tree)
{
	for (int i = 0; i < v->n; i++)
		if (!strcmp(v->items[i].tree, tree))
			return &v->items[i];
	return NULL;
}
