/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"

/*
 * Watches against the fake: one scenario each.  "want" is what the watch reports, in this order; "asked" is the query of each request the fake saw, as the keys that matter.
 */
#define PATH "/apis/fake.test/v1/"

static const struct watch_timing quick = { .silence_ms = 1500, .initial_silence_ms = 1000, .stream_min_s = 300, .stream_max_s = 600,
					   .grace_ms = 15000, .page = 500 };

/* Requests as text: "L" initial events, "P" page, "Pc" later page, "W@RV" watch; separated by spaces. */
static int64_t asked(struct world *w, const char *scenario, char *out, size_t size, double *ret_first_gap)
{
	cleanup_json cJSON *log = NULL;
	struct error err = { 0 };
	char path[128];
	const cJSON *e;
	double last = 0;
	size_t n = 0;
	int count = 0;

	out[0] = '\0';
	snprintf(path, sizeof(path), "/log/%s", scenario);
	if (kube_get(w->client, path, &log, &err) < 0)
		return -1;
	cJSON_ArrayForEach(e, json_at(log, "items"))
	{
		const char *rv = json_str(e, "query/resourceVersion");
		double at = cJSON_GetNumberValue(json_at(e, "time"));

		if (json_str(e, "query/sendInitialEvents"))
			n += (size_t)snprintf(out + n, size - n, "L%s ", rv ? rv : "");
		else if (json_str(e, "query/watch"))
			n += (size_t)snprintf(out + n, size - n, "W@%s ", rv ? rv : "");
		else
			n += (size_t)snprintf(out + n, size - n, "P%s ", json_str(e, "query/continue") ? "c" : "");
		if (n >= size - 100)
			break;
		if (count++ == 1 && ret_first_gap)
			*ret_first_gap = at - last;
		last = at;
	}
	return count;
}

static struct kube_watch *start(struct world *w, const char *scenario, const struct watch_timing *timing, struct record *r)
{
	struct kube_watch *watch = NULL;
	struct kube_watch_spec spec;
	struct error err = { 0 };
	char path[128];

	record_init(r);
	snprintf(path, sizeof(path), PATH "%s", scenario);
	record_spec(r, path, &spec);
	if (kube_watch_start_timed(w->config, &spec, timing, &watch, &err) < 0)
		CHECK(w, false, scenario, "start: %s", err.message);
	return watch;
}

static void stop(struct world *w, const char *scenario, struct kube_watch *watch)
{
	int64_t began = clock_mono_us();

	kube_watch_stop(watch);
	if (ms_since(began) > 1000)
		CHECK(w, false, scenario, "the watch took %lld ms to stop", (long long)ms_since(began));
}

