/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"

#define PATH "/apis/fake.test/v1/"

static int count(struct world *w, const char *scenario, const char *method)
{
	cleanup_json cJSON *log = NULL;
	struct error err = { 0 };
	char path[128];
	const cJSON *e;
	int n = 0;

	snprintf(path, sizeof(path), "/log/%s", scenario);
	if (kube_get(w->client, path, &log, &err) < 0)
		return -1;
	cJSON_ArrayForEach(e, json_at(log, "items"))
		n += !strcmp(json_str_or(e, "method", ""), method);
	return n;
}

/* One request each: its method, the code, a part of the message, how often the server was asked, and between how many ms it took. */
static const struct single {
	const char *name, *what;
	const char *method;
	int code;
	const char *message;
	int asked;
	int64_t min_ms, max_ms, timeout_ms;
} singles[] = {
	{ "get-cut-once", "client: GET is tried again when its connection broke", "GET", 0, NULL, 2, 0, 2000, 5000 },
	/* Three: libcurl itself asks once more where a pooled connection turns out to be dead, then we do. */
	{ "get-cut", "client: .. but only once", "GET", -EIO, "GET /apis/fake.test/v1/get-cut", 3, 0, 2000, 5000 },
	{ "retry-429", "client: POST is tried again after 429 with Retry-After", "POST", 0, NULL, 2, 950, 2500, 5000 },
	{ "retry-503", "client: POST is tried again after 503 with Retry-After", "POST", 0, NULL, 2, 950, 2500, 5000 },
	{ "plain-503", "client: 503 of a load balancer, quoted in short", "GET", -EIO, "no backend", 1, 0, 1000, 5000 },
	{ "busy", "client: a Retry-After beyond the timeout is not waited for", "GET", -EBUSY, "slow down", 1, 0, 1000, 2000 },
	{ "invalid", "client: 422 with its causes", "POST", -EINVAL,
	  "Thing \"x\" is invalid (spec.pod: Invalid value: \"\": must not be empty; spec.timeout: must be positive)", 1, 0, 1000, 5000 },
	{ "exists", "client: 409 AlreadyExists", "POST", -EEXIST, "already exists", 1, 0, 1000, 5000 },
	{ "conflict", "client: 409 Conflict", "PATCH", -EAGAIN, "has been modified", 1, 0, 1000, 5000 },
	{ "gone", "client: 410", "GET", -ESTALE, "too old resource version", 1, 0, 1000, 5000 },
	{ "forbidden", "client: 403", "GET", -EACCES, "cannot list resource", 1, 0, 1000, 5000 },
	{ "nothing-here", "client: 404", "GET", -ENOENT, "not found", 1, 0, 1000, 5000 },
	{ "huge", "client: an answer above 16 MiB is refused", "GET", -EIO, "larger than 16777216 bytes", 1, 0, 5000, 5000 },
	{ "late", "client: timeout", "GET", -ETIMEDOUT, "GET /apis/fake.test/v1/late", 1, 450, 1500, 500 },
	{ "redirect", "client: redirects are not followed", "GET", -EIO, "HTTP 302", 1, 0, 1000, 5000 },
};

static int send_one(struct world *w, const struct single *s, struct error *err)
{
	cleanup_json cJSON *o = cJSON_Parse("{\"metadata\":{\"name\":\"x\"}}"), *got = NULL;
	char path[128];
	int r;

	snprintf(path, sizeof(path), PATH "%s", s->name);
	kube_set_timeout(w->client, s->timeout_ms);
	if (!strcmp(s->method, "POST"))
		r = kube_create(w->client, path, o, &got, err);
	else if (!strcmp(s->method, "PATCH"))
		r = kube_merge_patch(w->client, path, NULL, o, &got, err);
	else
		r = kube_get(w->client, path, &got, err);
	kube_set_timeout(w->client, KUBE_TIMEOUT_MS);
	return r;
}

static void single_requests(struct world *w)
{
	for (size_t i = 0; i < sizeof(singles) / sizeof(singles[0]); i++) {
		const struct single *s = &singles[i];
		int64_t began = clock_mono_us(), took;
		struct error err = { 0 };
		int r = send_one(w, s, &err), n;

		took = ms_since(began);
		n = count(w, s->name, s->method);
		CHECK(w, r == s->code && (!s->message || strstr(err.message, s->message)) && n == s->asked && took >= s->min_ms && took <= s->max_ms,
		      s->what, "code %d (wanted %d), asked %d times (%d), %lld ms, \"%s\"", r, s->code, n, s->asked, (long long)took, err.message);
	}
}

