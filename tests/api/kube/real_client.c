/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

/* Requests against a real API server, on ConfigMaps and a Pod that nobody schedules. */

static void path_of(struct world *w, const char *plural, const char *name, char out[512])
{
	kube_path(out, 512, "v1", w->ns, plural, name, NULL);
}

static cJSON *config_map(const char *name, const char *value)
{
	cJSON *o = cJSON_CreateObject(), *data;

	cJSON_AddStringToObject(o, "apiVersion", "v1");
	cJSON_AddStringToObject(o, "kind", "ConfigMap");
	cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "metadata"), "name", name);
	data = cJSON_AddObjectToObject(o, "data");
	cJSON_AddStringToObject(data, "k", value);
	return o;
}

static void create_and_get(struct world *w)
{
	cleanup_json cJSON *want = config_map("one", "v1"), *made = NULL, *got = NULL, *bad = NULL;
	struct error err = { 0 };
	char all[512], one[512], path[512];
	int r;

	path_of(w, "configmaps", NULL, all);
	path_of(w, "configmaps", "one", one);
	r = kube_create(w->client, all, want, &made, &err);
	CHECK(w, r == 0 && json_str(made, "metadata/uid"), "real: create", "code %d, %s", r, err.message);
	r = kube_get(w->client, one, &got, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(got, "data/k", ""), "v1") &&
		      !strcmp(json_str_or(got, "metadata/uid", "a"), json_str_or(made, "metadata/uid", "b")),
	      "real: get", "code %d, %s", r, err.message);
	r = kube_create(w->client, all, want, NULL, &err);
	CHECK(w, r == -EEXIST && strstr(err.message, "already exists"), "real: create again: exists", "code %d, %s", r, err.message);
	path_of(w, "configmaps", "none", path);
	r = kube_get(w->client, path, NULL, &err);
	CHECK(w, r == -ENOENT && strstr(err.message, "\"none\" not found"), "real: get what is not there", "code %d, %s", r, err.message);
	bad = config_map("Bad_Name", "v");
	r = kube_create(w->client, all, bad, NULL, &err);
	CHECK(w, r == -EINVAL && strstr(err.message, "metadata.name"), "real: an invalid object, with the field", "code %d, %s", r, err.message);
}

static void compare_and_swap(struct world *w)
{
	cleanup_json cJSON *got = NULL, *patch = NULL, *after = NULL;
	struct error err = { 0 };
	char one[512], text[512];
	int r;

	path_of(w, "configmaps", "one", one);
	kube_get(w->client, one, &got, &err);
	snprintf(text, sizeof(text), "{\"metadata\":{\"resourceVersion\":\"%s\"},\"data\":{\"k\":\"v2\"}}", json_str_or(got, "metadata/resourceVersion", ""));
	patch = cJSON_Parse(text);
	r = kube_merge_patch(w->client, one, "kube-test", patch, &after, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(after, "data/k", ""), "v2"), "real: merge patch with the current version", "code %d, %s", r, err.message);
	r = kube_merge_patch(w->client, one, "kube-test", patch, NULL, &err);
	CHECK(w, r == -EAGAIN, "real: merge patch with an old version: conflict", "code %d, %s", r, err.message);
	r = kube_replace(w->client, one, got, NULL, &err);
	CHECK(w, r == -EAGAIN, "real: replace with an old version: conflict", "code %d, %s", r, err.message);
}

static void json_patches(struct world *w)
{
	cleanup_json cJSON *good = cJSON_Parse("[{\"op\":\"test\",\"path\":\"/data/k\",\"value\":\"v2\"},{\"op\":\"replace\",\"path\":\"/data/k\",\"value\":\"v3\"}]");
	cleanup_json cJSON *after = NULL;
	struct error err = { 0 };
	char one[512];
	int r;

	path_of(w, "configmaps", "one", one);
	r = kube_json_patch(w->client, one, good, &after, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(after, "data/k", ""), "v3"), "real: JSON patch whose test holds", "code %d, %s", r, err.message);
	r = kube_json_patch(w->client, one, good, NULL, &err);
	CHECK(w, r == -EINVAL, "real: JSON patch whose test fails", "code %d, %s", r, err.message);
}