static const struct scenario {
	const char *name, *what, *want, *asked;
	int wait_ms;
	double gap;                     /* least seconds between the first two requests */
} scenarios[] = {
	{ "bytes", "watch: each byte in a chunk of its own", "+a/uid-a +b/uid-b +c/uid-c ! ", "L ", 5000, 0 },
	{ "merged", "watch: all events in one chunk", "+a/uid-a +b/uid-b +c/uid-c ! +a/uid-a -b/uid-b +d/uid-d ", "L ", 5000, 0 },
	{ "gone-in-stream", "watch: 410 in the stream: relist, what is gone is reported", "+a/uid-a +b/uid-b ! +b/uid-b +c/uid-c -a/uid-a ! ", "L L ",
	  5000, 0 },
	{ "gone-http", "watch: 410 as HTTP status: relist", "+a/uid-a ! +c/uid-c -a/uid-a ! ", "L W@5 L ", 5000, 0 },
	{ "too-many", "watch: 429 with Retry-After is waited for", "+a/uid-a ! ", "L L ", 5000, 1.0 },
	{ "busy-later", "watch: 429 in text keeps the version, which a bookmark moved", "+a/uid-a ! +b/uid-b ", "L W@77 W@77 ", 5000, 0 },
	{ "old-422", "watch: no WatchList (422): pages, then the stream", "+o0/uid-o0 +o1/uid-o1 +o2/uid-o2 ! +o1/uid-o1 ", "L P Pc Pc W@42 ", 5000, 0 },
	{ "old-400", "watch: no WatchList (400)", "+o0/uid-o0 +o1/uid-o1 +o2/uid-o2 ! +o1/uid-o1 ", "L P Pc Pc W@42 ", 5000, 0 },
	{ "empty", "watch: null items, an unknown event type, an empty line", "! +late/uid-late ", "L P W@1 ", 5000, 0 },
	{ "page-gone", "watch: 410 on the second page: the list begins again", "+a/uid-a +b/uid-b -a/uid-a ! ", "L P Pc P W@6 ", 5000, 0 },
	{ "half-open", "watch: a silent stream is given up", "+a/uid-a ! +b/uid-b ", "L W@55 ", 8000, 1.5 },
	{ "silent-initial", "watch: silence within the initial events: list", "+a/uid-a +b/uid-b -a/uid-a ! ", "L P W@6 ", 5000, 1.0 },
	{ "early-end", "watch: the initial events end early: list", "+a/uid-a +b/uid-b -a/uid-a ! ", "L P W@6 ", 5000, 0 },
	{ "error-event", "watch: ERROR 500 goes on from the same version, later", "+a/uid-a ! +b/uid-b ", "L W@5 ", 5000, 0.8 },
	{ "eof", "watch: clean end: goes on at once from the last event; last line without newline", "+a/uid-a ! +b/uid-b +c/uid-c +d/uid-d ",
	  "L W@8 W@9 ", 5000, 0 },
	{ "cut", "watch: cut within an event: the half event is not seen", "+a/uid-a ! +b/uid-b +c/uid-c ", "L W@8 ", 5000, 0.5 },
	{ "slow", "watch: slow but alive is left alone", "+s7/uid-s7 ", "L ", 8000, 0 },
	{ "large", "watch: 5 MiB event is taken, 17 MiB is not, and is not asked for again", "+a/uid-a ! +c/uid-c -a/uid-a ! ", "L L ", 20000, 0 },
	{ "recreated", "watch: a new object under an old name", "+a/first ! -a/first +a/second ! ", "L L ", 5000, 0 },
	{ "too-large-version", "watch: a server that is behind (504 with cause): from the start", "+a/uid-a ! +b/uid-b -a/uid-a ! ", "L W@5 L ", 5000, 0 },
	{ "not-json", "watch: a line that is not JSON: from the start", "+a/uid-a ! +b/uid-b -a/uid-a ! ", "L L ", 8000, 0.8 },
};

static void run_scenario(struct world *w, const struct scenario *s)
{
	char text[4096], queries[1024];
	struct kube_watch *watch;
	struct record r;
	double gap = 0;
	bool found;

	watch = start(w, s->name, &quick, &r);
	if (!watch)
		return;
	found = record_wait(&r, s->want, s->wait_ms);
	/* The last request may be on its way still. */
	for (int i = 0; i < 20; i++) {
		asked(w, s->name, queries, sizeof(queries), &gap);
		if (!strncmp(queries, s->asked, strlen(s->asked)))
			break;
		nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
	}
	CHECK(w, found && !strncmp(queries, s->asked, strlen(s->asked)) && gap >= s->gap - 0.05, s->what,
	      "reported \"%s\", wanted \"%s\"; asked \"%s\", wanted \"%s\"; gap %.2f s", record_text(&r, text, sizeof(text)), s->want, queries,
	      s->asked, gap);
	stop(w, s->name, watch);
}

static void unicode(struct world *w)
{
	struct record r;
	struct kube_watch *watch = start(w, "merged", &quick, &r);

	record_wait(&r, "+a/uid-a ", 5000);
	CHECK(w, !strcmp(r.last_kind, "Thing"), "watch: objects arrive whole", "kind %s", r.last_kind);
	stop(w, "merged", watch);
}

static void list_has_kind(struct world *w)
{
	struct record r;
	struct kube_watch *watch = start(w, "old-422", &quick, &r);
	char status[256];

	record_wait(&r, "+o1/uid-o1 ", 5000);
	CHECK(w, !strcmp(r.last_kind, "Thing"), "watch: list items get the list's kind", "kind %s", r.last_kind);
	record_wait(&r, "! ", 5000);
	/* The handler runs a moment before the watch itself says so. */
	for (int i = 0; i < 500; i++) {
		kube_watch_status(watch, status, sizeof(status));
		if (!status[0])
			break;
		usleep(10000);
	}
	CHECK(w, kube_watch_synced(watch) && !status[0], "watch: status is empty when all is well", "status \"%s\"", status);
	stop(w, "old-422", watch);
}

