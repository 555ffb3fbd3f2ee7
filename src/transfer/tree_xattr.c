/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "migration/reason.h"
#include "tree_entry.h"
#include "tree_ids.h"

bool tree_xattr_carried(const char *name)
{
	static const char *const names[] = { "security.capability", "system.posix_acl_access", "system.posix_acl_default" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return strncmp(name, "user.", 5) == 0 && name[5];
}

/* A kernel interface of two calls whose answer may grow in between; xattr(7): a list and a value have at most 64 KiB. */
static ssize_t list_names(const char *path, char **ret)
{
	char *names = malloc(XATTR_LIST_MAX);
	ssize_t n = names ? listxattr(path, names, XATTR_LIST_MAX) : -1;

	if (n < 0) {
		int code = names ? -errno : -ENOMEM;

		free(names);
		*ret = NULL;
		return code == -EOPNOTSUPP ? 0 : code;
	}
	*ret = names;
	return n;
}

static int add_value(const char *path, const struct id_range *ids, const char *name, cJSON *out, size_t *total)
{
	cleanup_buf struct buf text = BUF_INIT(2 * XATTR_SIZE_MAX);
	cleanup_free char *value = malloc(XATTR_SIZE_MAX);
	ssize_t n = value ? getxattr(path, name, value, XATTR_SIZE_MAX) : -1;
	int r;

	if (n < 0)
		return value ? -errno : -ENOMEM;
	*total += strlen(name) + (size_t)n;
	if (*total > TREE_XATTRS_MAX)
		return -E2BIG;
	r = tree_ids_value(ids, TREE_IDS_INSIDE, name, value, (size_t)n);
	if (r)
		return r < 0 ? r : 0;
	r = base64_encode(value, (size_t)n, &text);
	if (r < 0)
		return r;
	return cJSON_AddStringToObject(out, name, text.data ? text.data : "") ? 0 : -ENOMEM;
}

int tree_xattrs_read(const char *path, const struct id_range *ids, cJSON **ret, struct error *err)
{
	cleanup_json cJSON *out = NULL;
	cleanup_free char *names = NULL;
	ssize_t len = list_names(path, &names);
	size_t total = 0;
	int r = len < 0 ? (int)len : 0;

	for (const char *name = names; r == 0 && name && name < names + len; name += strlen(name) + 1) {
		if (!tree_xattr_carried(name))
			continue;
		if (!out && !(out = cJSON_CreateObject()))
			r = -ENOMEM;
		if (r == 0)
			r = add_value(path, ids, name, out, &total);
	}
	if (r < 0) {
		errno = -r;
		return error_errno(err, "read extended attributes");
	}
	*ret = take_ptr(out);
	return 0;
}

/* What a kept folder had and the source's has not. */
static int remove_others(const char *path, const cJSON *xattrs)
{
	cleanup_free char *names = NULL;
	ssize_t len = list_names(path, &names);

	for (const char *name = names; len > 0 && name < names + len; name += strlen(name) + 1)
		if (tree_xattr_carried(name) && !(xattrs && cJSON_GetObjectItemCaseSensitive(xattrs, name)) &&
		    removexattr(path, name) < 0 && errno != ENODATA)
			return -errno;
	return len < 0 ? (int)len : 0;
}

static int refuse(struct error *err, const char *name)
{
	return error_reason(err, -EPROTO, REASON_ProtocolError, "extended attribute %.200s", name);
}

static int write_one(const char *path, const struct id_range *ids, const char *name, struct buf *value, struct error *err)
{
	int r = value->len ? tree_ids_value(ids, TREE_IDS_OUTSIDE, name, value->data, value->len) : 0;

	if (r < 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "extended attribute %.200s names ids that the pod's user namespace of %u does not have", name, ids->count);
	/* Nor what it had, in a folder that stays. */
	if (r > 0)
		return removexattr(path, name) < 0 && errno != ENODATA ? error_errno(err, "remove extended attribute %s", name) : 0;
	return setxattr(path, name, value->data ? value->data : "", value->len, 0) < 0 ? error_errno(err, "set extended attribute %s", name) : 0;
}

int tree_xattrs_write(const char *path, const struct id_range *ids, const cJSON *xattrs, struct error *err)
{
	const cJSON *item;
	size_t total = 0;
	int r = remove_others(path, xattrs);

	if (r < 0) {
		errno = -r;
		return error_errno(err, "remove extended attributes");
	}
	cJSON_ArrayForEach(item, xattrs)
	{
		cleanup_buf struct buf value = BUF_INIT(XATTR_SIZE_MAX);
		const char *text = cJSON_IsString(item) ? item->valuestring : NULL;

		if (!text || !tree_xattr_carried(item->string) || strlen(item->string) > XATTR_NAME_MAX ||
		    base64_decode(text, strlen(text), &value) < 0)
			return refuse(err, item->string ? item->string : "");
		total += strlen(item->string) + value.len;
		if (total > TREE_XATTRS_MAX)
			return refuse(err, "values too large");
		r = write_one(path, ids, item->string, &value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int tree_xattr_first(const char *path, const char *name, char *ret_first)
{
	char value[64];
	ssize_t n = getxattr(path, name, value, sizeof(value));

	if (n < 0 && errno == ERANGE) {
		*ret_first = '?';
		return 1;
	}
	if (n < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? 0 : -errno;
	*ret_first = n ? value[0] : '\0';
	return 1;
}
