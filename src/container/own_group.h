/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_OWN_GROUP_H
#define SRC_CONTAINER_OWN_GROUP_H

#include <sys/types.h>

#include "base/error.h"

/*
 * A cgroup of ours on the node, beside the pods', for programs that must outlive the agent's container.  The agent's pod shares the node's pid namespace,
 * and when such a container ends the container runtime kills all that is in its cgroup (runc: "kill --all").  A CRIU that is killed while it
 * holds an application takes the application with it.
 */
#define OWN_GROUPS_MAX 24

/*
 * Makes the group where it is missing and opens cgroup.procs of each hierarchy; fds (at least OWN_GROUPS_MAX + 1) ends with -1, as process_spec wants
 * it.  Also after an error what is in fds is to be closed by own_group_close.
 */
int own_group_open(pid_t host_pid, int *fds, struct error *err);
void own_group_close(int *fds);

#endif
