/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "transport.h"

#define BODY_MAX (16u << 20)
#define URL_MAX 4096
#define RETRIES_MAX 10

struct kube_client {
	struct kube_config *config;
	CURL *easy;
	char user_agent[128];
	int64_t timeout_ms;
	bool once;                      /* no second try */
	struct buf body;                /* of the last answer */
	bool cut;                       /* the answer was longer than wanted */
};

struct request {
	const char *method, *path, *content_type;
	const char *body;
	size_t body_len, sent;
	size_t answer_max;
	bool may_cut;                   /* an answer longer than answer_max is not an error */
};

/* What one try gave besides its code. */
struct attempt {
	CURLcode rc;
	long status;
	int retry_after;
};

int kube_client_new(struct kube_config *config, const char *user_agent, struct kube_client **ret, struct error *err)
{
	struct kube_client *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	c->config = config;
	c->timeout_ms = KUBE_TIMEOUT_MS;
	snprintf(c->user_agent, sizeof(c->user_agent), "%s/%s", user_agent, PM_VERSION_STRING);
	c->easy = curl_easy_init();
	if (!c->easy) {
		free(c);
		return error_set(err, -ENOMEM, "out of memory for libcurl");
	}
	*ret = c;
	return 0;
}

static void body_wipe(struct kube_client *c)
{
	/* It may have been a Secret. */
	if (c->body.data)
		explicit_bzero(c->body.data, c->body.cap);
	buf_free(&c->body);
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->easy);
	body_wipe(c);
	free(c);
}

void kube_set_timeout(struct kube_client *c, int64_t ms)
{
	c->timeout_ms = ms;
}

void kube_set_once(struct kube_client *c, bool once)
{
	c->once = once;
}

/* --- one try --- */

static size_t on_answer(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_client *c = ctx;
	size_t len = size * n, room = c->body.max - c->body.len;

	if (len > room) {
		c->cut = true;
		buf_append(&c->body, data, room);
		return 0;
	}
	return buf_append(&c->body, data, len) == 0 ? len : 0;
}

static size_t on_body(char *out, size_t size, size_t n, void *ctx)
{
	struct request *q = ctx;
	size_t len = q->body_len - q->sent < size * n ? q->body_len - q->sent : size * n;

	memcpy(out, q->body + q->sent, len);
	q->sent += len;
	return len;
}

/*
 * The body is handed out by a callback that cannot rewind, and no seek function is set: libcurl would otherwise send a request
 * again of its own accord when a pooled connection dies before the answer, though the server may have done it already.
 */
static int set_body(struct kube_client *c, struct request *q, struct kube_lists *lists, struct error *err)
{
	char line[128];

	q->sent = 0;
	curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
	curl_easy_setopt(c->easy, CURLOPT_READFUNCTION, on_body);
	curl_easy_setopt(c->easy, CURLOPT_READDATA, q);
	snprintf(line, sizeof(line), "Content-Type: %s", q->content_type);
	if (kube_add_header(lists, line, err) < 0)
		return -ENOMEM;
	return kube_add_header(lists, "Expect:", err);
}

static int set_up(struct kube_client *c, struct request *q, int64_t left_ms, struct kube_lists *lists, struct error *err)
{
	char url[URL_MAX];
	int r;

	if (snprintf(url, sizeof(url), "%s%s", kube_config_url(c->config), q->path) >= (int)sizeof(url))
		return error_set(err, -ENAMETOOLONG, "URL too long: %.200s", q->path);
	curl_easy_reset(c->easy);
	r = kube_easy_setup(c->easy, c->config, c->user_agent, lists, err);
	if (r == 0)
		r = kube_add_header(lists, q->may_cut ? "Accept: */*" : "Accept: application/json", err);
	if (r == 0 && q->body)
		r = set_body(c, q, lists, err);
	if (r < 0)
		return r;
	curl_easy_setopt(c->easy, CURLOPT_URL, url);
	curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, q->method);
	curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, lists->headers);
	curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
	curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_answer);
	curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	return 0;
}

