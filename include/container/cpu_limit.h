/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CPU_LIMIT_H
#define CONTAINER_CPU_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * How much processor time a container may use for a while: its CFS quota, cpu.cfs_quota_us with cgroup v1 (Documentation/scheduler/sched-bwc.rst), cpu.max with v2
 * (cgroup-v2.rst).  The period stays the container's own, so that each change is one write of one file.
 *
 * It is the container's group and not the pod's.  In v1 a group may not have less than one below it (kernel/sched/core.c, tg_cfs_schedulable_down: EINVAL), so the pod's cannot be lowered
 * while a container has a limit of its own; the kubelet writes the pod's group by itself, a container's only by way of the runtime (in-place resize); and containers that write
 * little go on at full speed.  What is written there while the limit is ours is taken for the pod's own and stays.
 */
#define CPU_LIMIT_TEXT 48

struct cpu_limit {
	char group[1024];               /* the container's cgroup, "/kubepods/..", "" when there is none */
	bool v2;
	int64_t period_us;
	char own[CPU_LIMIT_TEXT];       /* as it was: the text of the file */
	char set[2][CPU_LIMIT_TEXT];    /* ours: the one before, and the last; "" when there is none.  Either may stand in the file. */
};

/* That of the container which process pid belongs to.  cgroup_root: as of fence_look().  -ENOENT: no such controller, or the process is in no container of a pod. */
int cpu_limit_look(const char *cgroup_root, pid_t pid, struct cpu_limit *ret, struct error *err);
/* Processor time that the container has used up to now. */
int cpu_limit_used(const char *cgroup_root, const struct cpu_limit *l, int64_t *ret_us, struct error *err);
/*
 * The next one of ours, at most quota_us in each period, no more than the container's own and no less than the kernel takes; it is noted in *l (to be made durable) and not yet written.  What
 * somebody else has written meanwhile becomes own.
 */
int cpu_limit_plan(const char *cgroup_root, struct cpu_limit *l, int64_t quota_us, struct error *err);
int cpu_limit_write(const char *cgroup_root, const struct cpu_limit *l, struct error *err);
/* Puts back what was there, if what stands there is ours.  0 also for an empty one, and when the group is gone.  Idempotent. */
int cpu_limit_lift(const char *cgroup_root, const struct cpu_limit *l, struct error *err);
/* Microseconds in each period that a text of the file allows; INT64_MAX: as many as it likes; -EINVAL: it is none. */
int64_t cpu_limit_quota(const char *text, bool v2);
/* Fields that were read from a file: whether they are what the functions above may have given. */
bool cpu_limit_is_sound(const struct cpu_limit *l);

#endif
