/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CGROUPS_H
#define RUNTIME_CGROUPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/*
 * The cgroups of this process, v1 (one per hierarchy) and v2.  The shim remembers the cgroup of the pid it is given, so a monitor must be in the container's
 * before it is announced, and leaves it before the application comes.
 */
#define CGROUPS_MAX 32

struct cgroups {
	struct {
		char mount[128];        /* /sys/fs/cgroup/cpu */
		char path[512];         /* of this process in it */
		int cpuset;
	} items[CGROUPS_MAX];
	int n;
};

int cgroups_current(struct cgroups *ret, struct error *err);
/*
 * A container has its own groups of cgroup v1 bound below its /sys/fs/cgroup.  runc takes for them the groups that it is in itself when it looks (libcontainer/rootfs_linux.go, getCgroupMounts): at a start those of
 * the container, whose init looks, but at a restore its own.  Returns, in path, what the source of such a mount is to be instead; NULL: it is no such mount.  here: where this process and runc are.
 */
const char *cgroups_own_source(const struct cgroups *here, const char *cgroups_path, const char *source, char *path, size_t size);
/* Moves this process there; makes what is missing. */
int cgroups_join(const struct cgroups *all, const char *cgroups_path, struct error *err);
int cgroups_return(const struct cgroups *all, struct error *err);       /* back to where cgroups_current found us */
bool cgroups_kill(const struct cgroups *all, const char *cgroups_path);         /* SIGKILL to every process there and below; there were some */
void cgroups_remove(const struct cgroups *all, const char *cgroups_path);       /* the leaf groups, when empty */

#endif
