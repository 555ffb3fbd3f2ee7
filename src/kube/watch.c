/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kube_internal.h"
#include "known.h"

#define EVENT_MAX (16u << 20)
#define LIST_MAX (256u << 20)
#define SILENCE_US 150000000            /* bookmarks come about every minute: two missed */
#define BACKOFF_FIRST_MS 800
#define BACKOFF_LAST_MS 30000
#define QUIET_US 120000000              /* so long without failure: the back-off starts anew */

struct kube_watch {
	struct kube_config *config;
	char path[512], field_selector[512], label_selector[512], name[64];
	void (*on_upsert)(void *ctx, const cJSON *object);
	void (*on_delete)(void *ctx, const cJSON *object);
	void (*on_synced)(void *ctx);
	void *ctx;

	pthread_t thread;
	CURLM *multi;
	atomic_bool stop, synced;
	pthread_mutex_t lock;           /* of status */
	char status[512];

	char rv[64];                    /* where to go on; "" before the first complete set */
	struct known *known;
	bool streaming_list;            /* within the initial events of a WatchList */
	bool no_watch_list;             /* the server refused it */
	struct buf in;
	long retry_after;
	int64_t heard_us;
	long http_status;
	int event_error;                /* from an ERROR event or a broken line */
	struct error err;
};

static void set_status(struct kube_watch *w, const char *text)
{
	pthread_mutex_lock(&w->lock);
	snprintf(w->status, sizeof(w->status), "%.500s", text);
	pthread_mutex_unlock(&w->lock);
}

void kube_watch_status(const struct kube_watch *w, char *out, size_t size)
{
	struct kube_watch *m = (struct kube_watch *)(uintptr_t)w;

	pthread_mutex_lock(&m->lock);
	snprintf(out, size, "%.511s", m->status);
	pthread_mutex_unlock(&m->lock);
}

bool kube_watch_synced(const struct kube_watch *w)
{
	return w->synced;
}

/* --- objects --- */

static void synced(struct kube_watch *w)
{
	known_sweep(w->known, w->on_delete, w->ctx);
	w->synced = true;
	if (w->on_synced)
		w->on_synced(w->ctx);
}

static void upsert(struct kube_watch *w, const cJSON *o)
{
	if (known_put(w->known, json_str_or(o, "metadata/namespace", ""), json_str_or(o, "metadata/name", ""),
		      json_str_or(o, "metadata/uid", "")) < 0)
		w->event_error = error_set(&w->err, -ENOMEM, "out of memory for the watch");
	w->on_upsert(w->ctx, o);
}

static void take_rv(struct kube_watch *w, const cJSON *o)
{
	const char *rv = json_str(o, "metadata/resourceVersion");

	if (rv && strlen(rv) < sizeof(w->rv))
		snprintf(w->rv, sizeof(w->rv), "%s", rv);
}

static void on_bookmark(struct kube_watch *w, const cJSON *o)
{
	take_rv(w, o);
	if (w->streaming_list && !strcmp(json_str_or(o, "metadata/annotations/k8s.io~1initial-events-end", ""), "true")) {
		w->streaming_list = false;
		synced(w);
	}
}

/* An ERROR event carries a Status; HTTP said 200. */
static void on_error(struct kube_watch *w, const cJSON *o)
{
	int64_t code = 0;

	json_int(o, "code", 0, 999, &code);
	w->event_error = error_set(&w->err, code == 410 ? -ESTALE : code == 429 ? -EBUSY : -EIO, "watch: %s",
				   json_str_or(o, "message", "error event"));
}

static void on_event(struct kube_watch *w, const char *line, size_t len)
{
	cleanup_json cJSON *e = NULL;
	const char *type;
	const cJSON *o;

	if (json_parse(line, len, EVENT_MAX, &e, &w->err) < 0) {
		w->event_error = error_wrap(&w->err, -EIO, "watch event");
		return;
	}
	type = json_str_or(e, "type", "");
	o = json_at(e, "object");
	if (!strcmp(type, "ADDED") || !strcmp(type, "MODIFIED")) {
		upsert(w, o);
		/* The initial events come in no order: their versions are no place to go on from. */
		if (!w->streaming_list)
			take_rv(w, o);
	} else if (!strcmp(type, "DELETED")) {
		known_remove(w->known, json_str_or(o, "metadata/namespace", ""), json_str_or(o, "metadata/name", ""));
		w->on_delete(w->ctx, o);
		if (!w->streaming_list)
			take_rv(w, o);
	} else if (!strcmp(type, "BOOKMARK")) {
		on_bookmark(w, o);
	} else if (!strcmp(type, "ERROR")) {
		on_error(w, o);
	}
}

