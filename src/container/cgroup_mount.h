/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_CGROUP_MOUNT_H
#define SRC_CONTAINER_CGROUP_MOUNT_H

#include <stdbool.h>
#include <stddef.h>

/* The parts of cgroup_options that need no kernel.  A mask has a bit for each cgroup2 option that is known. */
unsigned int cgroup_options_mask(const char *options);
/* One line of mountinfo: true for a cgroup2 mount, with its mount point and options. */
bool cgroup_mount_parse(const char *line, char *path, size_t size, unsigned int *ret_mask);

#endif
