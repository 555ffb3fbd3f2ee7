/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "migration/phase.h"
#include "names.h"
#include "view.h"

#define BUCKETS 4096
#define OBJECT_MAX (4u << 20)
#define TEXT_FIRST 4096u
#define TEXT_KEEP 65536u
#define GONE 256
#define UID_MAX 64
#define VERSION_MAX 32

/* A PodMigration, with the fields that are asked across all of them. */
struct migration {
	struct migration *by_key, *by_uid;      /* next in the bucket */
	char *key, *uid, *pod_name, *pod_uid, *created, *version, *text;
	enum phase phase;
	bool dry;                       /* a dry run without a claim to its pod (view_claims) */
	struct store_past past;
};

/* There may be thousands: one piece of memory each, and nothing in it twice. */
struct pod {
	struct pod *by_uid;
	const char *migration, *version, *text; /* behind uid; the text is without these three */
	char uid[];
};

/*
 * The last objects that were taken out.  An answer to a request of our own, older than the watch's word that the object is gone, may come to us after it: kept, it
 * would be there for ever, since nothing more is heard of it.
 */
struct gone {
	struct {
		char uid[UID_MAX], version[VERSION_MAX];
	} last[GONE];
	unsigned n;
};

struct store {
	pthread_mutex_t lock;
	struct buf printed, slim;       /* of the object at hand: what lives shortly beside what is kept leaves holes when it is allocated each time */
	struct migration *by_key[BUCKETS], *by_uid[BUCKETS];
	struct pod *pods[BUCKETS];
	int n_pods;
	struct gone gone_migrations, gone_pods;
};

int store_new(struct store **ret, struct error *err)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	s->printed = s->slim = (struct buf)BUF_INIT(OBJECT_MAX);
	*ret = s;
	return 0;
}

static void migration_free(struct migration *m)
{
	free(m->key);
	free(m->uid);
	free(m->pod_name);
	free(m->pod_uid);
	free(m->created);
	free(m->version);
	free(m->text);
	free(m);
}

void store_free(struct store *s)
{
	if (!s)
		return;
	for (int i = 0; i < BUCKETS; i++) {
		for (struct migration *m = s->by_key[i], *next; m; m = next) {
			next = m->by_key;
			migration_free(m);
		}
		for (struct pod *p = s->pods[i], *next; p; p = next) {
			next = p->by_uid;
			free(p);
		}
	}
	buf_free(&s->printed);
	buf_free(&s->slim);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static size_t hash(const char *s)
{
	return (size_t)(text_hash(TEXT_HASH, s) % BUCKETS);
}

int store_key(const cJSON *object, char out[STORE_KEY_SIZE])
{
	int n = snprintf(out, STORE_KEY_SIZE, "%s/%s", view_namespace(object), view_name(object));

	return n > 0 && n < STORE_KEY_SIZE ? 0 : -ENAMETOOLONG;
}

/*
 * True when version a is older than b. Decimal numbers of any length, comparable within one resource (KEP-5504); what is not such a number is taken as newer,
 * so that a server that counts otherwise still works.
 */
static bool version_older(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);

	if (strspn(a, "0123456789") != la || strspn(b, "0123456789") != lb)
		return false;
	return la != lb ? la < lb : strcmp(a, b) < 0;
}

static void note_gone(struct gone *g, const cJSON *object)
{
	unsigned i = g->n++ % GONE;

	snprintf(g->last[i].uid, UID_MAX, "%s", view_uid(object));
	snprintf(g->last[i].version, VERSION_MAX, "%s", json_str_or(object, "metadata/resourceVersion", ""));
}

/* A newer one is back: our label was taken off a pod, and put on again. */
static bool is_gone(const struct gone *g, const char *uid, const char *version)
{
	for (unsigned i = 0; i < GONE && i < g->n; i++)
		if (!strcmp(g->last[i].uid, uid) && (!strcmp(g->last[i].version, version) || version_older(version, g->last[i].version)))
			return true;
	return false;
}

/* --- what is kept --- */

static const struct json_want migration_metadata[] = { UNWANTED("managedFields"), WANT("*"), WANT_END };
const struct json_want store_migration_want[] = { WANT_OF("metadata", migration_metadata), WANT("spec"), WANT("status"), WANT_END };

