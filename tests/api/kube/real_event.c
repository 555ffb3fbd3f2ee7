/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "kube/event.h"

static cJSON *events(struct world *w)
{
	struct error err = { 0 };
	cJSON *o = NULL;
	char path[512];

	kube_path(path, sizeof(path), "events.k8s.io/v1", w->ns, "events", NULL, NULL);
	kube_get(w->client, path, &o, &err);
	return o;
}

static const cJSON *with_reason(const cJSON *list, const char *reason)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(list, "items"))
		if (!strcmp(json_str_or(e, "reason", ""), reason))
			return e;
	return NULL;
}

/* Waits until one with this reason is there. */
static cJSON *wait_for(struct world *w, const char *reason)
{
	cJSON *list = NULL;

	for (int i = 0; i < 50; i++) {
		cJSON_Delete(list);
		list = events(w);
		if (with_reason(list, reason))
			break;
		nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
	}
	return list;
}

static void written(struct world *w, const cJSON *e)
{
	CHECK(w, e && !strcmp(json_str_or(e, "note", ""), "what happened") && !strcmp(json_str_or(e, "action", ""), "Testing") &&
		      !strcmp(json_str_or(e, "type", ""), "Normal") && !strcmp(json_str_or(e, "reportingController", ""), "podmigration.dev/test") &&
		      !strcmp(json_str_or(e, "reportingInstance", ""), "test-1") && strlen(json_str_or(e, "eventTime", "")) == 27 &&
		      !strcmp(json_str_or(e, "regarding/uid", ""), "1234") && !strcmp(json_str_or(e, "related/kind", ""), "Node"),
	      "events: written with all fields", "%s", json_str_or(e, "eventTime", "none"));
}

void real_event_suite(struct world *w)
{
	struct kube_object_ref pod = { "v1", "Pod", w->ns, "some-pod", "1234" }, node = { "v1", "Node", NULL, "some-node", NULL };
	cleanup_json cJSON *first = NULL, *second = NULL, *third = NULL;
	struct kube_events *e = NULL;
	struct error err = { 0 };
	char large[2000];
	int64_t count = 0, began;

	if (kube_events_new(w->config, "podmigration.dev/test", "test-1", &e, &err) < 0) {
		CHECK(w, false, "events: start", "%s", err.message);
		return;
	}
	kube_event(e, &pod, &node, "Normal", "Happened", "Testing", "what happened");
	first = wait_for(w, "Happened");
	written(w, with_reason(first, "Happened"));

	memset(large, 'x', sizeof(large));
	/* A two-byte character across the limit must not be cut in half. */
	memcpy(large + 1023, "\xc3\xa9", 2);
	large[sizeof(large) - 1] = '\0';
	kube_event(e, &pod, NULL, "Warning", "TooLong", "Testing", large);
	second = wait_for(w, "TooLong");
	CHECK(w, strlen(json_str_or(with_reason(second, "TooLong"), "note", "")) == 1023, "events: a long note is cut between characters", "%zu bytes",
	      strlen(json_str_or(with_reason(second, "TooLong"), "note", "")));

	for (int i = 0; i < 5; i++)
		kube_event(e, &pod, &node, "Normal", "Happened", "Testing", "what happened");
	kube_event(e, &pod, NULL, "Normal", "Last", "Testing", "queued just before the end");
	began = clock_mono_us();
	kube_events_free(e);
	CHECK(w, ms_since(began) < 2500, "events: the end takes no longer than it may", "%lld ms", (long long)ms_since(began));
	third = events(w);
	json_int(with_reason(third, "Happened"), "series/count", 0, 1000, &count);
	CHECK(w, count == 6, "events: the same again becomes a series", "count %lld", (long long)count);
	CHECK(w, with_reason(third, "Last"), "events: what is queued at the end is written", "missing");
}