static int perform_once(struct kube_client *c, struct request *q, int64_t left_ms, struct attempt *a, struct error *err)
{
	struct kube_lists lists = { 0 };
	char text[CURL_ERROR_SIZE] = "", what[400];
	int r = set_up(c, q, left_ms, &lists, err);

	if (r < 0) {
		kube_lists_free(&lists);
		return r;
	}
	buf_reset(&c->body);
	c->body.max = q->answer_max;
	c->cut = false;
	curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, text);
	a->rc = curl_easy_perform(c->easy);
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &a->status);
	a->retry_after = kube_retry_after(c->easy);
	kube_lists_free(&lists);
	snprintf(what, sizeof(what), "%s %.*s", q->method, (int)strcspn(q->path, "?"), q->path);
	if (c->cut && q->may_cut)
		a->rc = CURLE_OK;
	else if (c->cut)
		return error_set(err, -EIO, "%s: the answer is larger than %zu bytes", what, q->answer_max);
	return kube_result(&(struct kube_answer){ a->rc, text, a->status, &c->body }, what, err);
}

/* --- tries --- */

static bool connection_broke(CURLcode rc)
{
	return rc == CURLE_GOT_NOTHING || rc == CURLE_RECV_ERROR || rc == CURLE_SEND_ERROR || rc == CURLE_PARTIAL_FILE;
}

