/* SPDX-License-Identifier: Apache-2.0 */
#include "container/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/reason.h"

#define CONFIG_MAX (1u << 20)

void bundle_free(struct bundle *b)
{
	if (!b)
		return;
	cJSON_Delete(b->config);
	free(b);
}

static void bundle_freep(struct bundle **b)
{
	bundle_free(*b);
}

const char *bundle_annotation(const struct bundle *b, const char *key)
{
	const cJSON *all = json_at(b->config, "annotations");
	const cJSON *v = cJSON_IsObject(all) ? cJSON_GetObjectItemCaseSensitive(all, key) : NULL;

	return cJSON_IsString(v) ? v->valuestring : NULL;
}

/* OCI runtime spec, mounts: a bind mount is one with the option bind or rbind; runc takes the type "bind" as well. */
static bool is_bind(const cJSON *mount)
{
	const cJSON *option;

	cJSON_ArrayForEach(option, json_at(mount, "options")) if (cJSON_IsString(option) &&
								  (!strcmp(option->valuestring, "bind") ||
								   !strcmp(option->valuestring, "rbind"))) return true;
	return !strcmp(json_str_or(mount, "type", ""), "bind");
}

static int read_mounts(struct bundle *b, struct error *err)
{
	const cJSON *all = json_at(b->config, "mounts"), *m;

	if (all && !cJSON_IsArray(all))
		return error_set(err, -EINVAL, "config.json: mounts is no array");
	cJSON_ArrayForEach(m, all)
	{
		struct bundle_mount *out = &b->mounts[b->n_mounts];
		const char *destination = json_str(m, "destination");

		if (b->n_mounts == BUNDLE_MOUNTS_MAX)
			return error_set(err, -E2BIG, "config.json: more than %d mounts", BUNDLE_MOUNTS_MAX);
		if (!destination)
			return error_set(err, -EINVAL, "config.json: mount %d has no destination", b->n_mounts);
		if (path_format(out->destination, sizeof(out->destination), "%s", destination) < 0 ||
		    path_format(out->source, sizeof(out->source), "%s", json_str_or(m, "source", "")) < 0)
			return error_set(err, -ENAMETOOLONG, "config.json: a path of mount %d is too long", b->n_mounts);
		out->bind = is_bind(m);
		out->mapped = json_at(m, "uidMappings") != NULL;
		b->n_mounts++;
	}
	return 0;
}

/* The first number outside of a map that is one range from 0 on. */
static int read_map(const struct bundle *b, const char *name, uint32_t *ret_first, uint32_t *ret_count)
{
	const cJSON *map = json_at(b->config, name), *e = cJSON_IsArray(map) ? cJSON_GetArrayItem(map, 0) : NULL;
	int64_t inside, first, count;

	*ret_first = *ret_count = 0;
	if (!e)
		return 0;
	if (cJSON_GetArraySize(map) != 1 || json_int(e, "containerID", 0, 0, &inside) < 0 || json_int(e, "hostID", 1, UINT32_MAX - 1, &first) < 0 ||
	    json_int(e, "size", 1, UINT32_MAX - first, &count) < 0)
		return -ENOTSUP;
	*ret_first = (uint32_t)first;
	*ret_count = (uint32_t)count;
	return 0;
}

static int read_ids(struct bundle *b, struct error *err)
{
	uint32_t groups;

	if (read_map(b, "linux/uidMappings", &b->ids.uid, &b->ids.count) < 0 || read_map(b, "linux/gidMappings", &b->ids.gid, &groups) < 0 || groups != b->ids.count)
		return error_reason(err, -ENOTSUP, REASON_UnsupportedContainer, "its user namespace has other ids than one range from 0 on, the same for users and groups");
	return 0;
}

static int read_linux(struct bundle *b, struct error *err)
{
	const cJSON *ns;
	const char *netns = "";

	cJSON_ArrayForEach(ns, json_at(b->config, "linux/namespaces")) if (!strcmp(json_str_or(ns, "type", ""), "network"))
		netns = json_str_or(ns, "path", "");
	if (path_format(b->netns, sizeof(b->netns), "%s", netns) < 0 ||
	    path_format(b->cgroups_path, sizeof(b->cgroups_path), "%s", json_str_or(b->config, "linux/cgroupsPath", "")) < 0)
		return error_set(err, -ENAMETOOLONG, "config.json: a path is too long");
	b->terminal = json_bool(b->config, "process/terminal");
	return 0;
}

int bundle_load(int dirfd, const char *bundle_dir, struct bundle **ret, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(CONFIG_MAX);
	cleanup_with(bundle_freep) struct bundle *b = calloc(1, sizeof(*b));
	char path[4096];
	int r;

	if (!b)
		return error_set(err, -ENOMEM, "read the bundle: out of memory");
	/* openat ignores dirfd for an absolute path, but the caller's "/" is dirfd. */
	while (dirfd != AT_FDCWD && *bundle_dir == '/')
		bundle_dir++;
	if (path_format(path, sizeof(path), "%s/config.json", *bundle_dir ? bundle_dir : ".") < 0)
		return error_set(err, -ENAMETOOLONG, "path of the bundle is too long");
	r = file_read(dirfd, path, &text, err);
	if (r == 0)
		r = json_parse(text.data, text.len, CONFIG_MAX, &b->config, err);
	if (r == 0 && !cJSON_IsObject(b->config))
		r = error_set(err, -EINVAL, "config.json is no object");
	if (r == 0)
		r = read_mounts(b, err);
	if (r == 0)
		r = read_linux(b, err);
	if (r == 0)
		r = read_ids(b, err);
	if (r < 0)
		return error_wrap(err, r, "bundle %s", bundle_dir);
	*ret = take_ptr(b);
	return 0;
}
