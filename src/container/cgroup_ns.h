/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_CGROUP_NS_H
#define SRC_CONTAINER_CGROUP_NS_H

#include "base/error.h"

/*
 * Runs fn(ctx) in the node's cgroup namespace, that of pid 1: in a thread of its own when it is not ours (a namespace is a
 * thread's).  Returns what fn returned, or the negative errno of getting there.
 */
int cgroup_ns_run(int (*fn)(void *ctx), void *ctx, struct error *err);

#endif