static void applies(struct world *w)
{
	cleanup_json cJSON *mine = config_map("applied", "a"), *other = config_map("applied", "b"), *after = NULL;
	struct error err = { 0 };
	char path[512];
	int r;

	path_of(w, "configmaps", "applied", path);
	r = kube_apply(w->client, path, "manager-a", false, mine, &after, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(after, "data/k", ""), "a"), "real: server-side apply creates", "code %d, %s", r, err.message);
	r = kube_apply(w->client, path, "manager-b", false, other, NULL, &err);
	CHECK(w, r == -EAGAIN && strstr(err.message, "manager-a"), "real: apply over another's field: conflict that names the manager", "code %d, %s", r,
	      err.message);
	cJSON_Delete(after);
	after = NULL;
	r = kube_apply(w->client, path, "manager-b", true, other, &after, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(after, "data/k", ""), "b"), "real: forced apply takes it", "code %d, %s", r, err.message);
}

static void deletes(struct world *w)
{
	cleanup_json cJSON *got = NULL;
	struct error err = { 0 };
	char one[512];
	int r;

	path_of(w, "configmaps", "one", one);
	kube_get(w->client, one, &got, &err);
	r = kube_delete(w->client, one, "00000000-0000-0000-0000-000000000000", -1, &err);
	CHECK(w, r == -EAGAIN && strstr(err.message, "UID"), "real: delete with another UID: conflict, nothing deleted", "code %d, %s", r, err.message);
	r = kube_delete(w->client, one, json_str(got, "metadata/uid"), -1, &err);
	CHECK(w, r == 0, "real: delete with the UID", "code %d, %s", r, err.message);
	r = kube_delete(w->client, one, NULL, 0, &err);
	CHECK(w, r == -ENOENT, "real: delete what is gone", "code %d, %s", r, err.message);
}

/* A pod's status belongs to its own subresource. */
static void status_subresource(struct world *w)
{
	cleanup_json cJSON *pod = cJSON_Parse("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"nodeName\":\"nowhere\","
					      "\"automountServiceAccountToken\":false,\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
	cleanup_json cJSON *patch = cJSON_Parse("{\"status\":{\"phase\":\"Running\",\"podIP\":\"10.9.9.9\"}}"), *got = NULL;
	struct error err = { 0 };
	char all[512], sub[512], one[512];
	int r = kube_create(w->client, (path_of(w, "pods", NULL, all), all), pod, NULL, &err);

	CHECK(w, r == 0, "real: create a pod", "code %d, %s", r, err.message);
	kube_path(sub, sizeof(sub), "v1", w->ns, "pods", "p", "status");
	r = kube_merge_patch(w->client, sub, "kube-test", patch, &got, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(got, "status/podIP", ""), "10.9.9.9"), "real: patch of status", "code %d, %s", r, err.message);
	path_of(w, "pods", "p", one);
	r = kube_delete(w->client, one, json_str(got, "metadata/uid"), 0, &err);
	CHECK(w, r == 0, "real: delete the pod without grace", "code %d, %s", r, err.message);
}

/* NULL: it has none of that type. */
static const cJSON *condition_of(const cJSON *pod, const char *type)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, json_at(pod, "status/conditions")) {
		if (!strcmp(json_str_or(c, "type", ""), type))
			return c;
	}
	return NULL;
}

static int patch_status(struct world *w, const char *uid, const char *conditions, cJSON **ret, struct error *err)
{
	cleanup_json cJSON *patch = cJSON_CreateObject();
	char sub[512];

	cJSON_AddStringToObject(cJSON_AddObjectToObject(patch, "metadata"), "uid", uid);
	if (conditions)
		cJSON_AddItemToObject(cJSON_AddObjectToObject(patch, "status"), "conditions", cJSON_Parse(conditions));
	kube_path(sub, sizeof(sub), "v1", w->ns, "pods", "s", "status");
	return kube_strategic_patch(w->client, sub, "kube-test", patch, ret, err);
}