static void sleep_until(int64_t mono_us)
{
	struct timespec t = { mono_us / 1000000, mono_us % 1000000 * 1000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		continue;
}

/*
 * Again: 429 and 5xx when the server says when (it has not begun then); 401 once, when the token's file holds a new one; a GET
 * once, when its connection broke.  Nothing else: only the caller knows how to find out whether a write was done.
 */
static bool again(struct kube_client *c, const struct request *q, const struct attempt *a, int64_t deadline_us, bool *once)
{
	int64_t at = clock_mono_us() + (int64_t)a->retry_after * 1000000;

	if (a->rc == CURLE_OK && a->retry_after && (a->status == 429 || a->status >= 500)) {
		if (at >= deadline_us)
			return false;
		sleep_until(at);
		return true;
	}
	if (*once)
		return false;
	*once = true;
	if (a->rc == CURLE_OK)
		return a->status == 401 && kube_config_refresh(c->config);
	/* A certificate that was replaced under us, theirs or ours. */
	if (a->rc == CURLE_PEER_FAILED_VERIFICATION || a->rc == CURLE_SSL_CERTPROBLEM)
		return kube_config_refresh(c->config);
	return !strcmp(q->method, "GET") && connection_broke(a->rc);
}

static int perform(struct kube_client *c, struct request *q, struct error *err)
{
	int64_t deadline_us = clock_mono_us() + c->timeout_ms * 1000;
	bool once = false;

	for (int i = 0;; i++) {
		int64_t left_ms = (deadline_us - clock_mono_us()) / 1000;
		struct attempt a = { .rc = CURLE_FAILED_INIT };
		int r = perform_once(c, q, left_ms > 1 ? left_ms : 1, &a, err);

		if (r == 0 || c->once || i == RETRIES_MAX || a.rc == CURLE_FAILED_INIT || !again(c, q, &a, deadline_us, &once))
			return r;
	}
}

static int take_object(struct kube_client *c, int r, cJSON **ret, struct error *err)
{
	if (r == 0 && ret) {
		r = json_parse(c->body.data ? c->body.data : "", c->body.len, BODY_MAX, ret, err);
		if (r < 0)
			r = error_wrap(err, -EIO, "answer of the API server");
	}
	body_wipe(c);
	return r;
}

static int send_object(struct kube_client *c, const char *method, const char *path, const char *type, const cJSON *object, cJSON **ret,
		       struct error *err)
{
	struct buf body = BUF_INIT(BODY_MAX);
	struct request q = { .method = method, .path = path, .content_type = type, .answer_max = BODY_MAX };
	int r = json_print(object, &body);

	if (r < 0) {
		error_set(err, r, "%s %.300s: the object cannot be written as JSON", method, path);
	} else {
		q.body = body.data;
		q.body_len = body.len;
		r = take_object(c, perform(c, &q, err), ret, err);
	}
	if (body.data)
		explicit_bzero(body.data, body.cap);
	buf_free(&body);
	return r;
}

/* --- the verbs --- */

int kube_get(struct kube_client *c, const char *path, cJSON **ret, struct error *err)
{
	struct request q = { .method = "GET", .path = path, .answer_max = BODY_MAX };

	return take_object(c, perform(c, &q, err), ret, err);
}

int kube_get_raw(struct kube_client *c, const char *path, size_t max, struct buf *out, struct error *err)
{
	struct request q = { .method = "GET", .path = path, .answer_max = max, .may_cut = true };
	int r = perform(c, &q, err);

	if (r == 0 && buf_append(out, c->body.data ? c->body.data : "", c->body.len) < 0)
		r = error_set(err, -ENOSPC, "GET %.300s: the answer does not fit", path);
	body_wipe(c);
	return r;
}

int kube_create(struct kube_client *c, const char *path, const cJSON *object, cJSON **ret, struct error *err)
{
	return send_object(c, "POST", path, "application/json", object, ret, err);
}

int kube_replace(struct kube_client *c, const char *path, const cJSON *object, cJSON **ret, struct error *err)
{
	return send_object(c, "PUT", path, "application/json", object, ret, err);
}

int kube_apply(struct kube_client *c, const char *path, const char *manager, bool force, const cJSON *object, cJSON **ret, struct error *err)
{
	char url[URL_MAX];

	if (snprintf(url, sizeof(url), "%s?fieldManager=%s%s", path, manager, force ? "&force=true" : "") >= (int)sizeof(url))
		return error_set(err, -ENAMETOOLONG, "URL too long: %.200s", path);
	/* A JSON text is a YAML text. */
	return send_object(c, "PATCH", url, "application/apply-patch+yaml", object, ret, err);
}

static int patch_as(struct kube_client *c, const char *path, const char *manager, const char *type, const cJSON *patch, cJSON **ret, struct error *err)
{
	char url[URL_MAX];

	if (snprintf(url, sizeof(url), "%s%s%s", path, manager ? "?fieldManager=" : "", manager ? manager : "") >= (int)sizeof(url))
		return error_set(err, -ENAMETOOLONG, "URL too long: %.200s", path);
	return send_object(c, "PATCH", url, type, patch, ret, err);
}

int kube_merge_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err)
{
	return patch_as(c, path, manager, "application/merge-patch+json", patch, ret, err);
}

int kube_strategic_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err)
{
	return patch_as(c, path, manager, "application/strategic-merge-patch+json", patch, ret, err);
}

int kube_json_patch(struct kube_client *c, const char *path, const cJSON *ops, cJSON **ret, struct error *err)
{
	return send_object(c, "PATCH", path, "application/json-patch+json", ops, ret, err);
}

int kube_delete(struct kube_client *c, const char *path, const char *uid, int grace_seconds, struct error *err)
{
	cleanup_json cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "apiVersion", "v1");
	cJSON_AddStringToObject(o, "kind", "DeleteOptions");
	if (uid)
		cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "preconditions"), "uid", uid);
	if (grace_seconds >= 0)
		cJSON_AddNumberToObject(o, "gracePeriodSeconds", grace_seconds);
	/* An allocation that failed would have lost the precondition: then nothing is deleted. */
	if (!o || (uid && !json_str(o, "preconditions/uid")))
		return error_set(err, -ENOMEM, "out of memory");
	return send_object(c, "DELETE", path, "application/json", o, NULL, err);
}
