/* SPDX-License-Identifier: Apache-2.0 */
#include "secrets.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/json.h"
#include "base/log.h"
#include "destination_pod.h"
#include "migration/keys.h"
#include "migration/reason.h"
#include "view.h"

#define MASTER_SIZE 32

/* A Secret object that holds one key; NULL when there is no memory. */
static cJSON *secret_object(const char *ns, const char *name, const char *migration_uid, const uint8_t *key, size_t len)
{
	struct buf text = BUF_INIT(256);
	cJSON *o, *meta;

	if (base64_encode(key, len, &text) < 0) {
		buf_free(&text);
		return NULL;
	}
	o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "apiVersion", "v1");
	cJSON_AddStringToObject(o, "kind", "Secret");
	cJSON_AddStringToObject(o, "type", "Opaque");
	cJSON_AddBoolToObject(o, "immutable", 1);
	meta = cJSON_AddObjectToObject(o, "metadata");
	cJSON_AddStringToObject(meta, "name", name);
	cJSON_AddStringToObject(meta, "namespace", ns);
	if (migration_uid)
		cJSON_AddStringToObject(cJSON_AddObjectToObject(meta, "labels"), PM_LABEL_MIGRATION, migration_uid);
	cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "data"), "key", text.data);
	explicit_bzero(text.data, text.len);
	buf_free(&text);
	return o;
}

/* Frees it without leaving the key in memory. */
static void secret_free(cJSON *o)
{
	cJSON *key = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, "data"), "key");

	if (cJSON_IsString(key))
		explicit_bzero(key->valuestring, strlen(key->valuestring));
	cJSON_Delete(o);
}

static int create(struct worker *w, cJSON *secret, struct error *err)
{
	char path[1024];
	int r = secret ? path_of(path, "v1", view_namespace(secret), "secrets", NULL, NULL, err) : error_set(err, -ENOMEM, "out of memory");

	if (r == 0)
		r = kube_create(w->client, path, secret, NULL, err);
	secret_free(secret);
	return r;
}

/* --- the master key --- */

static int read_master(struct worker *w, const char *path, struct error *err)
{
	struct controller *c = w->c;
	struct buf raw = BUF_INIT(sizeof(c->master));
	cJSON *o = NULL;
	const char *text;
	int r = kube_get(w->client, path, &o, err);

	if (r < 0)
		return r;
	text = json_str_or(o, "data/key", "");
	r = base64_decode(text, strlen(text), &raw);
	if (r == 0 && raw.len >= MASTER_SIZE) {
		memcpy(c->master, raw.data, raw.len);
		c->master_len = raw.len;
	} else {
		r = error_set(err, -EINVAL, "Secret %s/%s holds no key of at least %d bytes", c->ns, PM_MASTER_SECRET, MASTER_SIZE);
	}
	if (raw.data)
		explicit_bzero(raw.data, raw.len);
	buf_free(&raw);
	secret_free(o);
	return r;
}

static int make_master(struct worker *w, struct error *err)
{
	uint8_t fresh[MASTER_SIZE];
	int r;

	if (getrandom(fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh))
		return error_errno(err, "random numbers");
	r = create(w, secret_object(w->c->ns, PM_MASTER_SECRET, NULL, fresh, sizeof(fresh)), err);
	explicit_bzero(fresh, sizeof(fresh));
	if (r == 0)
		log_info("master key made", LOG_S("namespace", w->c->ns));
	return r == -EEXIST ? 0 : r;
}

/* With the lock held. */
static int load_master(struct worker *w, struct error *err)
{
	char path[1024];
	int r = path_of(path, "v1", w->c->ns, "secrets", PM_MASTER_SECRET, NULL, err);

	if (r < 0 || w->c->master_len)
		return r;
	r = read_master(w, path, err);
	if (r != -ENOENT)
		return r;
	r = make_master(w, err);
	return r == 0 ? read_master(w, path, err) : r;
}

/* --- keys of migrations --- */

int secrets_key(struct worker *w, const char *migration_uid, uint8_t out[PM_KEY_SIZE], struct error *err)
{
	int r;

	pthread_mutex_lock(&w->c->lock);
	r = load_master(w, err);
	if (r == 0)
		r = key_derive(w->c->master, w->c->master_len, migration_uid, out, err);
	pthread_mutex_unlock(&w->c->lock);
	return r < 0 ? error_wrap(err, r, "key of the migration") : 0;
}

int secrets_create_for_agent(struct worker *w, const char *migration_uid, struct error *err)
{
	uint8_t key[PM_KEY_SIZE];
	int r = secrets_key(w, migration_uid, key, err);

	if (r < 0)
		return r;
	r = create(w, secret_object(w->c->agent_ns, migration_uid, migration_uid, key, sizeof(key)), err);
	explicit_bzero(key, sizeof(key));
	return r == -EEXIST ? 0 : r < 0 ? error_wrap(err, r, "Secret for the source's agent") : 0;
}

int secrets_delete_for_agent(struct worker *w, const char *migration_uid, struct error *err)
{
	char path[1024];
	int r = path_of(path, "v1", w->c->agent_ns, "secrets", migration_uid, NULL, err);

	if (r == 0)
		r = kube_delete(w->client, path, NULL, -1, err);
	return r == -ENOENT ? 0 : r < 0 ? error_wrap(err, r, "Secret for the source's agent") : 0;
}

static void add_owner(cJSON *secret, const cJSON *pod)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "apiVersion", "v1");
	cJSON_AddStringToObject(o, "kind", "Pod");
	cJSON_AddStringToObject(o, "name", view_name(pod));
	cJSON_AddStringToObject(o, "uid", view_uid(pod));
	cJSON_AddItemToArray(cJSON_AddArrayToObject(cJSON_GetObjectItemCaseSensitive(secret, "metadata"), "ownerReferences"), o);
}

int secrets_create_for_pod(struct worker *w, const char *migration_uid, const cJSON *pod, struct error *err)
{
	char name[POD_NAME_SIZE];
	uint8_t key[PM_KEY_SIZE];
	cJSON *secret;
	int r = destination_secret_name(migration_uid, name, sizeof(name));

	if (r == 0)
		r = secrets_key(w, migration_uid, key, err);
	if (r < 0)
		return r;
	secret = secret_object(view_namespace(pod), name, migration_uid, key, sizeof(key));
	explicit_bzero(key, sizeof(key));
	if (secret)
		add_owner(secret, pod);
	r = create(w, secret, err);
	return r == -EEXIST ? 0 : r < 0 ? error_wrap(err, r, "Secret for the destination pod") : 0;
}