#define READY_TRUE "{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-11-01T00:00:00Z\"}"
#define CONTAINERS_TRUE "{\"type\":\"ContainersReady\",\"status\":\"True\",\"lastTransitionTime\":\"2026-11-01T00:00:00Z\"}"
#define READY_FALSE "{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"Migrating\",\"message\":\"x\",\"lastTransitionTime\":\"2026-11-02T00:00:00Z\"}"
#define READY_BACK "{\"type\":\"Ready\",\"status\":\"True\",\"reason\":null,\"message\":null,\"lastTransitionTime\":\"2026-11-03T00:00:00Z\"}"

static void merges_by_type(struct world *w, const char *uid)
{
	cleanup_json cJSON *both = NULL, *out = NULL, *again = NULL, *back = NULL;
	struct error err = { 0 };
	int r = patch_status(w, uid, "[" READY_TRUE "," CONTAINERS_TRUE "]", &both, &err);

	CHECK(w, r == 0 && condition_of(both, "Ready") && condition_of(both, "ContainersReady"), "real: strategic patch adds conditions", "code %d, %s", r, err.message);
	r = patch_status(w, uid, "[" READY_FALSE "]", &out, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(condition_of(out, "Ready"), "status", ""), "False") && !strcmp(json_str_or(condition_of(out, "Ready"), "reason", ""), "Migrating"),
	      "real: strategic patch changes the condition of that type", "code %d, %s", r, err.message);
	CHECK(w, cJSON_GetArraySize(json_at(out, "status/conditions")) == cJSON_GetArraySize(json_at(both, "status/conditions")) &&
		      cJSON_Compare(condition_of(out, "ContainersReady"), condition_of(both, "ContainersReady"), 1),
	      "real: strategic patch leaves the other condition", "%d conditions", cJSON_GetArraySize(json_at(out, "status/conditions")));
	r = patch_status(w, uid, "[" READY_FALSE "]", &again, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(again, "metadata/resourceVersion", "a"), json_str_or(out, "metadata/resourceVersion", "b")),
	      "real: strategic patch that changes nothing is not written", "code %d, %s", r, err.message);
	r = patch_status(w, uid, "[" READY_BACK "]", &back, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(condition_of(back, "Ready"), "status", ""), "True") && !json_at(condition_of(back, "Ready"), "reason") &&
		      !json_at(condition_of(back, "Ready"), "message"),
	      "real: strategic patch takes reason and message away by null", "code %d, %s", r, err.message);
}

/* Of this pod and of this version only. */
static void strategic_preconditions(struct world *w, const char *uid)
{
	cleanup_json cJSON *read = NULL, *old = NULL;
	struct error err = { 0 };
	char sub[512];
	int r = patch_status(w, "00000000-0000-0000-0000-000000000000", "[" READY_FALSE "]", NULL, &err);

	CHECK(w, r == -EINVAL && strstr(err.message, "metadata.uid"), "real: strategic patch with another UID is refused", "code %d, %s", r, err.message);
	r = patch_status(w, "00000000-0000-0000-0000-000000000000", NULL, NULL, &err);
	CHECK(w, r == -EINVAL && strstr(err.message, "metadata.uid"), "real: strategic patch of nothing with another UID is refused", "code %d, %s", r, err.message);
	r = patch_status(w, uid, NULL, &read, &err);
	CHECK(w, r == 0 && !strcmp(json_str_or(condition_of(read, "Ready"), "status", ""), "True"), "real: strategic patch of nothing tells what is there", "code %d, %s", r,
	      err.message);
	r = patch_status(w, uid, "[" READY_FALSE "]", NULL, &err);
	old = cJSON_CreateObject();
	cJSON_AddStringToObject(cJSON_AddObjectToObject(old, "metadata"), "resourceVersion", json_str_or(read, "metadata/resourceVersion", ""));
	cJSON_AddItemToObject(cJSON_AddObjectToObject(old, "status"), "conditions", cJSON_Parse("[" READY_BACK "]"));
	kube_path(sub, sizeof(sub), "v1", w->ns, "pods", "s", "status");
	r = r < 0 ? r : kube_strategic_patch(w->client, sub, "kube-test", old, NULL, &err);
	CHECK(w, r == -EAGAIN, "real: strategic patch with an old version: conflict", "code %d, %s", r, err.message);
}

