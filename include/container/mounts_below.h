/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_MOUNTS_BELOW_H
#define CONTAINER_MOUNTS_BELOW_H

#include <sys/types.h>

#include "base/error.h"

/*
 * Detaches whatever is mounted on the node below this folder of ours (an absolute path there): CRIU's mounts of the node's cgroups in its work folder, when it was killed.  A process
 * that has them open still keeps them.  host_pid: as for runc (container/runc.h).
 */
int mounts_below_detach(pid_t host_pid, const char *folder, struct error *err);

#endif
