/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_FENCE_GROUP_H
#define CONTAINER_FENCE_GROUP_H

#include "container/fence.h"

#define FENCE_FILE "pids.max"
#define FENCE_CLOSED "0"

/* The pod's group where it has a limit of processes; -ENOENT: it is gone, or has none. */
int fence_group_open(const char *cgroup_root, const struct fence *f, int *ret, struct error *err);

#endif
