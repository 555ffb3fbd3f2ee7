/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/process.h"

/* Watches of a real API server: as it is, when it restarts, and with short streams, so that several ends are seen. */

static const struct watch_timing normal = { 150000, 30000, 300, 600, 15000, 500 };

static int put(struct world *w, const char *name, const char *value)
{
	struct error err = { 0 };
	cleanup_json cJSON *o = cJSON_CreateObject();
	cJSON *meta;
	char path[512];
	int r;

	cJSON_AddStringToObject(o, "apiVersion", "v1");
	cJSON_AddStringToObject(o, "kind", "ConfigMap");
	meta = cJSON_AddObjectToObject(o, "metadata");
	cJSON_AddStringToObject(meta, "name", name);
	cJSON_AddStringToObject(cJSON_AddObjectToObject(meta, "labels"), "set", "watched");
	cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "data"), "k", value);
	kube_path(path, sizeof(path), "v1", w->ns, "configmaps", name, NULL);
	r = kube_apply(w->client, path, "kube-test", true, o, NULL, &err);
	if (r < 0)
		CHECK(w, false, "real: put", "%s", err.message);
	return r;
}

static void drop(struct world *w, const char *name)
{
	struct error err = { 0 };
	char path[512];

	kube_path(path, sizeof(path), "v1", w->ns, "configmaps", name, NULL);
	if (kube_delete(w->client, path, NULL, 0, &err) < 0)
		CHECK(w, false, "real: delete", "%s", err.message);
}

static struct kube_watch *start(struct world *w, const struct watch_timing *timing, struct record *r)
{
	struct kube_watch *watch = NULL;
	struct kube_watch_spec spec;
	struct error err = { 0 };
	char path[512];

	record_init(r);
	kube_path(path, sizeof(path), "v1", w->ns, "configmaps", NULL, NULL);
	record_spec(r, path, &spec);
	spec.label_selector = "set=watched";
	spec.field_selector = "metadata.name!=kube-root-ca.crt";
	if (kube_watch_start_timed(w->config, &spec, timing, &watch, &err) < 0)
		CHECK(w, false, "real: watch", "%s", err.message);
	return watch;
}

static void life(struct world *w)
{
	struct record r;
	struct kube_watch *watch;
	char text[1024];
	int64_t began;
	bool found;

	put(w, "before", "1");
	watch = start(w, &normal, &r);
	CHECK(w, record_wait(&r, "! ", 5000) && record_wait(&r, "+before/", 0), "real: watch: what was there first, then synced", "%s",
	      record_text(&r, text, sizeof(text)));
	began = clock_mono_us();
	put(w, "added", "1");
	found = record_wait(&r, "+added/", 3000);
	CHECK(w, found, "real: watch: added", "%s", record_text(&r, text, sizeof(text)));
	printf("     seen %lld ms after the request was begun\n", (long long)ms_since(began));
	put(w, "added", "2");
	for (int i = 0; i < 60 && r.upserts < 3; i++)
		nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
	CHECK(w, r.upserts == 3, "real: watch: modified", "%s", record_text(&r, text, sizeof(text)));
	drop(w, "added");
	CHECK(w, record_wait(&r, "-added/", 3000) && !strcmp(r.last_kind, "ConfigMap"), "real: watch: deleted", "%s",
	      record_text(&r, text, sizeof(text)));
	began = clock_mono_us();
	kube_watch_stop(watch);
	CHECK(w, ms_since(began) < 1000, "real: watch: stops within a second", "%lld ms", (long long)ms_since(began));
	drop(w, "before");
}

