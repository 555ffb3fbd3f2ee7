/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_ids.h"

#include <endian.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

static int change(const struct id_range *ids, enum tree_ids_way way, uint32_t first, void *at)
{
	uint32_t id;

	memcpy(&id, at, sizeof(id));
	id = le32toh(id);
	if (way == TREE_IDS_OUTSIDE && !id_fits(ids, id))
		return -ERANGE;
	id = htole32(way == TREE_IDS_INSIDE ? id_inside(ids, first, id) : id_outside(ids, first, id));
	memcpy(at, &id, sizeof(id));
	return 0;
}

static bool is_unknown(const void *at)
{
	uint32_t id;

	memcpy(&id, at, sizeof(id));
	return le32toh(id) == ID_UNKNOWN;
}

static int change_capability(const struct id_range *ids, enum tree_ids_way way, char *value, size_t len)
{
	char *root = value + offsetof(struct vfs_ns_cap_data, rootid);
	bool unknown;
	int r;

	/* Those of revision 2 name no user. */
	if (len != sizeof(struct vfs_ns_cap_data))
		return 0;
	unknown = way == TREE_IDS_OUTSIDE && is_unknown(root);
	r = change(ids, way, ids->uid, root);
	return r == 0 && (unknown || (way == TREE_IDS_INSIDE && is_unknown(root))) ? 1 : r;
}

static int change_acl(const struct id_range *ids, enum tree_ids_way way, char *value, size_t len)
{
	int r = 0;

	for (size_t at = sizeof(struct posix_acl_xattr_header); r == 0 && at + sizeof(struct posix_acl_xattr_entry) <= len; at += sizeof(struct posix_acl_xattr_entry)) {
		struct posix_acl_xattr_entry e;

		memcpy(&e, value + at, sizeof(e));
		if (le16toh(e.e_tag) == ACL_USER || le16toh(e.e_tag) == ACL_GROUP)
			r = change(ids, way, le16toh(e.e_tag) == ACL_USER ? ids->uid : ids->gid, value + at + offsetof(struct posix_acl_xattr_entry, e_id));
	}
	return r;
}

int tree_ids_value(const struct id_range *ids, enum tree_ids_way way, const char *name, void *value, size_t len)
{
	if (!id_range_is(ids))
		return 0;
	if (!strcmp(name, "security.capability"))
		return change_capability(ids, way, value, len);
	return strncmp(name, "system.posix_acl_", 17) ? 0 : change_acl(ids, way, value, len);
}