static void strategic_patches(struct world *w)
{
	cleanup_json cJSON *pod = cJSON_Parse("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"s\"},\"spec\":{\"nodeName\":\"nowhere\","
					      "\"automountServiceAccountToken\":false,\"containers\":[{\"name\":\"c\",\"image\":\"i\"}]}}");
	cleanup_json cJSON *made = NULL;
	struct error err = { 0 };
	char path[512];
	int r = kube_create(w->client, (path_of(w, "pods", NULL, path), path), pod, &made, &err);

	CHECK(w, r == 0, "real: create a pod with conditions", "code %d, %s", r, err.message);
	merges_by_type(w, json_str_or(made, "metadata/uid", ""));
	strategic_preconditions(w, json_str_or(made, "metadata/uid", ""));
	path_of(w, "pods", "s", path);
	kube_delete(w->client, path, json_str(made, "metadata/uid"), 0, &err);
	r = patch_status(w, json_str_or(made, "metadata/uid", ""), NULL, NULL, &err);
	CHECK(w, r == -ENOENT, "real: strategic patch of what is gone", "code %d, %s", r, err.message);
}

static void raw(struct world *w)
{
	cleanup_buf struct buf b = BUF_INIT(4096);
	struct error err = { 0 };
	int r = kube_get_raw(w->client, "/readyz", 4096, &b, &err);

	CHECK(w, r == 0 && b.data && !strcmp(b.data, "ok"), "real: /readyz as text", "code %d, %s", r, err.message);
}

/* The service account's way: a bearer token instead of the client certificate. */
static void token(struct world *w)
{
	cleanup_json cJSON *request = cJSON_Parse("{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenRequest\",\"spec\":{\"expirationSeconds\":600}}");
	cleanup_json cJSON *account = cJSON_Parse("{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"robot\"}}"), *got = NULL;
	cleanup_json cJSON *review = cJSON_Parse("{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}"), *me = NULL;
	struct kube_config *config = NULL;
	struct kube_client *client = NULL;
	struct error err = { 0 };
	char path[512], text[8192], name[256];
	int r;

	path_of(w, "serviceaccounts", NULL, path);
	kube_create(w->client, path, account, NULL, &err);
	kube_path(path, sizeof(path), "v1", w->ns, "serviceaccounts", "robot", "token");
	r = kube_create(w->client, path, request, &got, &err);
	CHECK(w, r == 0 && json_str(got, "status/token"), "real: token of a service account", "code %d, %s", r, err.message);
	/* Only the token is to be tried here, so the server is not verified. */
	snprintf(text, sizeof(text), "{\"current-context\":\"c\",\"contexts\":[{\"name\":\"c\",\"context\":{\"cluster\":\"k\",\"user\":\"u\"}}],"
		 "\"clusters\":[{\"name\":\"k\",\"cluster\":{\"server\":\"%s\",\"insecure-skip-tls-verify\":true}}],"
		 "\"users\":[{\"name\":\"u\",\"user\":{\"token\":\"%s\"}}]}", kube_config_server(w->config), json_str_or(got, "status/token", ""));
	if (kube_config_parse(text, strlen(text), "/", NULL, &config, &err) < 0 || kube_client_new(config, "kube-test", &client, &err) < 0) {
		CHECK(w, false, "real: token config", "%s", err.message);
		kube_config_free(config);
		return;
	}
	r = kube_create(client, "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, &me, &err);
	snprintf(name, sizeof(name), "system:serviceaccount:%s:robot", w->ns);
	CHECK(w, r == 0 && !strcmp(json_str_or(me, "status/userInfo/username", ""), name), "real: the token is who it should be", "code %d, %s, %s", r,
	      err.message, json_str_or(me, "status/userInfo/username", ""));
	path_of(w, "secrets", NULL, path);
	r = kube_get(client, path, NULL, &err);
	CHECK(w, r == -EACCES && strstr(err.message, "cannot list resource \"secrets\""), "real: what it may not do", "code %d, %s", r, err.message);
	kube_client_free(client);
	kube_config_free(config);
}

void real_client_suite(struct world *w)
{
	create_and_get(w);
	compare_and_swap(w);
	json_patches(w);
	applies(w);
	deletes(w);
	status_subresource(w);
	strategic_patches(w);
	raw(w);
	token(w);
}