/* Streams of a second: objects that come and go meanwhile are all seen, once each. */
static void short_streams(struct world *w)
{
	static const struct watch_timing brief = { 150000, 30000, 1, 1, 15000, 500 };
	struct record r;
	struct kube_watch *watch = start(w, &brief, &r);
	char text[4096], name[32], status[256];

	record_wait(&r, "! ", 5000);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		put(w, name, "x");
		nanosleep(&(struct timespec){ 0, 150000000 }, NULL);
		drop(w, name);
	}
	record_wait(&r, "-s19/", 5000);
	kube_watch_status(watch, status, sizeof(status));
	CHECK(w, r.upserts == 20 && r.deletes == 20 && r.synced == 1 && !status[0], "real: watch: streams that end lose and repeat nothing",
	      "%d upserts, %d deletes, %d syncs, status \"%s\": %s", r.upserts, r.deletes, r.synced, status, record_text(&r, text, sizeof(text)));
	kube_watch_stop(watch);
}

/* The same list, forced to be in pages. */
static void pages(struct world *w)
{
	cleanup_json cJSON *page = NULL;
	struct error err = { 0 };
	char path[600], name[32];
	int r;

	for (int i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "page%d", i);
		put(w, name, "x");
	}
	kube_path(path, sizeof(path), "v1", w->ns, "configmaps", NULL, NULL);
	snprintf(path + strlen(path), sizeof(path) - strlen(path), "?limit=3&labelSelector=set%%3Dwatched");
	r = kube_get(w->client, path, &page, &err);
	CHECK(w, r == 0 && cJSON_GetArraySize(json_at(page, "items")) == 3 && json_str(page, "metadata/continue"), "real: a list in pages", "code %d, %s", r,
	      err.message);
	for (int i = 0; i < 7; i++) {
		snprintf(name, sizeof(name), "page%d", i);
		drop(w, name);
	}
}

static int restart(struct world *w)
{
	struct process_spec spec = { .argv = w->restart, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	struct error err = { 0 };
	int r = process_run(&spec, 180000000, NULL, &err);

	if (r < 0)
		CHECK(w, false, "real: restart of the API server", "%s", err.message);
	return r;
}

/* The API server goes and comes back: the watch goes on; what happened right after is seen, and nothing that lives is reported gone. */
static void survives_restart(struct world *w)
{
	struct record r;
	struct kube_watch *watch;
	char text[4096], status[512] = "";
	int64_t began;

	if (!w->restart)
		return;
	put(w, "stays", "1");
	put(w, "goes", "1");
	watch = start(w, &normal, &r);
	record_wait(&r, "! ", 5000);
	if (restart(w) == 0) {
		kube_set_timeout(w->client, 30000);
		for (int i = 0; i < 100; i++) {
			struct error err = { 0 };

			if (kube_get_raw(w->client, "/readyz", 100, &(struct buf)BUF_INIT(100), &err) == 0)
				break;
			nanosleep(&(struct timespec){ 0, 200000000 }, NULL);
		}
		kube_set_timeout(w->client, KUBE_TIMEOUT_MS);
		began = clock_mono_us();
		drop(w, "goes");
		put(w, "comes", "1");
		CHECK(w, record_wait(&r, "+comes/", 40000) && record_wait(&r, "-goes/", 1000), "real: watch: goes on after the API server restarted", "%s",
		      record_text(&r, text, sizeof(text)));
		printf("     seen %lld ms after it was ready again\n", (long long)ms_since(began));
		record_text(&r, text, sizeof(text));
		CHECK(w, !strstr(text, "-stays/"), "real: watch: .. and reports nothing gone that lives", "%s", text);
		for (int i = 0; i < 50; i++) {
			kube_watch_status(watch, status, sizeof(status));
			if (!status[0])
				break;
			nanosleep(&(struct timespec){ 0, 100000000 }, NULL);
		}
		CHECK(w, !status[0], "real: watch: .. and its status is empty again", "%s", status);
		drop(w, "comes");
	}
	drop(w, "stays");
	kube_watch_stop(watch);
}

void real_watch_suite(struct world *w)
{
	life(w);
	short_streams(w);
	pages(w);
	survives_restart(w);
}
