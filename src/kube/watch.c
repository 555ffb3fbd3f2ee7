/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backoff.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "lines.h"
#include "transport.h"
#include "watch_internal.h"
#include "watch_state.h"

#define PAGE_BYTES_MAX (128u << 20)
#define ERROR_BODY_MAX 65536
#define CONTINUE_MAX 2048
#define POLL_MS 1000
/* Events that come more often than this one by one are taken some at a time: each turn of libcurl, TLS and the kernel costs more than an event. */
#define OFTEN_US 10000
#define GATHER_MS 2
#define GATHER_BYTES 32768u
/*
 * A stream that ends well before this without an event is a failure, as in client-go: without a wait we would ask again and
 * again.
 */
#define SHORT_STREAM_US 1000000

/* Bookmarks come about every minute (apiserver's cacher): two missed and a half. */
static const struct watch_timing default_timing = { 150000, 30000, 300, 600, 15000, 500 };

struct kube_watch {
	struct kube_config *config;
	struct kube_watch_spec spec;
	struct watch_timing timing;
	char path[512], field_selector[512], label_selector[512], name[64];
	pthread_t thread;
	CURLM *multi;
	atomic_bool stop, synced;
	pthread_mutex_t lock;           /* of status */
	char status[512];

	/* The rest belongs to the thread. */
	struct watch_state state;
	struct backoff backoff;
	bool no_watch_list;             /* the server does not know it */
	bool list_next;                 /* WatchList failed in this round */
	int page;                       /* objects in a page; halved when a page is too large */
	int stale;                      /* 410 in a row */
};

/* One transfer. */
struct transfer {
	struct kube_watch *w;
	CURL *easy;
	struct kube_lists lists;
	struct lines lines;
	struct buf body;                /* a list's page, or what came with an HTTP error */
	char text[CURL_ERROR_SIZE];
	bool stream;
	bool accepted;                  /* HTTP 200 came */
	bool overdue;                   /* it did not end when it was to, and we ended it */
	int64_t heard_us;
	size_t heard;                   /* bytes in this turn */
	int code;                       /* why we ended it ourselves; 0: we did not */
	int retry_after;
	struct error *err;
};

static void set_status(struct kube_watch *w, const char *text)
{
	pthread_mutex_lock(&w->lock);
	snprintf(w->status, sizeof(w->status), "%.500s", text);
	pthread_mutex_unlock(&w->lock);
}

void kube_watch_status(const struct kube_watch *w, char *out, size_t size)
{
	/* The lock is the one thing that a reader changes. */
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&w->lock;

	pthread_mutex_lock(lock);
	snprintf(out, size, "%s", w->status);
	pthread_mutex_unlock(lock);
}

bool kube_watch_synced(const struct kube_watch *w)
{
	return w->synced;
}

/* --- what comes in --- */

static void note_progress(struct kube_watch *w)
{
	if (!w->state.just_synced)
		return;
	w->state.just_synced = false;
	w->synced = true;
	w->list_next = false;
	set_status(w, "");
	log_info("watch synced", LOG_S("watch", w->name), LOG_N("objects", known_count(w->state.known)));
}

static int on_line(void *ctx, const char *line, size_t len)
{
	struct transfer *t = ctx;
	bool initial = t->w->state.initial;
	int r = watch_state_line(&t->w->state, line, len, t->err);

	note_progress(t->w);
	/* A complete set alone does not count: a server that answers 410 after each would be asked without a pause. */
	if (r == 0 && !initial)
		t->w->stale = 0;
	return t->w->stop ? -ECANCELED : r;
}

static int take_stream(struct transfer *t, const char *data, size_t len)
{
	int r = lines_feed(&t->lines, data, len, on_line, t);

	if (r == -EMSGSIZE)
		error_set(t->err, r, "a watch event is larger than %u bytes", WATCH_LINE_MAX);
	else if (r == -ENOMEM)
		error_set(t->err, r, "out of memory");
	return r;
}

static size_t on_data(char *data, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	size_t len = size * n;
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200 && t->stream)
		t->code = take_stream(t, data, len);
	else if (status == 200)
		t->code = buf_append(&t->body, data, len) < 0 ? error_set(t->err, -EMSGSIZE, "a page of the list is too large") : 0;
	else if (t->body.len + len <= ERROR_BODY_MAX)
		buf_append(&t->body, data, len);
	/* After the handlers, however long they took. */
	t->heard_us = clock_mono_us();
	t->heard += len;
	return t->code ? 0 : len;
}

/* --- one request --- */