/* The GET leaves a connection in the pool; the POST on it is cut after it was read: the server may have done it, so it must not be sent again. */
static void write_is_not_repeated(struct world *w)
{
	cleanup_json cJSON *o = cJSON_Parse("{\"metadata\":{\"name\":\"x\"}}");
	struct error err = { 0 };
	int r;

	kube_get(w->client, PATH "post-cut", NULL, &err);
	r = kube_create(w->client, PATH "post-cut", o, NULL, &err);
	CHECK(w, r == -EIO && count(w, "post-cut", "POST") == 1, "client: a write on a pooled connection that breaks is not sent twice",
	      "code %d, sent %d times, \"%s\"", r, count(w, "post-cut", "POST"), err.message);
	kube_get(w->client, PATH "post-cut", NULL, &err);
	r = kube_delete(w->client, PATH "post-cut", "uid-1", 0, &err);
	CHECK(w, r == -EIO && count(w, "post-cut", "DELETE") == 1, "client: .. nor is a DELETE", "code %d, sent %d times", r,
	      count(w, "post-cut", "DELETE"));
}

static void forms(struct world *w)
{
	static const struct {
		const char *method, *type, *query;
	} want[] = {
		{ "POST", "application/json", "{}" },
		{ "PUT", "application/json", "{}" },
		{ "PATCH", "application/apply-patch+yaml", "{\"fieldManager\":\"m\",\"force\":\"true\"}" },
		{ "PATCH", "application/merge-patch+json", "{\"fieldManager\":\"m\"}" },
		{ "PATCH", "application/json-patch+json", "{}" },
		{ "DELETE", "application/json", "{}" },
	};
	cleanup_json cJSON *o = cJSON_Parse("{\"a\":1}"), *log = NULL;
	struct error err = { 0 };
	char what[128];

	kube_create(w->client, PATH "echo", o, NULL, &err);
	kube_replace(w->client, PATH "echo", o, NULL, &err);
	kube_apply(w->client, PATH "echo", "m", true, o, NULL, &err);
	kube_merge_patch(w->client, PATH "echo", "m", o, NULL, &err);
	kube_json_patch(w->client, PATH "echo", o, NULL, &err);
	kube_delete(w->client, PATH "echo", "the-uid", 3, &err);
	kube_get(w->client, "/log/echo", &log, &err);
	for (int i = 0; i < (int)(sizeof(want) / sizeof(want[0])); i++) {
		const cJSON *e = cJSON_GetArrayItem(json_at(log, "items"), i);
		char *q = cJSON_PrintUnformatted(json_at(e, "query"));

		snprintf(what, sizeof(what), "client: form of %s (%s)", want[i].method, want[i].type);
		CHECK(w, q && !strcmp(q, want[i].query) && !strcmp(json_str_or(e, "method", ""), want[i].method) &&
			      !strcmp(json_str_or(e, "headers/content-type", ""), want[i].type) &&
			      !strcmp(json_str_or(e, "headers/user-agent", ""), "kube-test/" PM_VERSION_STRING) && !json_at(e, "headers/expect"),
		      what, "query %s, type %s", q ? q : "", json_str_or(e, "headers/content-type", ""));
		cJSON_free(q);
	}
	CHECK(w, !strcmp(json_str_or(json_at(log, "items/5"), "body", ""),
			 "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"preconditions\":{\"uid\":\"the-uid\"},\"gracePeriodSeconds\":3}"),
	      "client: body of DELETE", "%s", json_str_or(json_at(log, "items/5"), "body", ""));
	CHECK(w, !strcmp(json_str_or(json_at(log, "items/0"), "client", ""), "client"), "client: Ed25519 client certificate", "seen as \"%s\"",
	      json_str_or(json_at(log, "items/0"), "client", ""));
}

static void raw_is_cut(struct world *w)
{
	cleanup_buf struct buf b = BUF_INIT(100);
	struct error err = { 0 };
	int r = kube_get_raw(w->client, PATH "echo", 20, &b, &err);

	CHECK(w, r == 0 && b.len == 20, "client: a raw answer is cut at the limit", "code %d, %zu bytes, \"%s\"", r, b.len, err.message);
}

/* --- credentials that change under us --- */

static int config_from(struct world *w, const char *text, struct kube_config **config, struct kube_client **client)
{
	struct error err = { 0 };
	int r = kube_config_parse(text, strlen(text), w->dir, NULL, config, &err);

	if (r == 0)
		r = kube_client_new(*config, "kube-test", client, &err);
	if (r < 0)
		CHECK(w, false, "client: config", "%s", err.message);
	return r;
}

