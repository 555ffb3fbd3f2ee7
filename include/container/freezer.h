/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_FREEZER_H
#define CONTAINER_FREEZER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * The cgroup freezer, v1 (freezer hierarchy) and v2 (cgroup.freeze).  A group is an open folder of the freezer hierarchy.
 */
#define FREEZER_GROUPS_MAX 64

struct freezer {
	int pod_fd; /* the pod's group: parent of all, -1 when unknown */
	int group_fd[FREEZER_GROUPS_MAX];
	int n;
	bool v2;
};

/*
 * cgroup_root: e.g. /proc/1/root/sys/fs/cgroup.  Group i is that of the container of process pids[i]: the group just below the
 * pod's, even when the process sits in a subgroup its container made.  The pod's group is found by the kubelet's name for it,
 * else it is the groups' common parent.
 */
int freezer_open(const char *cgroup_root, const pid_t *pids, int n, struct freezer *ret, struct error *err);
/*
 * Freezes all groups at one instant: the pod's group first (one write stops everything), then each group on its own, then the
 * pod's group is thawed while the members stay frozen.  Waits until all are FROZEN or deadline (clock_mono_us): then all are
 * thawed again and -ETIMEDOUT.
 */
int freezer_freeze(struct freezer *f, int64_t deadline_us, struct error *err);
/* Writes FROZEN again to one group and waits (CRIU thaws the group while it dumps). */
int freezer_refreeze(struct freezer *f, int i, int64_t deadline_us, struct error *err);
int freezer_thaw(struct freezer *f, struct error *err); /* all groups; idempotent */
/* v2: also of one in which somebody is being killed, while the others stand still; may wait 100 ms for its end. */
int freezer_is_frozen(struct freezer *f, int i, bool *ret, struct error *err);
/* All pids of group i (its subgroups too); returns the count, -E2BIG when there are more than max, or another negative errno. */
int freezer_pids(struct freezer *f, int i, pid_t *pids, int max);
/*
 * Ends all processes of group i, which is frozen: each is sent SIGKILL, then the group is thawed, so that they end without another step of their own (a process that is
 * told to end does so before it returns to its program, kernel/signal.c get_signal).  -ESTALE when the group is not frozen: nothing is done then.  v2 needs kernel 5.14.
 */
int freezer_kill(struct freezer *f, int i, struct error *err);
void freezer_close(struct freezer *f);

#endif
