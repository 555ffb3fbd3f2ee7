/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_NODE_H
#define SRC_CONTAINER_NODE_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The node's file at an absolute path, as seen from here: host_pid 0 when we are on the node, else that process's root. 0 or
 * -ENAMETOOLONG.
 */
int node_path(pid_t host_pid, const char *path, char *out, size_t size);

#endif