/* Of a pod, what decide(), the invariants, the handing over and problem_of_pod() read. */
static const struct json_want watched_labels[] = { WANT("*"), WANT_END };
static const struct json_want pod_labels[] = { UNWANTED(PM_LABEL_MIGRATION), WANT("*"), WANT_END };       /* the mark is kept beside the text */
static const struct json_want pod_annotations[] = {
	WANT(PM_ANN_MIGRATION), WANT(PM_ANN_ORIGINAL_NAME), WANT(ANN_ORDERED), WANT(ANN_WITHHELD), WANT_END,
};
#define POD_METADATA WANT("name"), WANT("namespace"), WANT("deletionTimestamp"), WANT("creationTimestamp"), WANT_OF("annotations", pod_annotations)
static const struct json_want pod_metadata[] = { POD_METADATA, WANT_OF("labels", pod_labels), WANT_END };
static const struct json_want watched_metadata[] = { POD_METADATA, WANT("uid"), WANT("resourceVersion"), WANT_OF("labels", watched_labels), WANT_END };
static const struct json_want container[] = { WANT("name"), WANT("restartPolicy"), WANT_END };
static const struct json_want pod_spec[] = { WANT("nodeName"), WANT("readinessGates"), WANT_OF("containers", container), WANT_OF("initContainers", container), WANT_END };
static const struct json_want condition[] = { WANT("type"), WANT("status"), WANT("reason"), WANT_END };
static const struct json_want container_status[] = {
	WANT("name"), WANT("state"), WANT("lastState"), WANT("imageID"), WANT("containerID"), WANT("restartCount"), WANT_END,
};
static const struct json_want pod_status[] = {
	WANT("phase"), WANT("reason"), WANT("message"), WANT("podIP"), WANT_OF("conditions", condition), WANT_OF("containerStatuses", container_status),
	WANT_OF("initContainerStatuses", container_status), WANT_END,
};
#define POD_REST WANT_OF("spec", pod_spec), WANT_OF("status", pod_status), WANT_END
static const struct json_want pod_text[] = { WANT_OF("metadata", pod_metadata), POD_REST };
const struct json_want store_pod_want[] = { WANT_OF("metadata", watched_metadata), POD_REST };

/* What is wanted of an object, as text that is good until the next one; NULL: out of memory, or too large.  Locked. */
static const char *text_of(struct store *s, const cJSON *o, const struct json_want *want)
{
	cJSON *object = (cJSON *)(uintptr_t)o;  /* it is only read */
	size_t size = TEXT_FIRST;

	if (s->printed.cap > TEXT_KEEP) {
		buf_free(&s->printed);
		buf_free(&s->slim);
	}
	while (buf_reserve(&s->printed, size) == 0) {
		if (cJSON_PrintPreallocated(object, s->printed.data, (int)s->printed.cap, 0))
			return json_pick(s->printed.data, strlen(s->printed.data), want, &s->slim) == 0 ? s->slim.data : NULL;
		size = 2 * s->printed.cap;
	}
	return NULL;
}

static cJSON *parsed(const char *text)
{
	cJSON *o = NULL;

	return text && json_parse(text, strlen(text), OBJECT_MAX, &o, NULL) == 0 ? o : NULL;
}

/* --- PodMigrations --- */

static struct migration *find_key(struct store *s, const char *key)
{
	struct migration *m = s->by_key[hash(key)];

	while (m && strcmp(m->key, key))
		m = m->by_key;
	return m;
}

static struct migration *find_uid(struct store *s, const char *uid)
{
	struct migration *m = s->by_uid[hash(uid)];

	while (m && strcmp(m->uid, uid))
		m = m->by_uid;
	return m;
}

static void unlink_migration(struct store *s, struct migration *m)
{
	struct migration **p = &s->by_key[hash(m->key)];

	while (*p != m)
		p = &(*p)->by_key;
	*p = m->by_key;
	for (p = &s->by_uid[hash(m->uid)]; *p != m;)
		p = &(*p)->by_uid;
	*p = m->by_uid;
	migration_free(m);
}

static void link_migration(struct store *s, struct migration *m)
{
	struct migration **p = &s->by_key[hash(m->key)];

	m->by_key = *p;
	*p = m;
	p = &s->by_uid[hash(m->uid)];
	m->by_uid = *p;
	*p = m;
}

static struct migration *new_migration(struct store *s, const cJSON *object, const char *key)
{
	const char *text = text_of(s, object, store_migration_want);
	struct migration *m = text ? calloc(1, sizeof(*m)) : NULL;

	if (!m)
		return NULL;
	m->key = strdup(key);
	m->uid = strdup(view_uid(object));
	m->pod_name = strdup(json_str_or(object, "spec/podName", ""));
	m->pod_uid = strdup(json_str_or(object, "status/sourcePod/uid", ""));
	m->created = strdup(json_str_or(object, "metadata/creationTimestamp", ""));
	m->version = strdup(json_str_or(object, "metadata/resourceVersion", ""));
	m->text = strdup(text);
	m->phase = view_phase(object);
	m->dry = !view_claims(object);
	if (m->key && m->uid && m->pod_name && m->pod_uid && m->created && m->version && m->text)
		return m;
	migration_free(m);
	return NULL;
}

