/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_WARM_H
#define CONTAINER_WARM_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Two things for which the kernel makes who does them first in a while wait, 4 to 36 ms on an idle node, and those after him not.  CRIU does both while the
 * application stands still, so we do them a moment before.
 */
enum {
	/*
	 * CRIU sets a hardware breakpoint in each process (compel/src/lib/infect.c), to the kernel a perf event: the first such event patches the scheduler
	 * and waits for an RCU grace period (kernel/events/core.c, account_event).  We hold one that counts nothing; a second after it is gone the patch is taken back.
	 */
	WARM_BREAKPOINTS = 1,
	/*
	 * CRIU moves what it restores into the container's cgroups: the first move waits for a grace period (kernel/cgroup/cgroup.c, cgroup_threadgroup_rwsem;
	 * kernel/rcu/sync.c).  Our thread makes moves that move nothing, each some 60 us.  A mount of the hierarchy with favordynmods does the same for a whole node.
	 */
	WARM_CGROUPS = 2,
};

struct warm;

/*
 * Starts a thread that does it, and goes on doing it until it is stopped, or for max_us.  host_pid as in struct runc.  A negative errno with *ret NULL: nothing was
 * done, and CRIU will wait.
 */
int warm_start(unsigned what, pid_t host_pid, int64_t max_us, struct warm **ret, struct error *err);

/* Ends it and frees w; NULL is nothing. */
void warm_stop(struct warm *w);

#endif
