/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_PROCESS_HELD_H
#define SRC_CONTAINER_PROCESS_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What the kernel holds for a process, tells of in tables of its own, and CRIU would lose or reading the process's files would break. */

/* A write lease (fcntl F_SETLEASE)?  Whoever opens the file, as its copying does, makes the kernel take it back. */
bool process_has_write_lease(pid_t pid);

/*
 * A multicast group that was joined in the network namespace of the process (proc_fd: /proc/PID), as text; false when there is none but those that the kernel joins by itself, or
 * when the namespace is our own, which no pod's is.  CRIU keeps no memberships, and nobody can ask a socket for its own.
 */
bool process_multicast_group(int proc_fd, char *ret, size_t size);

#endif
