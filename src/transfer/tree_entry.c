/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_entry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "migration/reason.h"

static const char *const type_names[TREE_TYPES] = {
	[TREE_FOLDER] = "folder",   [TREE_FILE] = "file",         [TREE_SYMLINK] = "symlink",   [TREE_FIFO] = "fifo",
	[TREE_SOCKET] = "socket",   [TREE_WHITEOUT] = "whiteout", [TREE_HARDLINK] = "hardlink",
};

/* JSON numbers are doubles, which cannot hold nanoseconds since 1970: "seconds.nanoseconds". */
static void mtime_text(const struct timespec *t, char *out, size_t size)
{
	snprintf(out, size, "%lld.%09ld", (long long)t->tv_sec, t->tv_nsec);
}

static bool mtime_parse(const char *s, struct timespec *ret)
{
	char *end;
	long long seconds;
	long nanoseconds;

	if (!s || (*s != '-' && (*s < '0' || *s > '9')))
		return false;
	errno = 0;
	seconds = strtoll(s, &end, 10);
	if (errno || end == s || *end != '.' || strlen(end) != 10 || strspn(end + 1, "0123456789") != 9)
		return false;
	nanoseconds = strtol(end + 1, NULL, 10);
	*ret = (struct timespec){ .tv_sec = (time_t)seconds, .tv_nsec = nanoseconds };
	return true;
}

int tree_entry_to_json(const struct tree_entry *e, const char *tree, cJSON *xattrs, cJSON **ret, struct error *err)
{
	cJSON *j = cJSON_CreateObject();
	char mtime[48];
	bool ok;

	mtime_text(&e->mtime, mtime, sizeof(mtime));
	ok = j && cJSON_AddStringToObject(j, "tree", tree) && cJSON_AddStringToObject(j, "path", e->path) &&
	     cJSON_AddStringToObject(j, "type", type_names[e->type]);
	if (ok && e->type != TREE_WHITEOUT && e->type != TREE_HARDLINK)
		ok = cJSON_AddNumberToObject(j, "mode", (double)e->mode) && cJSON_AddNumberToObject(j, "uid", (double)e->uid) &&
		     cJSON_AddNumberToObject(j, "gid", (double)e->gid) && cJSON_AddStringToObject(j, "mtime", mtime);
	if (ok && e->type == TREE_FILE)
		ok = cJSON_AddNumberToObject(j, "size", (double)e->size);
	if (ok && e->patch)
		ok = cJSON_AddTrueToObject(j, "patch");
	if (ok && e->link)
		ok = cJSON_AddStringToObject(j, "link", e->link);
	if (ok && e->opaque)
		ok = cJSON_AddTrueToObject(j, "opaque");
	if (ok && xattrs) {
		ok = cJSON_AddItemToObject(j, "xattrs", xattrs);
		xattrs = ok ? NULL : xattrs;
	}
	if (!ok) {
		cJSON_Delete(xattrs);
		cJSON_Delete(j);
		return error_set(err, -ENOMEM, "out of memory for the entry of %s", e->path);
	}
	*ret = j;
	return 0;
}

bool tree_path_ok(const char *path)
{
	size_t len = path ? strlen(path) : 0;
	unsigned depth = 0;

	if (len == 0 || len > TREE_PATH_MAX)
		return false;
	if (strcmp(path, ".") == 0)
		return true;
	for (;;) {
		size_t n = strcspn(path, "/");
		char name[256];

		if (n == 0 || n >= sizeof(name) || ++depth > TREE_DEPTH_MAX)
			return false;
		memcpy(name, path, n);
		name[n] = '\0';
		if (!name_is_safe(name))
			return false;
		if (path[n] == '\0')
			return true;
		path += n + 1;
	}
}

static int refuse(struct error *err, const char *path, const char *what)
{
	return error_reason(err, -EPROTO, REASON_ProtocolError, "file entry %.200s: %s", path ? path : "without a path", what);
}

static int parse_type(const char *name, enum tree_type *ret)
{
	for (int i = 0; name && i < TREE_TYPES; i++)
		if (strcmp(name, type_names[i]) == 0) {
			*ret = (enum tree_type)i;
			return 0;
		}
	return -EINVAL;
}

static int parse_attributes(const cJSON *json, struct tree_entry *e, struct error *err)
{
	int64_t mode, uid, gid, size = 0;

	/* (uid_t)-1 means "leave it" to chown(2). */
	if (json_int(json, "mode", 0, 07777, &mode) < 0 || json_int(json, "uid", 0, UINT32_MAX - 1, &uid) < 0 ||
	    json_int(json, "gid", 0, UINT32_MAX - 1, &gid) < 0)
		return refuse(err, e->path, "mode or owner");
	if (!mtime_parse(json_str(json, "mtime"), &e->mtime))
		return refuse(err, e->path, "time");
	if (e->type == TREE_FILE && json_int(json, "size", 0, INT64_MAX, &size) < 0)
		return refuse(err, e->path, "size");
	e->mode = (mode_t)mode;
	e->uid = (uid_t)uid;
	e->gid = (gid_t)gid;
	e->size = (uint64_t)size;
	e->xattrs = json_at(json, "xattrs");
	if (e->xattrs && !cJSON_IsObject(e->xattrs))
		return refuse(err, e->path, "extended attributes");
	return 0;
}

int tree_entry_from_json(const cJSON *json, struct tree_entry *ret, struct error *err)
{
	struct tree_entry e = { .path = json_str(json, "path"),
				.link = json_str(json, "link"),
				.opaque = json_bool(json, "opaque"),
				.patch = json_bool(json, "patch") };
	bool root;

	if (!tree_path_ok(e.path))
		return refuse(err, e.path, "not a path below the root, or too long or too deep");
	if (parse_type(json_str(json, "type"), &e.type) < 0)
		return refuse(err, e.path, "unknown type (devices are not moved)");
	root = strcmp(e.path, ".") == 0;
	if ((root && e.type != TREE_FOLDER) || (e.opaque && (root || e.type != TREE_FOLDER)) || (e.patch && e.type != TREE_FILE))
		return refuse(err, e.path, "type does not fit");
	if (e.type == TREE_SYMLINK && (!e.link || !*e.link || strlen(e.link) > TREE_PATH_MAX))
		return refuse(err, e.path, "target of the symbolic link");
	if (e.type == TREE_HARDLINK && (!tree_path_ok(e.link) || strcmp(e.link, ".") == 0))
		return refuse(err, e.path, "target of the hard link");
	if (e.type != TREE_WHITEOUT && e.type != TREE_HARDLINK) {
		int r = parse_attributes(json, &e, err);

		if (r < 0)
			return r;
	}
	*ret = e;
	return 0;
}
