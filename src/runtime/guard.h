/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_GUARD_H
#define RUNTIME_GUARD_H

#include "base/error.h"
#include "cgroups.h"

/*
 * A process that outlives the monitor, and makes its death that of all that is in the container's cgroup.  containerd takes the monitor for the application, and the container for stopped when it has
 * been killed; but it forgets it only when nobody holds the container's standard streams any more (task.Delete waits for their end).  The application, of which nobody is told, would run on,
 * could not be killed, and its pod never be deleted; and one that had been let go a moment before might run beside its source.
 */
struct guard {
	int fd;                         /* its pidfd; -1: none */
};

#define GUARD_NONE { .fd = -1 }

/* Called by the monitor, which has one thread; the guard is not its child, which counts those (monitor.c). */
int guard_start(const struct cgroups *all, const char *cgroups_path, struct guard *ret, struct error *err);
/* The monitor ends by itself: nothing of the container is left, or it is for others to see to that. */
void guard_end(struct guard *g);

#endif
