/* SPDX-License-Identifier: Apache-2.0 */
#include "throttle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

/* --- how much --- */

#define FIRST_PERCENT 80
#define STEP_PERCENT 10
#define LEAST_PERCENT 10
#define LEAST_QUOTA_US 1000             /* of a period, as the kernel has it */

int throttle_next(int percent)
{
	if (percent > FIRST_PERCENT)
		return FIRST_PERCENT;
	return percent - STEP_PERCENT >= LEAST_PERCENT ? percent - STEP_PERCENT : 0;
}

bool throttle_has_time(int64_t round_us, int64_t left_us)
{
	return round_us < left_us / 2;
}

bool throttle_matters(int64_t left, int64_t all, int n)
{
	return left >= all / n / 2;
}

int64_t throttle_quota_us(int64_t used_us_per_s, int percent, int64_t period_us)
{
	int64_t quota = used_us_per_s * period_us / 1000000 * percent / 100;

	return quota < LEAST_QUOTA_US ? 0 : quota;
}

/* --- the note --- */

#define NOTE_MAX (WIRE_CONTAINERS_MAX * 2048)

static int note_path(const struct agent_options *o, const char *migration, char *out, size_t size, struct error *err)
{
	if (!name_is_safe(migration) || agent_host_path(o, out, size, "%s/throttled/%s.json", PM_STATE_DIR, migration) < 0)
		return error_set(err, -EINVAL, "not a migration's UID");
	return 0;
}

static cJSON *limit_json(const struct cpu_limit *l)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "group", l->group);
	cJSON_AddBoolToObject(j, "v2", l->v2);
	cJSON_AddStringToObject(j, "own", l->own);
	cJSON_AddStringToObject(j, "before", l->set[0]);
	cJSON_AddStringToObject(j, "set", l->set[1]);
	return j;
}

int throttle_note_write(const struct agent_options *o, const char *migration, const struct throttle_note *n, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(NOTE_MAX);
	cleanup_json cJSON *j = cJSON_CreateObject();
	cJSON *list = cJSON_AddArrayToObject(j, "containers");
	char dir[4096], path[4096];
	int r = note_path(o, migration, path, sizeof(path), err);

	for (int i = 0; i < n->n; i++)
		cJSON_AddItemToArray(list, limit_json(&n->limits[i]));
	if (r == 0 && json_print(j, &b) < 0)
		r = error_set(err, -ENOMEM, "out of memory for a note");
	if (r == 0 && agent_host_path(o, dir, sizeof(dir), "%s/throttled", PM_STATE_DIR) < 0)
		r = error_set(err, -ENAMETOOLONG, "path of the notes too long");
	if (r == 0)
		r = dir_make(AT_FDCWD, dir, 0700, err);
	if (r == 0)
		r = file_write(AT_FDCWD, path, b.data, b.len, 0600, true, err);
	return r < 0 ? error_wrap(err, r, "note of the CPU limits") : 0;
}

static int parse(const cJSON *j, struct throttle_note *n)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(j, "containers")) {
		struct cpu_limit l = { .v2 = json_bool(e, "v2") };

		if (n->n == WIRE_CONTAINERS_MAX || text_copy(l.group, sizeof(l.group), json_str(e, "group")) < 0 || text_copy(l.own, sizeof(l.own), json_str(e, "own")) < 0 ||
		    text_copy(l.set[0], sizeof(l.set[0]), json_str(e, "before")) < 0 || text_copy(l.set[1], sizeof(l.set[1]), json_str(e, "set")) < 0 ||
		    !cpu_limit_is_sound(&l))
			return -EINVAL;
		n->limits[n->n++] = l;
	}
	return n->n ? 0 : -EINVAL;
}

static int read_note(const struct agent_options *o, const char *migration, struct throttle_note *n, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(NOTE_MAX);
	cleanup_json cJSON *j = NULL;
	char path[4096];
	int r = note_path(o, migration, path, sizeof(path), err);

	if (r == 0)
		r = file_read(AT_FDCWD, path, &b, err);
	if (r == 0)
		r = json_parse(b.data, b.len, NOTE_MAX, &j, err);
	return r == 0 && parse(j, n) < 0 ? error_set(err, -EINVAL, "the note %s is damaged", path) : r;
}

static int remove_note(const struct agent_options *o, const char *migration, struct error *err)
{
	char path[4096], tmp[4096];
	int r = note_path(o, migration, path, sizeof(path), err);

	if (r < 0)
		return r;
	/* file_write's own, of a writer that was killed before anything was limited by it. */
	if (path_format(tmp, sizeof(tmp), "%s.tmp", path) == 0 && unlink(tmp) < 0 && errno != ENOENT)
		return error_errno(err, "remove %s", tmp);
	return unlink(path) < 0 && errno != ENOENT ? error_errno(err, "remove %s", path) : 0;
}

int throttle_lift(const struct agent_options *o, const char *migration, const struct throttle_note *n, struct error *err)
{
	struct error ignored;
	char root[4096];
	int first = 0;

	if (agent_host_path(o, root, sizeof(root), "/sys/fs/cgroup") < 0)
		return error_set(err, -ENAMETOOLONG, "cgroup path too long");
	/* One that fails keeps no other from it. */
	for (int i = 0; i < n->n; i++) {
		int r = cpu_limit_lift(root, &n->limits[i], first ? &ignored : err);

		first = first ? first : r;
	}
	return first < 0 ? error_wrap(err, first, PM_NOT_LIFTED) : remove_note(o, migration, err);
}

static int lift_one(const struct agent_options *o, const char *migration)
{
	cleanup_free struct throttle_note *n = calloc(1, sizeof(*n));
	struct error why = { 0 };
	int r = n ? read_note(o, migration, n, &why) : error_set(&why, -ENOMEM, "out of memory");

	if (r == 0)
		r = throttle_lift(o, migration, n, &why);
	if (r < 0)
		log_error("a container may go on with less CPU than it has a right to; it is tried again", LOG_S("migration", migration), LOG_S("err", why.message));
	else
		log_warning("the CPU limits that a worker has left were taken back", LOG_S("migration", migration), LOG_N("containers", n->n));
	return r;
}

int throttle_notes_lift(const struct agent_options *o, bool (*busy)(void *ctx, const char *migration), void *ctx)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	char path[4096], uid[256];
	int lifted = 0;

	if (agent_host_path(o, path, sizeof(path), "%s/throttled", PM_STATE_DIR) == 0)
		d = opendir(path);
	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len < 6 || len >= sizeof(uid) || strcmp(e->d_name + len - 5, ".json"))
			continue;
		snprintf(uid, sizeof(uid), "%.*s", (int)(len - 5), e->d_name);
		if (!busy(ctx, uid))
			lifted += lift_one(o, uid) == 0;
	}
	return lifted;
}