/* One event per line in practice, whatever the chunks are. */
static size_t on_watch_data(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_watch *w = ctx;
	size_t at = 0;
	char *nl;

	w->heard_us = clock_mono_us();
	if (buf_append(&w->in, data, size * n) < 0) {
		w->event_error = error_set(&w->err, -EMSGSIZE, "a watch event is larger than %u bytes", EVENT_MAX);
		return 0;
	}
	if (w->http_status && w->http_status != 200)
		return size * n;
	while (!w->event_error && at < w->in.len && (nl = memchr(w->in.data + at, '\n', w->in.len - at))) {
		size_t len = (size_t)(nl - (w->in.data + at));

		if (len)
			on_event(w, w->in.data + at, len);
		at += len + 1;
	}
	buf_consume(&w->in, at);
	return w->event_error ? 0 : size * n;
}

static size_t on_list_data(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_watch *w = ctx;

	w->heard_us = clock_mono_us();
	return buf_append(&w->in, data, size * n) == 0 ? size * n : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_watch *w = ctx;
	size_t len = size * n;
	char line[64];

	snprintf(line, sizeof(line), "%.*s", (int)(len < 63 ? len : 63), data);
	if (!strncmp(line, "HTTP/", 5)) {
		const char *sp = strchr(line, ' ');

		w->http_status = sp ? strtol(sp, NULL, 10) : 0;
	}
	for (size_t i = 0; i < sizeof(line) && line[i]; i++)
		if (line[i] >= 'A' && line[i] <= 'Z')
			line[i] = (char)(line[i] + 32);
	if (!strncmp(line, "retry-after:", 12))
		w->retry_after = strtol(line + 12, NULL, 10);
	return len;
}

/* --- one request --- */

static void add_selectors(const struct kube_watch *w, struct buf *url)
{
	const char *sel[2] = { w->field_selector, w->label_selector }, *const key[2] = { "fieldSelector", "labelSelector" };

	for (int i = 0; i < 2; i++) {
		char *esc = sel[i][0] ? curl_easy_escape(NULL, sel[i], 0) : NULL;

		if (esc)
			buf_printf(url, "&%s=%s", key[i], esc);
		curl_free(esc);
	}
}

static int run_transfer(struct kube_watch *w, CURL *easy, int64_t silence_us)
{
	int running = 1, left;

	w->heard_us = clock_mono_us();
	curl_multi_add_handle(w->multi, easy);
	while (running && !w->stop) {
		CURLMcode mc = curl_multi_perform(w->multi, &running);

		if (mc != CURLM_OK || !running)
			break;
		if (clock_mono_us() - w->heard_us > silence_us) {
			w->event_error = error_set(&w->err, -ETIMEDOUT, "nothing was heard for %d s", (int)(silence_us / 1000000));
			break;
		}
		curl_multi_poll(w->multi, NULL, 0, 1000, NULL);
	}
	if (w->stop || w->event_error) {
		curl_multi_remove_handle(w->multi, easy);
		return w->event_error ? w->event_error : -ECANCELED;
	}
	for (CURLMsg *m; (m = curl_multi_info_read(w->multi, &left));)
		if (m->msg == CURLMSG_DONE) {
			CURLcode rc = m->data.result;

			curl_multi_remove_handle(w->multi, easy);
			if (w->event_error)
				return w->event_error;
			return kube_result(rc, "", w->http_status, &w->in, w->name, &w->err);
		}
	curl_multi_remove_handle(w->multi, easy);
	return error_set(&w->err, -EIO, "transfer ended without a result");
}

static int request(struct kube_watch *w, const char *query, bool watch)
{
	CURL *easy = curl_easy_init();
	struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
	struct buf url = BUF_INIT(8192);
	int r;

	w->http_status = 0;
	w->retry_after = -1;
	w->event_error = 0;
	buf_reset(&w->in);
	w->in.max = watch ? EVENT_MAX : LIST_MAX;
	buf_printf(&url, "%s%s?%s", kube_config_server(w->config), w->path, query);
	add_selectors(w, &url);
	r = kube_easy_init(easy, w->config, "podmigration/" PM_VERSION_STRING, &w->err);
	if (r == 0)
		r = kube_config_apply(w->config, easy, &headers, &w->err);
	if (r == 0) {
		/* No Accept-Encoding: from Kubernetes 1.37 a compressed WatchList is many gzip members, which libcurl does not read. */
		curl_easy_setopt(easy, CURLOPT_URL, url.data);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, watch ? on_watch_data : on_list_data);
		curl_easy_setopt(easy, CURLOPT_WRITEDATA, w);
		curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
		curl_easy_setopt(easy, CURLOPT_HEADERDATA, w);
		r = run_transfer(w, easy, watch ? SILENCE_US : 60000000);
	}
	if (w->http_status == 401)
		kube_config_refresh(w->config);
	curl_easy_cleanup(easy);
	curl_slist_free_all(headers);
	buf_free(&url);
	return r;
}

/* --- the loop --- */