#define CONFIG(server, cluster, user)                                                                                                              \
	"current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: '" server "', " cluster "}}]\n" \
	"users: [{name: u, user: {" user "}}]\n"

static void put(struct world *w, const char *name, const char *text)
{
	char path[512];
	struct error err = { 0 };

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	if (file_write(AT_FDCWD, path, text, strlen(text), 0600, false, &err) < 0)
		CHECK(w, false, "write", "%s", err.message);
}

static void copy(struct world *w, const char *from, const char *to)
{
	cleanup_buf struct buf b = BUF_INIT(65536);
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", w->dir, from);
	if (file_read(AT_FDCWD, path, &b, NULL) == 0)
		put(w, to, b.data);
}

static void token_rotates(struct world *w)
{
	struct kube_config *config = NULL;
	struct kube_client *client = NULL;
	struct error err = { 0 };
	char text[2048];
	int r;

	put(w, "token", "old-token\n");
	snprintf(text, sizeof(text), CONFIG("%s", "certificate-authority: ca.crt", "tokenFile: token"), kube_config_server(w->config));
	if (config_from(w, text, &config, &client) < 0)
		return;
	r = kube_get(client, PATH "token", NULL, &err);
	CHECK(w, r == -EACCES && count(w, "token", "GET") == 1, "client: a refused token that has not changed is not tried again", "code %d, %s", r,
	      err.message);
	put(w, "token", "new-token\n");
	r = kube_get(client, PATH "token", NULL, &err);
	CHECK(w, r == 0 && count(w, "token", "GET") == 3, "client: a refused token is read anew and tried again", "code %d, %s", r, err.message);
	kube_client_free(client);
	kube_config_free(config);
}

/* The second server's certificate is from another authority and, by name, for only.test. */
static void authority_rotates(struct world *w)
{
	cleanup_buf struct buf port = BUF_INIT(16);
	struct kube_config *config = NULL;
	struct kube_client *client = NULL;
	struct error err = { 0 };
	char text[2048], path[512];
	int r;

	snprintf(path, sizeof(path), "%s/port2", w->dir);
	if (file_read(AT_FDCWD, path, &port, &err) < 0) {
		CHECK(w, false, "second server", "%s", err.message);
		return;
	}
	copy(w, "ca.crt", "rotating.crt");
	snprintf(text, sizeof(text), CONFIG("https://127.0.0.1:%s", "certificate-authority: rotating.crt, tls-server-name: only.test", "token: t"),
		 port.data);
	if (config_from(w, text, &config, &client) < 0)
		return;
	r = kube_get(client, PATH "echo", NULL, &err);
	CHECK(w, r == -EIO && strstr(err.message, "certificate"), "client: an unknown authority is refused", "code %d, %s", r, err.message);
	copy(w, "ca2.crt", "rotating.crt");
	r = kube_get(client, PATH "echo", NULL, &err);
	CHECK(w, r == 0, "client: a replaced CA file is noticed; tls-server-name", "code %d, %s", r, err.message);
	kube_client_free(client);
	kube_config_free(config);
	snprintf(text, sizeof(text), CONFIG("https://127.0.0.1:%s", "certificate-authority: ca2.crt, tls-server-name: other.test", "token: t"), port.data);
	if (config_from(w, text, &config, &client) < 0)
		return;
	r = kube_get(client, PATH "echo", NULL, &err);
	CHECK(w, r == -EIO, "client: another name than tls-server-name is refused", "code %d, %s", r, err.message);
	kube_client_free(client);
	kube_config_free(config);
}

static void nobody_there(struct world *w)
{
	struct kube_config *config = NULL;
	struct kube_client *client = NULL;
	struct error err = { 0 };
	char text[1024];
	int r;

	snprintf(text, sizeof(text), CONFIG("%s", "certificate-authority: ca.crt", "token: t"), "https://127.0.0.1:1");
	if (config_from(w, text, &config, &client) < 0)
		return;
	r = kube_get(client, PATH "echo", NULL, &err);
	CHECK(w, r == -ECONNREFUSED && strstr(err.message, "127.0.0.1 port 1"), "client: nobody listens", "code %d, %s", r, err.message);
	kube_client_free(client);
	kube_config_free(config);
}

void fake_client_suite(struct world *w)
{
	single_requests(w);
	write_is_not_repeated(w);
	forms(w);
	raw_is_cut(w);
	token_rotates(w);
	authority_rotates(w);
	nobody_there(w);
}
