/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CGROUP_OPTIONS_H
#define CONTAINER_CGROUP_OPTIONS_H

#include <sys/types.h>

#include "base/error.h"

/*
 * CRIU up to 4.2.1 mounts cgroup2 without options while it dumps and while it restores, and takes nsdelegate,
 * memory_recursiveprot .. from the whole node by that: they belong to the file system, not to the mount
 * (checkpoint-restore/criu#3029).  So they are noted before CRIU runs first and set again after it has run.
 *
 * host_pid: as in struct runc.
 */

/* Notes the node's options in PM_RUN_DIR, once a boot: what was noted stays, whoever asks again. */
int cgroup_options_keep(pid_t host_pid, struct error *err);
/* Sets again what was noted and is missing now.  0 also when nothing was noted or nothing is missing. */
int cgroup_options_restore(pid_t host_pid, struct error *err);

#endif
