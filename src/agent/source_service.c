/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kube/client.h"
#include "migration/names.h"
#include "migration/ready.h"

#define USER_AGENT "podmigration-agent"
#define REQUEST_MS 2000
/* What the kubelet has written meanwhile stands so long at most.  A patch that changes nothing is not written, and tells no watch. */
#define AGAIN_US 50000
#define AGAIN_LATER_US 250000
#define AGAIN_LAST_US 1000000
#define LATER_US 5000000        /* since it left */
#define LAST_US 60000000
#define TRIES 5                 /* against somebody else's writes */
/* The EndpointSlice controller needs some milliseconds for a change of a pod; before it comes to that Liqo needs 60 to 100 (docs/architecture.md, "Services"). */
#define SETTLE_HOME_US 30000
#define SETTLE_REMOTE_US 150000
#define SETTLE_TIMEOUT_US 400000

enum wanted { IN, OUT };

struct source_service {
	struct kube_config *config;
	struct kube_client *client;     /* of the thread */
	const char *kubeconfig;
	char path[1024], uid[64], name[254];
	char since[CLOCK_RFC3339_SIZE]; /* the same each time, so that a repetition changes nothing */
	bool warned;                    /* of the thread */

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum wanted wanted;
	uint64_t asked, tried;          /* how often somebody said what is wanted; up to which of them the API server was told, or could not be */
	int64_t asked_us, taken_us;     /* clock_mono_us: when that was said first; it took it, 0: it did not */
	bool stop;
};

static cJSON *pod_patch(const struct source_service *v, const char *version, cJSON **ret_ready)
{
	cJSON *p = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(p, "metadata"), *c;

	cJSON_AddStringToObject(meta, "uid", v->uid);
	if (version)
		cJSON_AddStringToObject(meta, "resourceVersion", version);
	if (!ret_ready)
		return p;
	c = cJSON_CreateObject();
	cJSON_AddStringToObject(c, "type", "Ready");
	cJSON_AddItemToArray(cJSON_AddArrayToObject(cJSON_AddObjectToObject(p, "status"), "conditions"), c);
	*ret_ready = c;
	return p;
}

static int take_out(struct source_service *v, struct error *err)
{
	cJSON *ready, *p = pod_patch(v, NULL, &ready);
	int r;

	cJSON_AddStringToObject(ready, "status", "False");
	cJSON_AddStringToObject(ready, "reason", PM_READY_MIGRATING);
	cJSON_AddStringToObject(ready, "message", "podmigration moves this pod, which stands still");
	cJSON_AddStringToObject(ready, "lastTransitionTime", v->since);
	r = kube_strategic_patch(v->client, v->path, PM_MANAGER_AGENT, p, NULL, err);
	cJSON_Delete(p);
	return r;
}

static int put_back_once(struct source_service *v, struct error *err)
{
	cleanup_json cJSON *nothing = pod_patch(v, NULL, NULL), *pod = NULL, *p = NULL;
	char now[CLOCK_RFC3339_SIZE];
	bool is_ready;
	cJSON *ready;
	/* There is no right to read pods; the answer to a patch that changes nothing tells as much. */
	int r = kube_strategic_patch(v->client, v->path, PM_MANAGER_AGENT, nothing, &pod, err);

	if (r < 0 || !pod_is_taken_out(pod))
		return r;
	is_ready = pod_would_be_ready(pod);
	p = pod_patch(v, json_str_or(pod, "metadata/resourceVersion", ""), &ready);
	clock_rfc3339(clock_real_us(), 1, now);
	cJSON_AddStringToObject(ready, "status", is_ready ? "True" : "False");
	if (is_ready)
		cJSON_AddNullToObject(ready, "reason");
	else
		cJSON_AddStringToObject(ready, "reason", "ContainersNotReady");
	cJSON_AddNullToObject(ready, "message");
	cJSON_AddStringToObject(ready, "lastTransitionTime", now);
	return kube_strategic_patch(v->client, v->path, PM_MANAGER_AGENT, p, NULL, err);
}

static int put_back(struct source_service *v, struct error *err)
{
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < TRIES; i++)
		r = put_back_once(v, err);
	return r;
}

static int connect_once(struct source_service *v, struct error *err)
{
	int r = v->config ? 0 : kube_config_load(v->kubeconfig, NULL, &v->config, err);

	if (r == 0 && !v->client) {
		r = kube_client_new(v->config, USER_AGENT, &v->client, err);
		if (r == 0)
			kube_set_timeout(v->client, REQUEST_MS);
	}
	return r;
}

/* A pod that is gone needs nothing any more. */
static int tell(struct source_service *v, enum wanted wanted)
{
	struct error err = { 0 };
	int r = connect_once(v, &err);

	if (r == 0) {
		r = wanted == OUT ? take_out(v, &err) : put_back(v, &err);
		if (r == -ENOENT)
			return 0;
	}
	if (r < 0 && !v->warned)
		log_warning(wanted == OUT ? "the pod could not be taken out of its Services, which may send to it while it stands still" :
			    "the pod could not be put back into its Services; its kubelet does it, in 10 s at most", LOG_S("pod", v->name), LOG_S("err", err.message));
	v->warned = r < 0;
	return r;
}

