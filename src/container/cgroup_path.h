/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_CGROUP_PATH_H
#define SRC_CONTAINER_CGROUP_PATH_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "container/freezer.h"

#define CGROUP_PATH_MAX 1024

/* Paths below the freezer hierarchy, each starting with "/". */
struct cgroup_paths {
	bool v2;                   /* cgroup v2 */
	bool pod_named;            /* the pod's group has the kubelet's name for one */
	char pod[CGROUP_PATH_MAX]; /* "" when it cannot be told; not named: some group above all containers */
	char group[FREEZER_GROUPS_MAX][CGROUP_PATH_MAX];
	int n;
};

/*
 * Whether cgroup_root (e.g. /proc/1/root/sys/fs/cgroup) is itself the file system of version 2.  runc then uses nothing else, whatever hierarchies of version 1 are
 * mounted elsewhere (libcontainer/cgroups, IsCgroup2UnifiedMode).
 */
bool cgroup_is_unified(const char *cgroup_root);

/*
 * The groups of the containers whose processes pids are, as the node's own cgroup namespace (that of pid 1) names them, and the
 * pod's group above them.  A process may sit in a subgroup its container made: the container's group is the one just below the
 * pod's.
 */
int cgroup_paths_read(const char *cgroup_root, const pid_t *pids, int n, struct cgroup_paths *ret, struct error *err);
/* The same of one process, in memory of the caller's.  -ENOENT: it is in no container of a pod. */
int cgroup_paths_of_pod(const char *cgroup_root, pid_t pid, struct cgroup_paths **ret, struct error *err);

/*
 * The parts of it that need no kernel: one process's path out of the text of /proc/PID/cgroup (0 or -EBADMSG; unified: only version
 * 2 counts), and the split at the pod's group.
 */
int cgroup_path_parse(const char *text, bool unified, char *out, size_t size, bool *ret_v2);
void cgroup_paths_split(struct cgroup_paths *p);

#endif