static void forbidden(struct world *w)
{
	struct record r;
	struct kube_watch *watch = start(w, "forbidden", &quick, &r);
	char status[512] = "";

	for (int i = 0; i < 100 && !strstr(status, "cannot list"); i++) {
		nanosleep(&(struct timespec){ 0, 20000000 }, NULL);
		kube_watch_status(watch, status, sizeof(status));
	}
	CHECK(w, strstr(status, "User \"x\" cannot list resource") && !kube_watch_synced(watch), "watch: 403 is told by the status, with the server's words",
	      "status \"%s\"", status);
	stop(w, "forbidden", watch);
}

/* In each state a watch can be in, stop must come back soon: waiting for an answer, in an open stream, in a pause. */
static void stops_promptly(struct world *w)
{
	static const char *const state[] = { "stuck", "half-open", "forbidden", "slow" };

	for (size_t i = 0; i < sizeof(state) / sizeof(state[0]); i++) {
		struct watch_timing patient = quick;
		char name[100];
		struct record r;
		struct kube_watch *watch;
		int64_t began;

		patient.silence_ms = patient.initial_silence_ms = 100000;
		watch = start(w, state[i], &patient, &r);
		nanosleep(&(struct timespec){ 0, 400000000 }, NULL);
		began = clock_mono_us();
		kube_watch_stop(watch);
		snprintf(name, sizeof(name), "watch: stops within a second (%s)", state[i]);
		CHECK(w, ms_since(began) < 1000, name, "took %lld ms", (long long)ms_since(began));
	}
}

static void overdue(struct world *w)
{
	static const struct watch_timing brief = { .silence_ms = 5000, .initial_silence_ms = 5000, .stream_min_s = 1, .stream_max_s = 1,
						   .grace_ms = 300, .page = 500 };
	struct record r;
	struct kube_watch *watch = start(w, "overdue", &brief, &r);
	bool found = record_wait(&r, "+b1/uid-b1 ", 6000);
	char queries[512], status[256];

	asked(w, "overdue", queries, sizeof(queries), NULL);
	kube_watch_status(watch, status, sizeof(status));
	CHECK(w, found && !strncmp(queries, "L W@1", 5) && !status[0], "watch: a stream that outlives timeoutSeconds is ended, without an error",
	      "asked \"%s\", status \"%s\"", queries, status);
	stop(w, "overdue", watch);
}

/* A server that is broken must not be asked in a circle without pauses. */
static void no_circles(struct world *w)
{
	static const char *const name[] = { "gone-always", "ends-at-once" };

	for (int i = 0; i < 2; i++) {
		char queries[2048], what[100];
		struct record r;
		struct kube_watch *watch = start(w, name[i], &quick, &r);
		int64_t n;

		nanosleep(&(struct timespec){ 3, 0 }, NULL);
		n = asked(w, name[i], queries, sizeof(queries), NULL);
		snprintf(what, sizeof(what), "watch: no circle without pauses (%s)", name[i]);
		CHECK(w, n >= 3 && n <= 14, what, "%lld requests in 3 s: %s", (long long)n, queries);
		stop(w, name[i], watch);
	}
}

static void request_form(struct world *w)
{
	cleanup_json cJSON *log = NULL;
	struct error err = { 0 };
	const cJSON *first;
	const char *seconds;

	kube_get(w->client, "/log/bytes", &log, &err);
	first = json_at(log, "items/0");
	seconds = json_str_or(first, "query/timeoutSeconds", "0");
	CHECK(w, json_at(first, "headers/user-agent") && !json_at(first, "headers/accept-encoding"), "watch: asks for no compression", "%s", err.message);
	CHECK(w, !strcmp(json_str_or(first, "headers/user-agent", ""), "podmigration/" PM_VERSION_STRING), "watch: user agent", "%s",
	      json_str_or(first, "headers/user-agent", ""));
	CHECK(w, strlen(seconds) == 3 && strcmp(seconds, "300") >= 0 && strcmp(seconds, "600") <= 0 &&
		      !strcmp(json_str_or(first, "query/allowWatchBookmarks", ""), "true") &&
		      !strcmp(json_str_or(first, "query/resourceVersionMatch", ""), "NotOlderThan"),
	      "watch: parameters of the first request", "timeoutSeconds %s", seconds);
}

void fake_watch_suite(struct world *w)
{
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		run_scenario(w, &scenarios[i]);
	unicode(w);
	list_has_kind(w);
	forbidden(w);
	stops_promptly(w);
	overdue(w);
	no_circles(w);
	request_form(w);
}