/* With the lock held. */
static int64_t again_us(const struct source_service *v)
{
	int64_t age = clock_mono_us() - v->asked_us;

	return age < LATER_US ? AGAIN_US : age < LAST_US ? AGAIN_LATER_US : AGAIN_LAST_US;
}

/* With the lock held: until something else is wanted, or it is time to say it again. */
static void rest(struct source_service *v, bool again)
{
	int64_t at = clock_mono_us() + (again ? again_us(v) : 0);
	struct timespec until = { at / 1000000, at % 1000000 * 1000 };
	int rc = 0;

	while (rc == 0 && !v->stop && v->asked == v->tried)
		rc = again ? pthread_cond_timedwait(&v->changed, &v->lock, &until) : pthread_cond_wait(&v->changed, &v->lock);
}

static void *service_main(void *arg)
{
	struct source_service *v = arg;
	int r = 0;

	pthread_mutex_lock(&v->lock);
	for (;;) {
		enum wanted wanted;
		uint64_t asked;

		if (v->asked == v->tried)
			rest(v, v->asked && (v->wanted == OUT || r < 0));
		/* What was said last is tried once. */
		if (v->stop && v->asked == v->tried)
			break;
		if (!v->asked)
			continue;
		wanted = v->wanted;
		asked = v->asked;
		pthread_mutex_unlock(&v->lock);
		r = tell(v, wanted);
		pthread_mutex_lock(&v->lock);
		if (v->tried < asked || r < 0 || !v->taken_us)
			v->taken_us = r < 0 ? 0 : clock_mono_us();
		v->tried = asked;
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

struct source_service *source_service_new(const struct agent_options *o, const char *pod_ns, const char *pod_name, const char *pod_uid)
{
	struct source_service *v = calloc(1, sizeof(*v));
	pthread_condattr_t clock;

	if (!v)
		return NULL;
	v->kubeconfig = o->kubeconfig;
	snprintf(v->uid, sizeof(v->uid), "%s", pod_uid);
	snprintf(v->name, sizeof(v->name), "%s", pod_name);
	clock_rfc3339(clock_real_us(), 1, v->since);
	pthread_mutex_init(&v->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&v->changed, &clock);
	pthread_condattr_destroy(&clock);
	if (kube_path(v->path, sizeof(v->path), "v1", pod_ns, "pods", pod_name, "status") == 0 && pthread_create(&v->thread, NULL, service_main, v) == 0)
		return v;
	log_warning("Services may send to the pod while it stands still", LOG_S("pod", pod_name));
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
	return NULL;
}

static void want(struct source_service *v, enum wanted wanted)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	if (v->wanted != wanted || !v->asked) {
		v->wanted = wanted;
		v->asked++;
		v->asked_us = clock_mono_us();
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
}

void source_service_leave(struct source_service *v)
{
	want(v, OUT);
}

void source_service_return(struct source_service *v)
{
	want(v, IN);
}

bool source_service_wait(struct source_service *v, int64_t settle_us, int64_t timeout_us)
{
	bool told, settled = false;

	if (!v)
		return false;
	pthread_mutex_lock(&v->lock);
	for (;;) {
		int64_t end = v->asked_us + timeout_us, at = end, now = clock_mono_us();
		struct timespec until;

		told = v->tried == v->asked;
		if (told && v->taken_us && v->taken_us + settle_us < end)
			at = v->taken_us + settle_us;
		settled = told && v->taken_us && now >= v->taken_us + settle_us;
		if (settled || now >= at || (told && !v->taken_us))
			break;
		until = (struct timespec){ at / 1000000, at % 1000000 * 1000 };
		pthread_cond_timedwait(&v->changed, &v->lock, &until);
	}
	pthread_mutex_unlock(&v->lock);
	return settled;
}

void source_service_free(struct source_service *v)
{
	if (!v)
		return;
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	kube_client_free(v->client);
	kube_config_free(v->config);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

/* --- of a migration --- */

static void want_service(struct source *s)
{
	if (!s->service && s->journal.pod_ns[0])
		s->service = source_service_new(s->o, s->journal.pod_ns, s->journal.pod_name, s->journal.pod_uid);
}

void source_leave_services(struct source *s)
{
	want_service(s);
	source_service_leave(s->service);
}

void source_await_services(struct source *s)
{
	source_service_wait(s->service, s->journal.remote ? SETTLE_REMOTE_US : SETTLE_HOME_US, SETTLE_TIMEOUT_US);
}

/* Of a worker that crashed nobody knows whether it had taken the pod out. */
void source_return_to_services(struct source *s)
{
	if (s->resumed)
		want_service(s);
	source_service_return(s->service);
}