static int add_parameter(struct buf *url, const char *key, const char *value)
{
	char *esc = curl_easy_escape(NULL, value, 0);
	int r = esc ? buf_printf(url, "&%s=%s", key, esc) : -ENOMEM;

	curl_free(esc);
	return r;
}

/* parameters: the fixed part.  rv and token: "" for none; they are the server's words and are escaped. */
static int build_url(const struct kube_watch *w, const char *parameters, const char *rv, const char *token, struct buf *url)
{
	const struct {
		const char *key, *value;
	} more[] = { { "resourceVersion", rv }, { "continue", token }, { "fieldSelector", w->field_selector },
		     { "labelSelector", w->label_selector } };
	int r = buf_printf(url, "%s%s?%s", kube_config_url(w->config), w->path, parameters);

	for (size_t i = 0; r == 0 && i < sizeof(more) / sizeof(more[0]); i++)
		if (more[i].value[0])
			r = add_parameter(url, more[i].key, more[i].value);
	return r;
}

/* The stream is open: all is well again, though it may be a minute until the first event. */
static void note_accepted(struct transfer *t)
{
	long status = 0;

	if (t->accepted)
		return;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->accepted = status == 200;
	if (t->accepted && t->stream && !t->w->state.initial)
		set_status(t->w, "");
}

static int64_t silence_ms(const struct transfer *t)
{
	return t->stream && !t->w->state.initial ? t->w->timing.silence_ms : t->w->timing.initial_silence_ms;
}

/* Not while there is much to read, nor for the first set. */
static void gather(const struct transfer *t, int64_t before_us)
{
	if (t->stream && !t->w->state.initial && t->heard && t->heard < GATHER_BYTES && t->heard_us - before_us < OFTEN_US)
		poll(NULL, 0, GATHER_MS);
}

/* Runs until the server ends it, we are stopped, or time is up. 0: the transfer is over, *ret_rc says how. */
static int drive(struct transfer *t, int64_t total_ms, CURLcode *ret_rc)
{
	int64_t start = clock_mono_us();
	int running = 1, left;
	CURLMsg *m;

	t->heard_us = start;
	while (!t->w->stop) {
		int64_t now, most = silence_ms(t), before = t->heard_us;

		t->heard = 0;
		if (curl_multi_perform(t->w->multi, &running) != CURLM_OK)
			return error_set(t->err, -EIO, "libcurl failed");
		if (!running)
			break;
		note_accepted(t);
		now = clock_mono_us();
		if (now - t->heard_us > most * 1000)
			return error_set(t->err, -ETIMEDOUT, "nothing was heard for %.1f s", (double)most / 1000);
		t->overdue = total_ms && now - start > total_ms * 1000;
		if (t->overdue) {
			*ret_rc = CURLE_OK;
			return 0;
		}
		gather(t, before);
		curl_multi_poll(t->w->multi, NULL, 0, most / 2 < POLL_MS ? (int)(most / 2) + 1 : POLL_MS, NULL);
	}
	if (t->w->stop)
		return -ECANCELED;
	while ((m = curl_multi_info_read(t->w->multi, &left)))
		if (m->msg == CURLMSG_DONE)
			*ret_rc = m->data.result;
	return 0;
}

static int set_up(struct transfer *t, const char *parameters, const char *rv, const char *token)
{
	struct kube_watch *w = t->w;
	struct buf url = BUF_INIT(8192);
	int r = kube_easy_setup(t->easy, w->config, "podmigration/" PM_VERSION_STRING, &t->lists, t->err);

	if (r == 0)
		r = kube_add_header(&t->lists, "Accept: application/json", t->err);
	if (r == 0 && build_url(w, parameters, rv, token, &url) < 0)
		r = error_set(t->err, -ENAMETOOLONG, "URL too long");
	if (r == 0) {
		/*
		 * No Accept-Encoding: from Kubernetes 1.37 a compressed WatchList is many gzip members, which libcurl does not
		 * read.
		 */
		curl_easy_setopt(t->easy, CURLOPT_URL, url.data);
		curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->lists.headers);
		curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->text);
		curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_data);
		curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	}
	buf_free(&url);
	return r;
}

/* What the transfer's end means. */
static int conclude(struct transfer *t, CURLcode rc, struct error *err)
{
	struct kube_answer a = { rc, t->text, 0, &t->body };
	char what[600];
	int r;

	if (t->code)
		return t->code;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &a.status);
	if (a.status >= 400)
		t->retry_after = kube_retry_after(t->easy);
	if (a.status == 401 || rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CERTPROBLEM)
		kube_config_refresh(t->w->config);
	snprintf(what, sizeof(what), "%s %s", t->stream ? "WATCH" : "LIST", t->w->path);
	r = kube_result(&a, what, err);
	return r == 0 && t->stream && !t->overdue ? lines_end(&t->lines, on_line, t) : r;
}

