/* SPDX-License-Identifier: Apache-2.0 */
#include "destination_note.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "migration/machine.h"

#define NOTE_MAX 65536
#define NOTES_DIR PM_RUN_DIR "/destinations"

static int note_path(const struct agent_options *o, const char *sandbox, char *out, size_t size, struct error *err)
{
	if (!name_is_safe(sandbox) || agent_host_path(o, out, size, "%s/%s.json", NOTES_DIR, sandbox) < 0)
		return error_set(err, -EINVAL, "not a sandbox id");
	return 0;
}

static int parse(const cJSON *j, struct destination_note *n)
{
	const cJSON *e;

	if (text_copy(n->migration, sizeof(n->migration), json_str(j, "migration")) < 0 || text_copy(n->ns, sizeof(n->ns), json_str(j, "namespace")) < 0 ||
	    text_copy(n->name, sizeof(n->name), json_str(j, "name")) < 0 ||
	    text_copy(n->source_node, sizeof(n->source_node), json_str(j, "sourceNode")) < 0)
		return -EINVAL;
	n->decider = json_bool(j, "decider");
	n->later = json_bool(j, "later");
	n->told = json_bool(j, "told");
	cJSON_ArrayForEach(e, json_at(j, "containers"))
		if (n->n == WIRE_CONTAINERS_MAX || !cJSON_IsString(e) || text_copy(n->containers[n->n++], sizeof(n->containers[0]), e->valuestring) < 0)
			return -EINVAL;
	return n->n ? 0 : -EINVAL;
}

int destination_note_read(const struct agent_options *o, const char *sandbox, struct destination_note *ret, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(NOTE_MAX);
	cleanup_json cJSON *j = NULL;
	char path[4096];
	int r = note_path(o, sandbox, path, sizeof(path), err);

	memset(ret, 0, sizeof(*ret));
	if (r == 0)
		r = file_read(AT_FDCWD, path, &b, err);
	if (r == 0)
		r = json_parse(b.data, b.len, NOTE_MAX, &j, err);
	return r == 0 && parse(j, ret) < 0 ? error_set(err, -EINVAL, "the note %s is damaged", path) : r;
}

int destination_note_write(const struct agent_options *o, const char *sandbox, const struct destination_note *n, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(NOTE_MAX);
	cleanup_json cJSON *j = cJSON_CreateObject();
	cJSON *names = cJSON_AddArrayToObject(j, "containers");
	char dir[4096], path[4096];
	int r = note_path(o, sandbox, path, sizeof(path), err);

	cJSON_AddStringToObject(j, "migration", n->migration);
	cJSON_AddStringToObject(j, "namespace", n->ns);
	cJSON_AddStringToObject(j, "name", n->name);
	cJSON_AddStringToObject(j, "sourceNode", n->source_node);
	cJSON_AddBoolToObject(j, "decider", n->decider);
	cJSON_AddBoolToObject(j, "later", n->later);
	cJSON_AddBoolToObject(j, "told", n->told);
	for (int i = 0; i < n->n; i++)
		cJSON_AddItemToArray(names, cJSON_CreateString(n->containers[i]));
	if (r == 0 && json_print(j, &b) < 0)
		r = error_set(err, -ENOMEM, "out of memory for a note");
	if (r == 0 && agent_host_path(o, dir, sizeof(dir), "%s", NOTES_DIR) < 0)
		r = error_set(err, -ENAMETOOLONG, "path of the notes too long");
	if (r == 0)
		r = dir_make(AT_FDCWD, dir, 0700, err);
	return r == 0 ? file_write(AT_FDCWD, path, b.data, b.len, 0600, false, err) : r;
}

static bool has_container(const char *sandbox, const struct monitor_info *pods, int n_pods)
{
	for (int i = 0; i < n_pods; i++)
		if (!strcmp(pods[i].sandbox, sandbox))
			return true;
	return false;
}

void destination_notes_sweep(const struct agent_options *o, const struct monitor_info *pods, int n_pods)
{
	cleanup_closedir DIR *d = NULL;
	char path[4096], sandbox[256];
	struct dirent *e;

	if (agent_host_path(o, path, sizeof(path), "%s", NOTES_DIR) == 0)
		d = opendir(path);
	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len < 6 || len >= sizeof(sandbox) || strcmp(e->d_name + len - 5, ".json"))
			continue;
		snprintf(sandbox, sizeof(sandbox), "%.*s", (int)(len - 5), e->d_name);
		if (!has_container(sandbox, pods, n_pods))
			unlinkat(dirfd(d), e->d_name, 0);
	}
}

/* --- what the monitors say --- */

enum { WAITING, RESTORING, BARRIER, RUNNING, STATES };

static int state_of(const struct monitor_info *m)
{
	static const struct {
		const char *name;
		int state;
	} names[] = { { "waiting", WAITING }, { "starting", RESTORING }, { "standby", RESTORING }, { "restoring", RESTORING }, { "barrier", BARRIER },
		      { "running", RUNNING } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(m->state, names[i].name))
			return names[i].state;
	return -1;      /* failed: nothing of it is left */
}

int destination_found(const struct destination_note *note, const char *sandbox, const struct monitor_info *pods, int n_pods)
{
	int count[STATES] = { 0 }, alive;

	for (int i = 0; i < n_pods; i++) {
		int s = strcmp(pods[i].sandbox, sandbox) || (note && strcmp(pods[i].migration, note->migration)) ? -1 : state_of(&pods[i]);

		if (s >= 0)
			count[s]++;
	}
	alive = count[WAITING] + count[RESTORING] + count[BARRIER];
	if (note && note->told)
		return -1;
	/* Opening had begun, so it is committed. Without a note: a pod that came here in the past. */
	if (count[RUNNING])
		return note ? INPUT_FoundOpen : -1;
	if (note && count[BARRIER] == note->n)
		return INPUT_FoundBarrier;
	/* With a note: its source was greeted, has lost the stream, and does not come a second time. */
	if (count[WAITING] && alive == count[WAITING] && !note)
		return INPUT_FoundWaiting;
	return alive ? INPUT_FoundRestoring : -1;
}
