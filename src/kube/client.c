/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "kube_internal.h"

#define BODY_MAX (16u << 20)
#define RETRIES_MAX 10

struct kube_client {
	struct kube_config *config;
	CURL *easy;
	char user_agent[128];
	int64_t timeout_ms;
	long retry_after;               /* seconds, of the last answer; -1: none */
	struct buf body;
};

int kube_client_new(struct kube_config *config, const char *user_agent, struct kube_client **ret, struct error *err)
{
	struct kube_client *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	c->config = config;
	c->timeout_ms = KUBE_TIMEOUT_MS;
	c->body.max = BODY_MAX;
	snprintf(c->user_agent, sizeof(c->user_agent), "%s/%s", user_agent, PM_VERSION_STRING);
	c->easy = curl_easy_init();
	if (!c->easy) {
		free(c);
		return error_set(err, -ENOMEM, "out of memory for libcurl");
	}
	*ret = c;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->easy);
	if (c->body.data)
		explicit_bzero(c->body.data, c->body.len);
	buf_free(&c->body);
	free(c);
}

void kube_set_timeout(struct kube_client *c, int64_t ms)
{
	c->timeout_ms = ms;
}

int kube_easy_init(CURL *easy, struct kube_config *config, const char *user_agent, struct error *err)
{
	(void)config;
	(void)err;
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_client *c = ctx;

	return buf_append(&c->body, data, size * n) == 0 ? size * n : 0;
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_client *c = ctx;
	static const char name[] = "retry-after:";

	if (size * n > sizeof(name) && !strncasecmp(data, name, sizeof(name) - 1))
		c->retry_after = strtol(data + sizeof(name) - 1, NULL, 10);
	return size * n;
}

/* The Status object's message and, for 422, its causes. */
static void server_message(const struct buf *body, char *out, size_t size)
{
	cleanup_json cJSON *o = NULL;

	out[0] = '\0';
	if (!body->len)
		return;
	if (json_parse(body->data, body->len, BODY_MAX, &o, NULL) == 0 && json_str(o, "message"))
		snprintf(out, size, "%s", json_str(o, "message"));
	else
		snprintf(out, size, "%.300s", body->data);
}

static const char *status_reason(const struct buf *body, char *out, size_t size)
{
	cleanup_json cJSON *o = NULL;

	out[0] = '\0';
	if (body->len && json_parse(body->data, body->len, BODY_MAX, &o, NULL) == 0)
		snprintf(out, size, "%s", json_str_or(o, "reason", ""));
	return out;
}

static int code_of(long status, const struct buf *body)
{
	static const struct {
		long status;
		int code;
	} map[] = { { 400, -EINVAL }, { 401, -EACCES }, { 403, -EACCES }, { 404, -ENOENT }, { 410, -ESTALE }, { 422, -EINVAL }, { 429, -EBUSY },
		    { 504, -ETIMEDOUT } };
	char reason[64];

	if (status >= 200 && status < 300)
		return 0;
	if (status == 409)
		return !strcmp(status_reason(body, reason, sizeof(reason)), "AlreadyExists") ? -EEXIST : -EAGAIN;
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (map[i].status == status)
			return map[i].code;
	return -EIO;
}

int kube_result(CURLcode rc, const char *curl_error, long status, const struct buf *body, const char *what, struct error *err)
{
	char message[1024];
	int code;

	if (rc != CURLE_OK) {
		code = rc == CURLE_COULDNT_CONNECT ? -ECONNREFUSED : rc == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;
		return error_set(err, code, "%s: %s", what, curl_error[0] ? curl_error : curl_easy_strerror(rc));
	}
	code = code_of(status, body);
	if (code == 0)
		return 0;
	server_message(body, message, sizeof(message));
	return error_set(err, code, "%s: HTTP %ld: %s", what, status, message);
}

static void sleep_ms(int64_t ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

struct request {
	const char *method, *path, *content_type, *accept;
	const char *body;
	size_t body_len;
};

static int perform_once(struct kube_client *c, const struct request *q, int64_t left_ms, struct error *err)
{
	struct curl_slist *headers = NULL;
	char url[2560], line[160], text[CURL_ERROR_SIZE] = "", what[600];
	long status = 0;
	CURLcode rc;
	int r;

	if (snprintf(url, sizeof(url), "%s%s", kube_config_server(c->config), q->path) >= (int)sizeof(url))
		return error_set(err, -ENAMETOOLONG, "URL too long");
	curl_easy_reset(c->easy);
	r = kube_easy_init(c->easy, c->config, c->user_agent, err);
	snprintf(line, sizeof(line), "Accept: %s", q->accept ? q->accept : "application/json");
	headers = curl_slist_append(headers, line);
	headers = curl_slist_append(headers, "Expect:");
	if (q->body) {
		snprintf(line, sizeof(line), "Content-Type: %s", q->content_type);
		headers = curl_slist_append(headers, line);
	}
	if (r == 0)
		r = kube_config_apply(c->config, c->easy, &headers, err);
	if (r < 0) {
		curl_slist_free_all(headers);
		return r;
	}
	buf_reset(&c->body);
	c->retry_after = -1;
	curl_easy_setopt(c->easy, CURLOPT_URL, url);
	curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, q->method);
	curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(c->easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
	curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, text);
	curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
	curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
	if (q->body) {
		curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, q->body);
		curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body_len);
	}
	rc = curl_easy_perform(c->easy);
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	if (status == 401)
		kube_config_refresh(c->config);
	snprintf(what, sizeof(what), "%s %.500s", q->method, q->path);
	return kube_result(rc, text, status, &c->body, what, err);
}

