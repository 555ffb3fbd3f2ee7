/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_ids.h"

#include <endian.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

static void change(const struct id_range *ids, enum tree_ids_way way, uint32_t first, void *at)
{
	uint32_t id;

	memcpy(&id, at, sizeof(id));
	id = le32toh(id);
	id = htole32(way == TREE_IDS_INSIDE ? id_inside(ids, first, id) : id_outside(ids, first, id));
	memcpy(at, &id, sizeof(id));
}

static void change_capability(const struct id_range *ids, enum tree_ids_way way, char *value, size_t len)
{
	/* Those of revision 2 name no user. */
	if (len == sizeof(struct vfs_ns_cap_data))
		change(ids, way, ids->uid, value + offsetof(struct vfs_ns_cap_data, rootid));
}

static void change_acl(const struct id_range *ids, enum tree_ids_way way, char *value, size_t len)
{
	for (size_t at = sizeof(struct posix_acl_xattr_header); at + sizeof(struct posix_acl_xattr_entry) <= len; at += sizeof(struct posix_acl_xattr_entry)) {
		struct posix_acl_xattr_entry e;

		memcpy(&e, value + at, sizeof(e));
		if (le16toh(e.e_tag) == ACL_USER || le16toh(e.e_tag) == ACL_GROUP)
			change(ids, way, le16toh(e.e_tag) == ACL_USER ? ids->uid : ids->gid, value + at + offsetof(struct posix_acl_xattr_entry, e_id));
	}
}

void tree_ids_value(const struct id_range *ids, enum tree_ids_way way, const char *name, void *value, size_t len)
{
	if (!id_range_is(ids))
		return;
	if (!strcmp(name, "security.capability"))
		change_capability(ids, way, value, len);
	else if (!strncmp(name, "system.posix_acl_", 17))
		change_acl(ids, way, value, len);
}
