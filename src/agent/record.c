/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kube/watch.h"
#include "migration/reason.h"

#define USER_AGENT "podmigration-agent"
#define PROGRESS_US 500000      /* a step that is over sooner is not worth a write: it would take processor time while the pod stands still */
#define IDLE_US 10000000
#define WARM_US 30000000        /* a connection that was used so long ago may be closed by now (the server, libcurl: minutes) */
#define RESTORED_NAME_MAX 253   /* crds/ */
#define RESTORED_ID_MAX 128
#define ID_LETTERS "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-"

struct record {
	struct kube_config *config;
	struct kube_client *client;             /* of the calling thread */
	struct kube_client *background;         /* of the progress thread */
	char uid[64];
	char ns[254], name[254];
	char object_path[1024], status_path[1024];
	bool dry_run;                           /* spec.dryRun, which never changes, as soon as it was read */
	int64_t warm_us;                        /* clock_mono_us: when record_warm last asked; 0: not yet */

	struct kube_watch *watch;               /* NULL: none */
	void (*on_abort)(void *ctx);
	void *on_abort_ctx;
	atomic_bool aborted;

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum source_state queued;               /* SOURCE_None: nothing */
	cJSON *containers;                      /* queued; NULL: nothing */
	int64_t bytes;                          /* queued with it or alone; negative: nothing */
	bool busy, stop;
};

/* A merge patch whose metadata.uid makes the server refuse (409) an object of the same name that is another one. */
static cJSON *new_patch(const struct record *r, cJSON **ret_status)
{
	cJSON *p = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(p, "metadata");

	cJSON_AddStringToObject(meta, "uid", r->uid);
	*ret_status = cJSON_AddObjectToObject(p, "status");
	return p;
}

static void stamp(cJSON *source, enum source_state state)
{
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_real_us(), 0, now);
	cJSON_DeleteItemFromObjectCaseSensitive(source, "state");
	cJSON_DeleteItemFromObjectCaseSensitive(source, "updated");
	cJSON_AddStringToObject(source, "state", source_state_name(state));
	cJSON_AddStringToObject(source, "updated", now);
}

/* CLOCK_MONOTONIC, which `changed` waits by. */
static struct timespec deadline(int64_t us)
{
	int64_t at = clock_mono_us() + us;

	return (struct timespec){ at / 1000000, at % 1000000 * 1000 };
}

/* state SOURCE_None, bytes negative: they stay as they are.  containers (may be NULL) is taken over. */
static void send_progress(struct record *r, enum source_state state, int64_t bytes, cJSON *containers)
{
	cleanup_json cJSON *patch = NULL;
	struct error err = { 0 };
	cJSON *status, *source;

	patch = new_patch(r, &status);
	source = cJSON_AddObjectToObject(status, "source");
	if (state != SOURCE_None)
		stamp(source, state);
	if (bytes >= 0)
		cJSON_AddNumberToObject(source, "bytesTransferred", (double)bytes);
	if (containers)
		cJSON_AddItemToObject(source, "containers", containers);
	if (kube_merge_patch(r->background, r->status_path, PM_MANAGER_AGENT, patch, NULL, &err) < 0)
		log_warning("progress could not be recorded", LOG_S("state", source_state_name(state)), LOG_S("err", err.message));
}

/* With the lock held: the step has been the last one for PROGRESS_US. */
static bool lasts(struct record *r, enum source_state s)
{
	struct timespec until = deadline(PROGRESS_US);
	int rc = 0;

	while (rc != ETIMEDOUT && r->queued == s && !r->stop)
		rc = pthread_cond_timedwait(&r->changed, &r->lock, &until);
	return r->queued == s;
}

static bool has_live(const struct record *r)
{
	return r->containers || r->bytes >= 0;
}

