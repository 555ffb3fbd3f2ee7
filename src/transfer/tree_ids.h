/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_TREE_IDS_H
#define SRC_TRANSFER_TREE_IDS_H

#include <stddef.h>

#include "base/ids.h"

/*
 * Users and groups inside of an extended attribute's value, changed in place from what the file system has to what the container sees, or back: file capabilities of a namespace
 * (linux/capability.h, vfs_ns_cap_data) and POSIX ACLs (linux/posix_acl_xattr.h).  Other attributes, and values of another form, stay as they are.
 * 0; 1: it means nothing in the namespace, and is to be left out (a capability whose root is nobody there: it would be the node's root's); -ERANGE: it names ids that a namespace of this size has not.
 */
enum tree_ids_way { TREE_IDS_INSIDE, TREE_IDS_OUTSIDE };
int tree_ids_value(const struct id_range *ids, enum tree_ids_way way, const char *name, void *value, size_t len);

#endif
