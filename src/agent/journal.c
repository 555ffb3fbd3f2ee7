/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#define ENTRY_MAX 8192

static const char *const step_name[] = { "None", "Freeze", "Sent", "Commit", "Lost", "Back", "Running" };

const char *journal_step_name(enum journal_step s)
{
	return step_name[s];
}

static int entry_path(const struct agent_options *o, const char *migration, char *out, size_t size, struct error *err)
{
	if (!name_is_safe(migration))
		return error_set(err, -EINVAL, "not a migration's UID");
	if (agent_host_path(o, out, size, "%s/journal/%s.json", PM_STATE_DIR, migration) < 0)
		return error_set(err, -ENAMETOOLONG, "journal path too long");
	return 0;
}

static void add_fence(cJSON *j, const struct fence *f)
{
	cJSON *o = f->group[0] ? cJSON_AddObjectToObject(j, "fence") : NULL;

	cJSON_AddStringToObject(o, "group", f->group);
	cJSON_AddStringToObject(o, "limit", f->limit);
	cJSON_AddBoolToObject(o, "v2", f->v2);
}

int journal_write(const struct agent_options *o, const struct journal_entry *e, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(ENTRY_MAX);
	cleanup_json cJSON *j = cJSON_CreateObject();
	char dir[4096], path[4096];
	int r;

	cJSON_AddStringToObject(j, "migration", e->migration);
	cJSON_AddStringToObject(j, "namespace", e->ns);
	cJSON_AddStringToObject(j, "name", e->name);
	cJSON_AddStringToObject(j, "podUID", e->pod_uid);
	cJSON_AddStringToObject(j, "podName", e->pod_name);
	cJSON_AddStringToObject(j, "podNamespace", e->pod_ns);
	cJSON_AddStringToObject(j, "podIP", e->pod_ip);
	cJSON_AddNumberToObject(j, "port", e->port);
	cJSON_AddBoolToObject(j, "remote", e->remote);
	cJSON_AddStringToObject(j, "step", step_name[e->step]);
	add_fence(j, &e->fence);
	r = json_print(j, &b);
	if (r < 0)
		return error_set(err, r, "out of memory for the journal");
	r = entry_path(o, e->migration, path, sizeof(path), err);
	if (r < 0)
		return r;
	if (agent_host_path(o, dir, sizeof(dir), "%s/journal", PM_STATE_DIR) < 0)
		return error_set(err, -ENAMETOOLONG, "journal path too long");
	r = dir_make(AT_FDCWD, dir, 0700, err);
	if (r == 0)
		r = file_write(AT_FDCWD, path, b.data, b.len, 0600, true, err);
	return r < 0 ? error_wrap(err, r, "journal") : 0;
}

static int parse_fence(const cJSON *o, struct fence *f)
{
	if (!o)
		return 0;
	f->v2 = json_bool(o, "v2");
	if (text_copy(f->group, sizeof(f->group), json_str(o, "group")) < 0 || text_copy(f->limit, sizeof(f->limit), json_str(o, "limit")) < 0)
		return -EINVAL;
	return fence_is_sound(f) ? 0 : -EINVAL;
}

/* An older version noted no podName, of which the PodMigration often has the pod's, and no podNamespace. */
static int parse_entry(const cJSON *j, struct journal_entry *e)
{
	const char *step = json_str_or(j, "step", "");
	int64_t port;

	if (text_copy(e->migration, sizeof(e->migration), json_str(j, "migration")) < 0 ||
	    text_copy(e->ns, sizeof(e->ns), json_str(j, "namespace")) < 0 || text_copy(e->name, sizeof(e->name), json_str(j, "name")) < 0 ||
	    text_copy(e->pod_uid, sizeof(e->pod_uid), json_str(j, "podUID")) < 0 ||
	    text_copy(e->pod_name, sizeof(e->pod_name), json_str_or(j, "podName", e->name)) < 0 ||
	    text_copy(e->pod_ns, sizeof(e->pod_ns), json_str_or(j, "podNamespace", "")) < 0 ||
	    text_copy(e->pod_ip, sizeof(e->pod_ip), json_str(j, "podIP")) < 0 || json_int(j, "port", 0, 65535, &port) < 0 ||
	    parse_fence(json_at(j, "fence"), &e->fence) < 0)
		return -EINVAL;
	e->port = (uint16_t)port;
	e->remote = json_bool(j, "remote");
	for (size_t i = 1; i < sizeof(step_name) / sizeof(step_name[0]); i++)
		if (!strcmp(step, step_name[i])) {
			e->step = (enum journal_step)i;
			return 0;
		}
	return -EINVAL;
}

int journal_read(const struct agent_options *o, const char *migration, struct journal_entry *ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(ENTRY_MAX);
	cleanup_json cJSON *j = NULL;
	struct journal_entry e = { 0 };
	char path[4096];
	int r;

	r = entry_path(o, migration, path, sizeof(path), err);
	if (r == 0)
		r = file_read(AT_FDCWD, path, &b, err);
	if (r == 0)
		r = json_parse(b.data, b.len, ENTRY_MAX, &j, err);
	if (r < 0)
		return r;
	if (parse_entry(j, &e) < 0 || strcmp(e.migration, migration))
		return error_set(err, -EINVAL, "journal entry %s is damaged", path);
	*ret = e;
	return 0;
}

int journal_remove(const struct agent_options *o, const char *migration, struct error *err)
{
	char path[4096], tmp[4096];
	int r = entry_path(o, migration, path, sizeof(path), err);

	if (r < 0)
		return r;
	if (unlink(path) < 0 && errno != ENOENT)
		return error_errno(err, "remove %s", path);
	/* file_write's own, of a writer that was killed. */
	return path_format(tmp, sizeof(tmp), "%s.tmp", path) == 0 && unlink(tmp) < 0 && errno != ENOENT ? error_errno(err, "remove %s", tmp) : 0;
}

int journal_each(const struct agent_options *o, void (*each)(void *ctx, const struct journal_entry *e), void *ctx, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *de;
	char dir[4096];

	if (agent_host_path(o, dir, sizeof(dir), "%s/journal", PM_STATE_DIR) < 0)
		return error_set(err, -ENAMETOOLONG, "journal path too long");
	d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : error_errno(err, "open %s", dir);
	while ((de = readdir(d))) {
		struct journal_entry e;
		struct error why = { 0 };
		char uid[256];
		size_t len = strlen(de->d_name);

		if (len < 6 || strcmp(de->d_name + len - 5, ".json"))
			continue;
		snprintf(uid, sizeof(uid), "%.*s", (int)(len - 5), de->d_name);
		if (journal_read(o, uid, &e, &why) < 0)
			log_error("journal entry cannot be read and is left alone", LOG_S("err", why.message));
		else
			each(ctx, &e);
	}
	return 0;
}