static int request(struct kube_watch *w, struct transfer *t, const char *parameters, const char *rv, const char *token, int64_t total_ms)
{
	CURLcode rc = CURLE_FAILED_INIT;
	int r;

	t->easy = curl_easy_init();
	if (!t->easy)
		return error_set(t->err, -ENOMEM, "out of memory for libcurl");
	w->state.retry_after = 0;
	r = set_up(t, parameters, rv, token);
	if (r == 0 && curl_multi_add_handle(w->multi, t->easy) != CURLM_OK)
		r = error_set(t->err, -ENOMEM, "out of memory for libcurl");
	if (r == 0) {
		r = drive(t, total_ms, &rc);
		if (r == 0)
			r = conclude(t, rc, t->err);
		curl_multi_remove_handle(w->multi, t->easy);
	}
	curl_easy_cleanup(t->easy);
	kube_lists_free(&t->lists);
	lines_reset(&t->lines);
	if (w->state.retry_after > t->retry_after)
		t->retry_after = w->state.retry_after;
	return r;
}

/* --- the three ways to hear --- */

static uint32_t random_u32(void)
{
	uint32_t v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		v = (uint32_t)clock_mono_us();
	return v;
}

static int stream(struct kube_watch *w, const char *parameters, const char *rv, int *ret_retry_after, struct error *err)
{
	struct transfer t = { .w = w, .lines = LINES_INIT(WATCH_LINE_MAX), .body = BUF_INIT(ERROR_BODY_MAX), .stream = true, .err = err };
	int seconds = w->timing.stream_min_s + (int)(random_u32() % (uint32_t)(w->timing.stream_max_s - w->timing.stream_min_s + 1));
	int64_t start = clock_mono_us();
	uint64_t before = w->state.events;
	char all[256];
	int r;

	snprintf(all, sizeof(all), "watch=true&allowWatchBookmarks=true&timeoutSeconds=%d%s", seconds, parameters);
	r = request(w, &t, all, rv, "", (int64_t)seconds * 1000 + w->timing.grace_ms);
	buf_free(&t.body);
	*ret_retry_after = t.retry_after;
	/* What cannot be read from here will not become better by being read again. */
	if (r == -ESTALE || r == -EBADMSG || r == -EMSGSIZE)
		w->state.rv[0] = '\0';
	if (r == 0 && w->state.events == before && clock_mono_us() - start < SHORT_STREAM_US)
		return error_set(err, -EIO, "the stream ended at once");
	return r;
}

