/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_FENCE_H
#define CONTAINER_FENCE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Keeps the node from starting anything more in a pod.  The kubelet goes on probing a frozen pod, and when its patience ends it kills a container and starts it anew
 * from its image: a second copy, when the first one runs at the destination by then.  At the limit of processes of the pod's cgroup (pids.max 0) the kernel refuses
 * every fork below it and leaves whoever is there alone (Documentation/admin-guide/cgroup-v1/pids.rst and cgroup-v2.rst); runc forks inside the new container's cgroup,
 * so that none can be created.  What is executed in a container that is there is frozen with it.  To end and remove containers needs no fork there.
 */
struct fence {
	char group[1024];       /* the pod's cgroup, "/kubepods/..", "" when there is none to be closed */
	char limit[24];         /* pids.max as it was: a number or "max" */
	bool v2;
};

/*
 * The fence of the pod that process pid belongs to, as it stands.  cgroup_root: e.g. /proc/1/root/sys/fs/cgroup.  -ENOENT: no such controller, or the process is in no
 * group that has the kubelet's name for a pod's.
 */
int fence_look(const char *cgroup_root, pid_t pid, struct fence *ret, struct error *err);
/* Idempotent.  0 for an empty fence, and when the pod's group is gone.  Reason FreezeFailed when it cannot be closed. */
int fence_close(const char *cgroup_root, const struct fence *f, struct error *err);
int fence_lift(const char *cgroup_root, const struct fence *f, struct error *err);
/*
 * A fence that is closed stays closed until the guard is stopped, whoever writes to it: with the systemd driver the pod's group is a unit of systemd, which at any
 * `systemctl daemon-reload` writes back the limit that it knows.  *ret is NULL where there is nothing to be kept.  stop takes NULL, and leaves the fence closed.
 * end does the same at once, and stop is due all the same: closing an inotify(7) takes 10 ms or more (fs/notify/mark.c, fsnotify_wait_marks_destroyed: an SRCU grace period).
 */
struct fence_guard;
int fence_guard_start(const char *cgroup_root, const struct fence *f, struct fence_guard **ret, struct error *err);
void fence_guard_end(struct fence_guard *g);
void fence_guard_stop(struct fence_guard *g);
/* Fields that were read from a file: whether they are what fence_look() may have given. */
bool fence_is_sound(const struct fence *f);

#endif
