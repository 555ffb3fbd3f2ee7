/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/reason.h"

static const char *const mark_name[MARK_COUNT] = { "freeze", "frozen", "sent", "prepared", "committed", "running", "complete" };

/* Marks are taken on the monotonic clock; shown on the wall clock of now. */
static void wall_clock(int64_t mono, char out[CLOCK_RFC3339_SIZE])
{
	clock_rfc3339(clock_real_us() - (clock_mono_us() - mono), 0, out);
}

static void add_timeline(const struct source *s, cJSON *j)
{
	cJSON *list = cJSON_AddArrayToObject(j, "timeline");

	for (int i = 0; i < MARK_COUNT; i++) {
		char when[CLOCK_RFC3339_SIZE];
		cJSON *e;

		if (!s->mark[i])
			continue;
		e = cJSON_CreateObject();
		wall_clock(s->mark[i], when);
		cJSON_AddStringToObject(e, "step", mark_name[i]);
		cJSON_AddStringToObject(e, "time", when);
		cJSON_AddItemToArray(list, e);
	}
}

/* Takes a number that the destination reported for its i-th container, when it is one. */
static void add_reported(cJSON *e, const char *key, const cJSON *answer, int i)
{
	const cJSON *list = json_at(answer, "containers");
	const cJSON *item = cJSON_IsArray(list) ? cJSON_GetArrayItem(list, i) : NULL;
	int64_t v;

	if (item && json_int(item, key, 0, 1ll << 50, &v) == 0)
		cJSON_AddNumberToObject(e, key, (double)v);
}

static void add_containers(const struct source *s, cJSON *j)
{
	cJSON *list = cJSON_AddArrayToObject(j, "containers");

	for (int i = 0; i < s->n; i++) {
		const struct source_container *c = &s->containers[i];
		cJSON *e = cJSON_CreateObject();

		cJSON_AddStringToObject(e, "name", c->info.name);
		cJSON_AddNumberToObject(e, "pages", (double)c->pages.pages);
		cJSON_AddNumberToObject(e, "bytes", (double)c->pages.bytes);
		cJSON_AddNumberToObject(e, "imageBytes", (double)c->image_bytes);
		cJSON_AddNumberToObject(e, "treeBytes", (double)c->tree.bytes);
		cJSON_AddNumberToObject(e, "dumpMicros", (double)c->dump_us);
		source_report_memory(c, e);
		add_reported(e, "stageMicros", s->prepared, i);
		add_reported(e, "restoreMicros", s->prepared, i);
		add_reported(e, "openMicros", s->running, i);
		cJSON_AddItemToArray(list, e);
	}
}

/* What went after them, of all trees; how long it took, of the volumes: it goes beside what CRIU does to the containers. */
static void add_frozen_files(const struct source *s, cJSON *e)
{
	uint64_t entries = s->volume_tree.entries, bytes = s->volume_tree.bytes;

	for (int i = 0; i < s->n; i++) {
		entries += s->containers[i].tree.entries;
		bytes += s->containers[i].tree.bytes;
	}
	cJSON_AddNumberToObject(e, "frozenEntries", (double)(entries - s->ahead.entries));
	cJSON_AddNumberToObject(e, "frozenBytes", (double)(bytes - s->ahead.bytes));
	cJSON_AddNumberToObject(e, "volumesMicros", (double)s->volumes_us);
}

void source_report_files(const struct source *s, cJSON *j)
{
	cJSON *e;

	if (!s->walks)
		return;
	e = cJSON_AddObjectToObject(j, "files");
	cJSON_AddNumberToObject(e, "walks", s->walks);
	cJSON_AddNumberToObject(e, "entries", (double)s->ahead.entries);
	cJSON_AddNumberToObject(e, "bytes", (double)s->ahead.bytes);
	cJSON_AddNumberToObject(e, "micros", (double)s->walks_us);
	if (s->mark[MARK_SENT])
		add_frozen_files(s, e);
}

cJSON *source_report_json(const struct source *s, const struct error *err)
{
	cJSON *j = cJSON_CreateObject();
	char when[CLOCK_RFC3339_SIZE];
	struct wire *w = s->wire;

	cJSON_AddStringToObject(j, "agent", s->o->node);
	if (err && err->message[0]) {
		cJSON *e = cJSON_AddObjectToObject(j, "error");

		cJSON_AddStringToObject(e, "reason", reason_name(err->reason));
		cJSON_AddStringToObject(e, "message", err->message);
	}
	if (s->mark[MARK_FREEZE]) {
		wall_clock(s->mark[MARK_FREEZE], when);
		cJSON_AddStringToObject(j, "freezeTime", when);
		source_report_files(s, j);
		add_containers(s, j);
	}
	if (s->mark[MARK_RUNNING]) {
		wall_clock(s->mark[MARK_RUNNING], when);
		cJSON_AddStringToObject(j, "runningTime", when);
		if (s->mark[MARK_FREEZE])
			cJSON_AddNumberToObject(j, "downtimeMicroseconds", (double)(s->mark[MARK_RUNNING] - s->mark[MARK_FREEZE]));
	}
	if (w && !s->resumed)
		cJSON_AddNumberToObject(j, "bytesTransferred", (double)wire_bytes_sent(w));
	add_timeline(s, j);
	return j;
}

/* A destination of an older version does not tell: then there is nothing to be recorded. */
cJSON *source_restored_json(const struct source *s)
{
	const cJSON *list = json_at(s->prepared, "containers");
	cJSON *j = cJSON_CreateObject();

	for (int i = 0; i < s->n && cJSON_IsArray(list); i++)
		record_add_restored(j, s->containers[i].info.name, json_str(cJSON_GetArrayItem(list, i), "id"));
	return j;
}

cJSON *source_destination_json(const struct source *s)
{
	/* As long as the API takes them (crds/): the whole report would be refused for a peer's long word. */
	static const struct {
		const char *name;
		size_t max;
	} keys[] = { { "node", 253 }, { "kernel", 256 }, { "arch", 64 } };
	cJSON *j;
	int64_t criu;

	if (!s->welcome)
		return NULL;
	j = cJSON_CreateObject();
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *word = json_str(s->welcome, keys[i].name);

		if (word && strlen(word) <= keys[i].max)
			cJSON_AddStringToObject(j, keys[i].name, word);
	}
	if (json_int(s->welcome, "criu", 0, 10000000, &criu) == 0)
		cJSON_AddNumberToObject(j, "criu", (double)criu);
	return j;
}