bool store_put_migration(struct store *s, const cJSON *object)
{
	char key[STORE_KEY_SIZE];
	struct migration *fresh, *old;
	bool newer = true;

	if (store_key(object, key) < 0)
		return false;
	pthread_mutex_lock(&s->lock);
	fresh = new_migration(s, object, key);
	if (!fresh) {
		pthread_mutex_unlock(&s->lock);
		log_error("out of memory, a PodMigration is not followed", LOG_S("name", view_name(object)));
		return false;
	}
	old = find_key(s, key);
	/* Another UID: an object of the same name made anew. */
	if ((old && !strcmp(old->uid, fresh->uid) && version_older(fresh->version, old->version)) || is_gone(&s->gone_migrations, fresh->uid, fresh->version))
		newer = false;
	if (old && !strcmp(old->uid, fresh->uid))
		fresh->past = old->past;
	if (old && newer)
		unlink_migration(s, old);
	if (newer)
		link_migration(s, fresh);
	pthread_mutex_unlock(&s->lock);
	if (!newer)
		migration_free(fresh);
	return newer;
}

void store_remove_migration(struct store *s, const cJSON *object)
{
	char key[STORE_KEY_SIZE];
	struct migration *m;

	if (store_key(object, key) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	note_gone(&s->gone_migrations, object);
	m = find_key(s, key);
	if (m && !strcmp(m->uid, view_uid(object)))
		unlink_migration(s, m);
	pthread_mutex_unlock(&s->lock);
}

cJSON *store_migration(struct store *s, const char *key)
{
	struct migration *m;
	char *text = NULL;
	cJSON *o;

	pthread_mutex_lock(&s->lock);
	m = find_key(s, key);
	if (m)
		text = strdup(m->text);
	pthread_mutex_unlock(&s->lock);
	o = parsed(text);
	free(text);
	return o;
}

struct store_past store_note(struct store *s, const cJSON *object)
{
	struct store_past now = { .known = true, .phase = view_phase(object), .decision = view_decision(object) }, past = { 0 };
	struct migration *m;

	json_int(object, "status/epoch", 0, INT64_MAX, &now.epoch);
	pthread_mutex_lock(&s->lock);
	m = find_uid(s, view_uid(object));
	if (m) {
		past = m->past;
		m->past = now;
	}
	pthread_mutex_unlock(&s->lock);
	return past;
}

static bool has_claim(const struct migration *m, const cJSON *self, const char *self_key, const cJSON *pod)
{
	const char *slash = strchr(m->key, '/'), *created = json_str_or(self, "metadata/creationTimestamp", "");
	int age;

	if (phase_ended(m->phase) || !strcmp(m->key, self_key))
		return false;
	/* The label is put on with the pod's resource version, so of two that have not recorded the pod yet only one has it. */
	if (!strcmp(m->uid, view_label(pod, PM_LABEL_MIGRATION)))
		return true;
	if (m->dry)
		return false;
	if (m->pod_uid[0])
		return !strcmp(m->pod_uid, view_uid(pod));
	if (strncmp(m->key, self_key, (size_t)(slash - m->key) + 1) || strcmp(m->pod_name, json_str_or(self, "spec/podName", "")))
		return false;
	age = strcmp(m->created, created);
	return age < 0 || (age == 0 && strcmp(m->uid, view_uid(self)) < 0);
}

bool store_other_claim(struct store *s, const cJSON *self, const cJSON *pod, char ret_key[STORE_KEY_SIZE])
{
	char self_key[STORE_KEY_SIZE];
	bool found = false;

	if (store_key(self, self_key) < 0)
		return false;
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < BUCKETS && !found; i++)
		for (struct migration *m = s->by_key[i]; m && !found; m = m->by_key)
			if (has_claim(m, self, self_key, pod)) {
				snprintf(ret_key, STORE_KEY_SIZE, "%s", m->key);
				found = true;
			}
	pthread_mutex_unlock(&s->lock);
	return found;
}

void store_each_key(struct store *s, void (*fn)(void *ctx, const char *key), void *ctx)
{
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < BUCKETS; i++)
		for (struct migration *m = s->by_key[i]; m; m = m->by_key)
			fn(ctx, m->key);
	pthread_mutex_unlock(&s->lock);
}

void store_count(struct store *s, int *by_phase, int *ret_pods)
{
	memset(by_phase, 0, PHASE_COUNT * sizeof(*by_phase));
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < BUCKETS; i++)
		for (struct migration *m = s->by_key[i]; m; m = m->by_key)
			by_phase[m->phase]++;
	*ret_pods = s->n_pods;
	pthread_mutex_unlock(&s->lock);
}

/* --- pods --- */