/* 429 and 5xx are tried again when the server says when; a GET once when its connection broke; nothing else. */
static int perform(struct kube_client *c, const struct request *q, struct error *err)
{
	int64_t deadline = clock_mono_us() + c->timeout_ms * 1000;
	bool get = !strcmp(q->method, "GET"), broke = false;

	for (int i = 0;; i++) {
		int64_t left_ms = (deadline - clock_mono_us()) / 1000;
		int r = perform_once(c, q, left_ms > 1 ? left_ms : 1, err);

		if (r == 0 || i >= RETRIES_MAX)
			return r;
		if (c->retry_after >= 0 && (r == -EBUSY || r == -EIO)) {
			if (clock_mono_us() + c->retry_after * 1000000 >= deadline)
				return r;
			sleep_ms(c->retry_after * 1000);
		} else if (get && r == -EIO && !broke) {
			broke = true;
		} else {
			return r;
		}
	}
}

static int take_object(struct kube_client *c, int r, cJSON **ret, struct error *err)
{
	if (r < 0 || !ret)
		return r;
	r = json_parse(c->body.data ? c->body.data : "", c->body.len, BODY_MAX, ret, err);
	return r < 0 ? error_wrap(err, -EIO, "answer of the API server") : 0;
}

static int send_object(struct kube_client *c, const char *method, const char *path, const char *type, const cJSON *object, cJSON **ret,
		       struct error *err)
{
	struct buf body = BUF_INIT(BODY_MAX);
	struct request q = { .method = method, .path = path, .content_type = type };
	int r;

	if (json_print(object, &body) < 0) {
		buf_free(&body);
		return error_set(err, -ENOMEM, "object too large");
	}
	q.body = body.data;
	q.body_len = body.len;
	r = take_object(c, perform(c, &q, err), ret, err);
	explicit_bzero(body.data, body.len);
	buf_free(&body);
	return r;
}

int kube_get(struct kube_client *c, const char *path, cJSON **ret, struct error *err)
{
	struct request q = { .method = "GET", .path = path };

	return take_object(c, perform(c, &q, err), ret, err);
}

int kube_get_raw(struct kube_client *c, const char *path, size_t max, struct buf *out, struct error *err)
{
	struct request q = { .method = "GET", .path = path, .accept = "*/*" };
	int r = perform(c, &q, err);

	return r == 0 ? buf_append(out, c->body.data ? c->body.data : "", c->body.len < max ? c->body.len : max) : r;
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
	char url[2048];

	if (snprintf(url, sizeof(url), "%s?fieldManager=%s%s", path, manager, force ? "&force=true" : "") >= (int)sizeof(url))
		return error_set(err, -ENAMETOOLONG, "URL too long");
	return send_object(c, "PATCH", url, "application/apply-patch+yaml", object, ret, err);
}

int kube_merge_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err)
{
	char url[2048];

	if (snprintf(url, sizeof(url), "%s%s%s", path, manager ? "?fieldManager=" : "", manager ? manager : "") >= (int)sizeof(url))
		return error_set(err, -ENAMETOOLONG, "URL too long");
	return send_object(c, "PATCH", url, "application/merge-patch+json", patch, ret, err);
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
	return send_object(c, "DELETE", path, "application/json", o, NULL, err);
}

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 253 || s[0] == '.' || s[0] == '-')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n;
}

int kube_path(char *out, size_t size, const char *group_version, const char *ns, const char *plural, const char *name, const char *sub)
{
	int n;

	if ((ns && !is_name(ns)) || !is_name(plural) || (name && !is_name(name)) || (sub && !is_name(sub)))
		return -EINVAL;
	n = snprintf(out, size, "%s%s%s%s/%s%s%s%s%s", strchr(group_version, '/') ? "/apis/" : "/api/", group_version, ns ? "/namespaces/" : "",
		     ns ? ns : "", plural, name ? "/" : "", name ? name : "", sub ? "/" : "", sub ? sub : "");
	return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}
