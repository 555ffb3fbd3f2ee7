/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON by which the agents greet each other and report.  First byte: which side we are; then parts: HELLO at a destination; or WELCOME, PREPARED and
 * RUNNING, a destination's words, at a source, whose report goes into the PodMigration.
 */
#include "agent/destination.c"

#include "fuzz.h"

#include "agent/contents.h"
#include "agent/source.h"
#include "agent_root.h"

#define FACTS "{\"protocol\":2,\"arch\":\"x86_64\",\"kernel\":\"6.12.3\",\"criu\":40201,\"cgroup\":2}"

static cJSON *object(struct parts *in)
{
	const uint8_t *part;
	size_t len = parts_next(in, &part);
	struct error err;
	cJSON *j = NULL;

	if (json_parse((const char *)part, len, WIRE_JSON_MAX, &j, &err) == 0 && cJSON_IsObject(j))
		return j;
	cJSON_Delete(j);
	return NULL;
}

/* As the CRD has it (crds/): a longer one would make the API server refuse the whole report. */
static void must_be_short(const cJSON *o, const char *path, size_t max)
{
	const char *s = json_str(o, path);

	must(!s || strlen(s) <= max);
}

static void hello(struct parts *in)
{
	static struct destination d;
	cleanup_json cJSON *here = cJSON_Parse(FACTS);
	struct obstacles found = { 0 };
	struct error err;
	cJSON *report;

	memset(&d, 0, sizeof(d));
	d.hello = object(in);
	if (!d.hello)
		return;
	/* CRIU itself would be asked about the CPU. */
	cJSON_DeleteItemFromObjectCaseSensitive(d.hello, "cpuinfo");
	if (take_containers(&d, &err) == 0) {
		must(d.n > 0 && d.n <= WIRE_CONTAINERS_MAX && d.ipc_owner >= 0 && d.ipc_owner < d.n);
		for (int i = 0; i < d.n; i++)
			for (int k = 0; k < i; k++)
				must(strcmp(d.containers[i].info.name, d.containers[k].info.name) != 0);
	}
	node_check(d.o, d.hello, here, &found);
	contents_compare(json_at(d.hello, "contents"), here, &found);
	must(found.n <= OBSTACLES_MAX);
	obstacles_error(&found, &err);
	report = destination_source_report(&d, NULL);
	must_be_short(report, "agent", 253);
	cJSON_Delete(report);
	cJSON_Delete(d.hello);
}

static void answers(struct parts *in)
{
	static const struct agent_options options = { .node = "here" };
	static struct source s;
	cJSON *report, *there, *restored;
	const cJSON *e;

	memset(&s, 0, sizeof(s));
	s.o = &options;
	s.n = 2;
	s.mark[MARK_FREEZE] = s.mark[MARK_RUNNING] = 1;
	s.welcome = object(in);
	s.prepared = object(in);
	s.running = object(in);
	report = source_report_json(&s, NULL);
	there = source_destination_json(&s);
	must(cJSON_GetArraySize(json_at(report, "containers")) == 2);
	restored = source_restored_json(&s);
	cJSON_ArrayForEach(e, json_at(restored, "containers")) {
		must(json_str(e, "name") && json_str(e, "id"));
		must_be_short(e, "id", 128);
	}
	cJSON_Delete(restored);
	must_be_short(there, "node", 253);
	must_be_short(there, "kernel", 256);
	must_be_short(there, "arch", 64);
	cJSON_Delete(report);
	cJSON_Delete(there);
	cJSON_Delete(s.welcome);
	cJSON_Delete(s.prepared);
	cJSON_Delete(s.running);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parts in = { data + 1, size ? size - 1 : 0 };

	if (size && data[0] & 1)
		hello(&in);
	else if (size)
		answers(&in);
	return 0;
}