static unsigned random_below(unsigned n)
{
	unsigned v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v))
		v = (unsigned)clock_mono_us();
	return v % n;
}

static int watch_list(struct kube_watch *w)
{
	char q[512];

	w->streaming_list = true;
	known_mark(w->known);
	snprintf(q, sizeof(q), "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=%u",
		 300 + random_below(300));
	return request(w, q, true);
}

static int list(struct kube_watch *w)
{
	cleanup_json cJSON *o = NULL;
	const cJSON *item;
	int r = request(w, "limit=0", false);

	if (r < 0)
		return r;
	r = json_parse(w->in.data ? w->in.data : "", w->in.len, LIST_MAX, &o, &w->err);
	buf_free(&w->in);
	w->in.max = EVENT_MAX;
	if (r < 0)
		return error_wrap(&w->err, -EIO, "list");
	known_mark(w->known);
	cJSON_ArrayForEach(item, json_at(o, "items"))
		upsert(w, item);
	take_rv(w, o);
	synced(w);
	return 0;
}

static int watch_on(struct kube_watch *w)
{
	char q[512];

	snprintf(q, sizeof(q), "watch=true&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=%u", w->rv, 300 + random_below(300));
	return request(w, q, true);
}

/* One step: a complete set where there is none, else the stream from where we are. */
static int step(struct kube_watch *w)
{
	int r;

	if (w->rv[0])
		r = watch_on(w);
	else if (!w->no_watch_list) {
		r = watch_list(w);
		/* Old servers answer 400 or 422: list and watch from now on. */
		if (w->streaming_list && r == -EINVAL) {
			w->no_watch_list = true;
			r = 0;
		}
		w->streaming_list = false;
	} else {
		r = list(w);
	}
	if (r == -ESTALE)
		w->rv[0] = '\0';
	return r;
}

static void pause_for(struct kube_watch *w, int64_t ms)
{
	int64_t until = clock_mono_us() + ms * 1000, left;

	while (!w->stop && (left = (until - clock_mono_us()) / 1000) > 0)
		curl_multi_poll(w->multi, NULL, 0, left > 1000 ? 1000 : (int)left, NULL);
}

static void *watch_main(void *arg)
{
	struct kube_watch *w = arg;
	int64_t backoff = BACKOFF_FIRST_MS;

	while (!w->stop) {
		int64_t start = clock_mono_us();
		int r = step(w);

		if (w->stop)
			break;
		if (clock_mono_us() - start > QUIET_US)
			backoff = BACKOFF_FIRST_MS;
		if (r == 0 && (clock_mono_us() - start > 1000000 || w->synced)) {
			set_status(w, "");
			/* A stream that ends cleanly and at once would otherwise spin. */
			if (clock_mono_us() - start < 100000 && w->rv[0])
				pause_for(w, 100);
			continue;
		}
		if (r == 0)
			continue;
		set_status(w, w->err.message);
		log_warning("watch interrupted", LOG_S("watch", w->name), LOG_S("err", w->err.message));
		if (r == -ESTALE)
			continue;
		if (w->retry_after >= 0) {
			pause_for(w, w->retry_after * 1000);
			continue;
		}
		pause_for(w, backoff + random_below((unsigned)backoff));
		backoff = backoff * 2 > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : backoff * 2;
	}
	return NULL;
}

int kube_watch_start(struct kube_config *config, const struct kube_watch_spec *spec, struct kube_watch **ret, struct error *err)
{
	struct kube_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_set(err, -ENOMEM, "out of memory");
	w->config = config;
	w->on_upsert = spec->on_upsert;
	w->on_delete = spec->on_delete;
	w->on_synced = spec->on_synced;
	w->ctx = spec->ctx;
	w->in.max = EVENT_MAX;
	snprintf(w->path, sizeof(w->path), "%s", spec->path);
	snprintf(w->name, sizeof(w->name), "%s", spec->name);
	snprintf(w->field_selector, sizeof(w->field_selector), "%s", spec->field_selector ? spec->field_selector : "");
	snprintf(w->label_selector, sizeof(w->label_selector), "%s", spec->label_selector ? spec->label_selector : "");
	pthread_mutex_init(&w->lock, NULL);
	set_status(w, "not synced yet");
	w->known = known_new();
	w->multi = curl_multi_init();
	if (!w->multi || !w->known) {
		r = error_set(err, -ENOMEM, "out of memory");
	} else {
		r = -pthread_create(&w->thread, NULL, watch_main, w);
		if (r < 0)
			error_set(err, r, "cannot start a thread");
	}
	if (r < 0) {
		known_free(w->known);
		curl_multi_cleanup(w->multi);
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void kube_watch_stop(struct kube_watch *w)
{
	w->stop = true;
	curl_multi_wakeup(w->multi);
	pthread_join(w->thread, NULL);
	curl_multi_cleanup(w->multi);
	known_free(w->known);
	buf_free(&w->in);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