static struct pod *new_pod(struct store *s, const cJSON *object)
{
	const char *text = text_of(s, object, pod_text);
	const char *const part[] = { view_uid(object), view_label(object, PM_LABEL_MIGRATION), json_str_or(object, "metadata/resourceVersion", ""), text };
	char *put[sizeof(part) / sizeof(part[0])], *at;
	size_t size = 0;
	struct pod *p;

	for (size_t i = 0; text && i < sizeof(part) / sizeof(part[0]); i++)
		size += strlen(part[i]) + 1;
	p = text ? malloc(sizeof(*p) + size) : NULL;
	if (!p)
		return NULL;
	at = p->uid;
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		put[i] = memcpy(at, part[i], strlen(part[i]) + 1);
		at += strlen(part[i]) + 1;
	}
	p->by_uid = NULL;
	p->migration = put[1];
	p->version = put[2];
	p->text = put[3];
	return p;
}

static struct pod **find_pod(struct store *s, const char *uid)
{
	struct pod **p = &s->pods[hash(uid)];

	while (*p && strcmp((*p)->uid, uid))
		p = &(*p)->by_uid;
	return p;
}

static bool key_of(struct store *s, const char *migration_uid, char ret_key[STORE_KEY_SIZE])
{
	const struct migration *m = find_uid(s, migration_uid);

	if (m)
		snprintf(ret_key, STORE_KEY_SIZE, "%s", m->key);
	return m != NULL;
}

bool store_put_pod(struct store *s, const cJSON *object, char ret_key[STORE_KEY_SIZE])
{
	struct pod *fresh, **at, *old;
	bool known;

	pthread_mutex_lock(&s->lock);
	fresh = new_pod(s, object);
	if (!fresh) {
		pthread_mutex_unlock(&s->lock);
		log_error("out of memory, a pod is not followed", LOG_S("pod", view_name(object)));
		return false;
	}
	known = key_of(s, fresh->migration, ret_key);
	at = find_pod(s, fresh->uid);
	old = *at;
	if ((old && version_older(fresh->version, old->version)) || is_gone(&s->gone_pods, fresh->uid, fresh->version)) {
		free(fresh);
	} else {
		fresh->by_uid = old ? old->by_uid : NULL;
		*at = fresh;
		s->n_pods += !old;
		if (old)
			free(old);
	}
	pthread_mutex_unlock(&s->lock);
	return known;
}

bool store_remove_pod(struct store *s, const cJSON *object, char ret_key[STORE_KEY_SIZE])
{
	struct pod **at, *old;
	bool known = false;

	pthread_mutex_lock(&s->lock);
	note_gone(&s->gone_pods, object);
	at = find_pod(s, view_uid(object));
	old = *at;
	if (old) {
		known = key_of(s, old->migration, ret_key);
		*at = old->by_uid;
		s->n_pods--;
		free(old);
	}
	pthread_mutex_unlock(&s->lock);
	return known;
}

static cJSON *pod_object(const struct pod *p)
{
	cJSON *o = parsed(p->text), *meta = cJSON_GetObjectItemCaseSensitive(o, "metadata"), *labels = cJSON_GetObjectItemCaseSensitive(meta, "labels");

	if (!labels)
		labels = cJSON_AddObjectToObject(meta, "labels");
	if (cJSON_AddStringToObject(meta, "uid", p->uid) && cJSON_AddStringToObject(meta, "resourceVersion", p->version) &&
	    cJSON_AddStringToObject(labels, PM_LABEL_MIGRATION, p->migration))
		return o;
	cJSON_Delete(o);
	return NULL;
}

cJSON *store_pod(struct store *s, const char *uid)
{
	const struct pod *p;
	cJSON *o = NULL;

	if (!uid[0])
		return NULL;
	pthread_mutex_lock(&s->lock);
	p = *find_pod(s, uid);
	if (p)
		o = pod_object(p);
	pthread_mutex_unlock(&s->lock);
	return o;
}

static bool is_made_by(const struct pod *p, const char *migration_uid, const char *not_pod_uid)
{
	return !strcmp(p->migration, migration_uid) && strcmp(p->uid, not_pod_uid) != 0;
}

cJSON *store_stray_pod(struct store *s, const char *migration_uid, const char *not_pod_uid)
{
	const struct pod *found = NULL;
	cJSON *o = NULL;

	if (!migration_uid[0])
		return NULL;
	pthread_mutex_lock(&s->lock);
	for (int i = 0, left = s->n_pods; i < BUCKETS && left > 0 && !found; i++)
		for (const struct pod *p = s->pods[i]; p && !found; p = p->by_uid, left--)
			if (is_made_by(p, migration_uid, not_pod_uid))
				found = p;
	if (found)
		o = pod_object(found);
	pthread_mutex_unlock(&s->lock);
	if (o && !strcmp(view_annotation(o, PM_ANN_MIGRATION), migration_uid))
		return o;
	cJSON_Delete(o);
	return NULL;
}