/* One request for the complete set and what follows (Kubernetes 1.32 and newer). */
static int stream_initial(struct kube_watch *w, int *ret_retry_after, struct error *err)
{
	int r;

	watch_state_begin(&w->state, true);
	r = stream(w, "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "", ret_retry_after, err);
	if (!w->state.initial)
		return r;
	/* It ended before the set was complete. */
	w->state.initial = false;
	if (w->stop || *ret_retry_after || r == -EBUSY)
		return r;
	/* 400 and 422: this server does not know the parameter (it is older, or its gate is off). */
	if (r == -EINVAL)
		w->no_watch_list = true;
	w->list_next = true;
	log_info("watch: no initial events, listing", LOG_S("watch", w->name), LOG_S("err", r < 0 ? err->message : "the stream ended"));
	/* The list is asked at once, and says itself what is wrong. */
	return 0;
}

static int list_page(struct kube_watch *w, char *token, int *ret_retry_after, struct error *err)
{
	struct transfer t = { .w = w, .body = BUF_INIT(PAGE_BYTES_MAX), .err = err };
	cleanup_json cJSON *page = NULL;
	char parameters[32];
	int r;

	snprintf(parameters, sizeof(parameters), "limit=%d", w->page);
	/* No resourceVersion: the newest, whatever it costs the server.  An older one could bring back what was deleted. */
	r = request(w, &t, parameters, "", token, 0);
	*ret_retry_after = t.retry_after;
	if (r == 0)
		r = watch_state_parse_page(&w->state, t.body.data ? t.body.data : "", t.body.len, PAGE_BYTES_MAX, &page, err);
	buf_free(&t.body);
	if (r == 0)
		r = watch_state_page(&w->state, page, token, CONTINUE_MAX, err);
	if (r == -EMSGSIZE && w->page > 1)
		w->page /= 4;
	if (w->page < 1)
		w->page = 1;
	note_progress(w);
	return r;
}

static int list(struct kube_watch *w, int *ret_retry_after, struct error *err)
{
	char token[CONTINUE_MAX] = "";
	int r;

	watch_state_begin(&w->state, false);
	do {
		r = list_page(w, token, ret_retry_after, err);
	} while (r == 0 && token[0] && !w->stop);
	return r;
}

/* --- the loop --- */

/* Where there is a place to go on from, the stream from there; else a complete set. */
static int step(struct kube_watch *w, int *ret_retry_after, struct error *err)
{
	if (w->state.rv[0])
		return stream(w, "", w->state.rv, ret_retry_after, err);
	if (w->no_watch_list || w->list_next)
		return list(w, ret_retry_after, err);
	return stream_initial(w, ret_retry_after, err);
}

static void pause_ms(struct kube_watch *w, int64_t ms)
{
	int64_t until = clock_mono_us() + ms * 1000, left;

	while (!w->stop && (left = until - clock_mono_us()) > 0)
		curl_multi_poll(w->multi, NULL, 0, left > POLL_MS * 1000 ? POLL_MS : (int)(left / 1000 + 1), NULL);
}

static void *watch_main(void *arg)
{
	struct kube_watch *w = arg;

	while (!w->stop) {
		struct error err = { 0 };
		int retry_after = 0, r = step(w, &retry_after, &err);
		int64_t ms;

		if (r == 0 || w->stop)
			continue;
		/* A place that has expired is daily life: once, the new set is asked for at once. */
		if (r == -ESTALE && w->stale++ == 0) {
			log_info("watch expired, starting anew", LOG_S("watch", w->name), LOG_S("err", err.message));
			continue;
		}
		set_status(w, err.message);
		ms = backoff_next_ms(&w->backoff, clock_mono_us(), random_u32());
		if (retry_after)
			ms = (int64_t)retry_after * 1000 + random_u32() % 1000;
		log_warning("watch interrupted", LOG_S("watch", w->name), LOG_S("err", err.message), LOG_N("wait_ms", ms));
		pause_ms(w, ms);
	}
	return NULL;
}

static int copy_spec(struct kube_watch *w, const struct kube_watch_spec *spec)
{
	const struct {
		char *to;
		size_t size;
		const char *from, **at;
	} text[] = {
		{ w->path, sizeof(w->path), spec->path, &w->spec.path },
		{ w->name, sizeof(w->name), spec->name, &w->spec.name },
		{ w->field_selector, sizeof(w->field_selector), spec->field_selector, &w->spec.field_selector },
		{ w->label_selector, sizeof(w->label_selector), spec->label_selector, &w->spec.label_selector },
	};

	w->spec = *spec;
	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		int n = snprintf(text[i].to, text[i].size, "%s", text[i].from ? text[i].from : "");

		if (n < 0 || (size_t)n >= text[i].size)
			return -ENAMETOOLONG;
		*text[i].at = text[i].to;
	}
	return 0;
}

static void watch_free(struct kube_watch *w)
{
	watch_state_free(&w->state);
	curl_multi_cleanup(w->multi);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int kube_watch_start_timed(struct kube_config *config, const struct kube_watch_spec *spec, const struct watch_timing *timing,
			   struct kube_watch **ret, struct error *err)
{
	struct kube_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_set(err, -ENOMEM, "out of memory");
	w->config = config;
	w->timing = *timing;
	w->page = timing->page;
	pthread_mutex_init(&w->lock, NULL);
	set_status(w, "not synced yet");
	w->multi = curl_multi_init();
	r = w->multi ? copy_spec(w, spec) : -ENOMEM;
	if (r == 0)
		r = watch_state_init(&w->state, &w->spec, err);
	if (r == 0)
		r = -pthread_create(&w->thread, NULL, watch_main, w);
	if (r < 0) {
		watch_free(w);
		return error_set(err, r, "watch of %s cannot be started", spec->path);
	}
	*ret = w;
	return 0;
}

int kube_watch_start(struct kube_config *config, const struct kube_watch_spec *spec, struct kube_watch **ret, struct error *err)
{
	return kube_watch_start_timed(config, spec, &default_timing, ret, err);
}

void kube_watch_stop(struct kube_watch *w)
{
	if (!w)
		return;
	w->stop = true;
	curl_multi_wakeup(w->multi);
	pthread_join(w->thread, NULL);
	watch_free(w);
}