static void *progress_main(void *arg)
{
	struct record *r = arg;

	pthread_mutex_lock(&r->lock);
	for (;;) {
		enum source_state s = r->queued;
		cJSON *containers;
		int64_t bytes;

		if (s == SOURCE_None && !has_live(r) && r->stop)
			break;
		if (s == SOURCE_None && !has_live(r)) {
			pthread_cond_wait(&r->changed, &r->lock);
			continue;
		}
		if (s != SOURCE_None && !r->stop && !lasts(r, s))
			continue;
		r->queued = SOURCE_None;
		containers = take_ptr(r->containers);
		bytes = r->bytes;
		r->bytes = -1;
		r->busy = true;
		pthread_mutex_unlock(&r->lock);
		send_progress(r, s, bytes, containers);
		pthread_mutex_lock(&r->lock);
		r->busy = false;
		pthread_cond_broadcast(&r->changed);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

int record_open(const struct agent_options *o, const char *ns, const char *name, const char *uid, struct record **ret, struct error *err)
{
	struct record *r = calloc(1, sizeof(*r));
	pthread_condattr_t clock;
	int rc;

	if (!r)
		return error_set(err, -ENOMEM, "out of memory");
	r->bytes = -1;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &clock);
	pthread_condattr_destroy(&clock);
	rc = kube_path(r->object_path, sizeof(r->object_path), PM_GROUP "/" PM_VERSION, ns, "podmigrations", name, NULL);
	if (rc == 0)
		rc = kube_path(r->status_path, sizeof(r->status_path), PM_GROUP "/" PM_VERSION, ns, "podmigrations", name, "status");
	if (rc < 0) {
		rc = error_set(err, rc, "not the name of a PodMigration");
		goto fail;
	}
	snprintf(r->uid, sizeof(r->uid), "%s", uid);
	snprintf(r->ns, sizeof(r->ns), "%s", ns);
	snprintf(r->name, sizeof(r->name), "%s", name);
	rc = kube_config_load(o->kubeconfig, NULL, &r->config, err);
	if (rc == 0)
		rc = kube_client_new(r->config, USER_AGENT, &r->client, err);
	if (rc == 0)
		rc = kube_client_new(r->config, USER_AGENT, &r->background, err);
	if (rc < 0)
		goto fail;
	rc = pthread_create(&r->thread, NULL, progress_main, r);
	if (rc) {
		rc = error_set(err, -rc, "cannot start a thread");
		goto fail;
	}
	*ret = r;
	return 0;
fail:
	kube_client_free(r->background);
	kube_client_free(r->client);
	kube_config_free(r->config);
	free(r);
	return rc;
}

/* Waits until nothing is queued or being sent, so that a synchronous write cannot be overtaken by an older one. */
static void wait_idle(struct record *r)
{
	struct timespec until = deadline(IDLE_US);

	pthread_mutex_lock(&r->lock);
	r->queued = SOURCE_None;
	cJSON_Delete(take_ptr(r->containers));
	r->bytes = -1;
	while (r->busy)
		if (pthread_cond_timedwait(&r->changed, &r->lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&r->lock);
}

void record_close(struct record *r)
{
	if (!r)
		return;
	record_unwatch(r);
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	kube_client_free(r->background);
	kube_client_free(r->client);
	kube_config_free(r->config);
	cJSON_Delete(r->containers);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int record_get(struct record *r, cJSON **ret, struct error *err)
{
	cJSON *o = NULL;
	int rc = kube_get(r->client, r->object_path, &o, err);

	if (rc < 0)
		return rc;
	if (strcmp(json_str_or(o, "metadata/uid", ""), r->uid)) {
		cJSON_Delete(o);
		return error_set(err, -ENOENT, "the PodMigration was replaced by another one of the same name");
	}
	r->dry_run = json_bool(o, "spec/dryRun");
	if (ret)
		*ret = o;
	else
		cJSON_Delete(o);
	return 0;
}

bool record_is_dry_run(const struct record *r)
{
	return r->dry_run;
}

void record_progress(struct record *r, enum source_state state)
{
	pthread_mutex_lock(&r->lock);
	r->queued = state;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

void record_live(struct record *r, int64_t bytes, cJSON *containers)
{
	pthread_mutex_lock(&r->lock);
	if (containers) {
		cJSON_Delete(r->containers);
		r->containers = containers;
	}
	if (bytes >= 0)
		r->bytes = bytes;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

/* A conflict with metadata.uid looks like any other conflict: the object tells. */
static int find_gone(struct record *r, int rc, struct error *err)
{
	struct error why = { 0 };

	if (rc == -EAGAIN && record_get(r, NULL, &why) == -ENOENT) {
		*err = why;
		return -ENOENT;
	}
	return rc;
}

/* Who comes after a worker that had given it up knows of a restart only: the reason that was said first is the one a person needs. */
static void keep_first_error(struct record *r, cJSON *source)
{
	cleanup_json cJSON *o = NULL;
	struct error ignored = { 0 };
	const cJSON *first;

	if (reason_from_name(json_str(source, "error/reason")) != REASON_AgentRestarted || record_get(r, &o, &ignored) < 0)
		return;
	first = json_at(o, "status/source/error");
	if (!json_str(first, "reason") || source_state_from_name(json_str(o, "status/source/state")) != SOURCE_Aborted)
		return;
	cJSON_DeleteItemFromObjectCaseSensitive(source, "error");
	cJSON_AddItemToObject(source, "error", cJSON_Duplicate(first, 1));
}

static int report(struct record *r, enum source_state state, const char *decision, cJSON *source, cJSON *destination, struct error *err)
{
	cleanup_json cJSON *patch = NULL;
	cJSON *status;

	patch = new_patch(r, &status);
	stamp(source, state);
	/* A merge patch takes nothing away that it does not name. */
	if (!json_at(source, "error"))
		cJSON_AddNullToObject(source, "error");
	if (decision)
		cJSON_AddStringToObject(status, "decision", decision);
	cJSON_AddItemToObject(status, "source", source);
	if (destination)
		cJSON_AddItemToObject(status, "destination", destination);
	wait_idle(r);
	keep_first_error(r, source);
	return find_gone(r, kube_merge_patch(r->client, r->status_path, PM_MANAGER_AGENT, patch, NULL, err), err);
}

int record_report(struct record *r, enum source_state state, cJSON *source, cJSON *destination, struct error *err)
{
	return report(r, state, NULL, source, destination, err);
}

int record_give_up(struct record *r, cJSON *source, cJSON *destination, struct error *err)
{
	return report(r, SOURCE_Aborted, "Abort", source, destination, err);
}

static enum input decision_of(const cJSON *o)
{
	const char *d = json_str_or(o, "status/decision", "");

	return !strcmp(d, "Commit") ? INPUT_RecordCommit : !strcmp(d, "Abort") ? INPUT_RecordAbort : INPUT_RecordUnknown;
}

/* --- what others decide --- */

static void on_upsert(void *ctx, const cJSON *object)
{
	struct record *r = ctx;

	if (strcmp(json_str_or(object, "metadata/uid", ""), r->uid) || decision_of(object) != INPUT_RecordAbort || atomic_exchange(&r->aborted, true))
		return;
	r->on_abort(r->on_abort_ctx);
}

static void on_delete(void *ctx, const cJSON *object)
{
	(void)ctx;
	(void)object;
}

int record_watch(struct record *r, void (*on_abort)(void *ctx), void *ctx, struct error *err)
{
	static const struct json_want meta[] = { WANT("namespace"), WANT("name"), WANT("uid"), WANT("resourceVersion"), WANT_END }, status[] = { WANT("decision"), WANT_END };
	static const struct json_want want[] = { WANT_OF("metadata", meta), WANT_OF("status", status), WANT_END };
	char path[1024], selector[300];
	struct kube_watch_spec spec = { .path = path, .field_selector = selector, .want = want, .name = "podmigration", .on_upsert = on_upsert, .on_delete = on_delete, .ctx = r };
	int rc = kube_path(path, sizeof(path), PM_GROUP "/" PM_VERSION, r->ns, "podmigrations", NULL, NULL);

	if (rc < 0 || r->watch)
		return rc;
	snprintf(selector, sizeof(selector), "metadata.name=%s", r->name);
	r->on_abort = on_abort;
	r->on_abort_ctx = ctx;
	return kube_watch_start(r->config, &spec, &r->watch, err);
}

void record_unwatch(struct record *r)
{
	if (r->watch)
		kube_watch_stop(take_ptr(r->watch));
}

bool record_is_aborted(const struct record *r)
{
	return atomic_load(&r->aborted);
}

void record_warm(struct record *r)
{
	struct error ignored = { 0 };

	if (r->warm_us && clock_mono_us() - r->warm_us < WARM_US)
		return;
	r->warm_us = clock_mono_us();
	record_get(r, NULL, &ignored);
}

/* --- the decision --- */

static void pause_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* Of a request that was sent once: it certainly changed nothing.  A lost answer may hide a success, and so may 5xx (a timeout of etcd). */
static bool not_applied(int rc)
{
	static const int sure[] = { -ECONNREFUSED, -ENOENT, -EAGAIN, -EINVAL, -EACCES, -EBUSY };

	for (size_t i = 0; i < sizeof(sure) / sizeof(sure[0]); i++)
		if (rc == sure[i])
			return true;
	return false;
}

static int patch_once(struct record *r, const cJSON *patch, cJSON **ret, struct error *err)
{
	int rc;

	kube_set_once(r->client, true);
	rc = kube_merge_patch(r->client, r->status_path, PM_MANAGER_AGENT, patch, ret, err);
	kube_set_once(r->client, false);
	return rc;
}

void record_add_restored(cJSON *destination, const char *name, const char *id)
{
	cJSON *list = cJSON_GetObjectItemCaseSensitive(destination, "containers"), *e;

	if (!id || !id[0] || strlen(id) > RESTORED_ID_MAX || strspn(id, ID_LETTERS) != strlen(id) || strlen(name) > RESTORED_NAME_MAX)
		return;
	if (!list)
		list = cJSON_AddArrayToObject(destination, "containers");
	e = cJSON_CreateObject();
	cJSON_AddStringToObject(e, "name", name);
	cJSON_AddStringToObject(e, "id", id);
	cJSON_AddItemToArray(list, e);
}

/* A dry run is never committed: the API server refuses it (crds/), and what is read of the object then tells why. */
static cJSON *decision_patch(const struct record *r, bool commit, const cJSON *destination)
{
	cJSON *status, *patch = new_patch(r, &status);

	cJSON_AddStringToObject(status, "decision", commit && !r->dry_run ? "Commit" : "Abort");
	if (destination && !r->dry_run)
		cJSON_AddItemToObject(status, "destination", cJSON_Duplicate(destination, 1));
	return patch;
}

enum input record_decide(struct record *r, bool commit, const cJSON *destination, int64_t deadline_us, struct error *err)
{
	bool refused = true;

	for (;;) {
		cleanup_json cJSON *patch = decision_patch(r, commit, destination), *answer = NULL, *o = NULL;
		int rc = patch_once(r, patch, &answer, err);
		enum input in = decision_of(answer);

		refused = refused && not_applied(rc);
		if (rc == 0 && in != INPUT_RecordUnknown)
			return in;
		rc = record_get(r, &o, err);
		in = decision_of(o);
		if (rc == -ENOENT)
			return INPUT_RecordGone;
		if (rc == 0 && in != INPUT_RecordUnknown)
			return in;
		if (clock_mono_us() >= deadline_us)
			return refused ? INPUT_RecordRefused : INPUT_RecordUnknown;
		pause_ms(50);
	}
}

int record_key(struct record *r, uint8_t key[PM_KEY_SIZE], struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(256);
	cleanup_json cJSON *o = NULL;
	const char *text;
	char path[1024];
	int rc;

	if (kube_path(path, sizeof(path), "v1", PM_AGENT_NAMESPACE, "secrets", r->uid, NULL) < 0)
		return error_set(err, -EINVAL, "not a migration's UID");
	rc = kube_get(r->client, path, &o, err);
	if (rc < 0)
		return error_wrap(err, rc, "key of the migration");
	text = json_str_or(o, "data/key", "");
	if (base64_decode(text, strlen(text), &b) < 0 || b.len != PM_KEY_SIZE)
		return error_reason(err, -EINVAL, REASON_AuthenticationFailed, "the Secret with the migration's key is damaged");
	memcpy(key, b.data, PM_KEY_SIZE);
	explicit_bzero(b.data, b.len);
	return 0;
}
