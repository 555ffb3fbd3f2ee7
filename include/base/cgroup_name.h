/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CGROUP_NAME_H
#define BASE_CGROUP_NAME_H

#include <stddef.h>

/*
 * The path below each hierarchy's root for linux.cgroupsPath of a config.json: "/kubepods/.." (cgroupfs driver) or "slice:prefix:name" (systemd driver).
 * -EINVAL for anything else, -ENAMETOOLONG.
 */
int cgroup_name_expand(const char *cgroups_path, char *out, size_t size);

#endif
