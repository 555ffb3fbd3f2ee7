/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/event.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#define QUEUE_MAX 1000
#define NOTE_MAX 1024

/* One queued Event: its object and the namespace it goes to. */
struct item {
	struct item *next;
	cJSON *object;
	char ns[254];
};

struct kube_events {
	struct kube_client *client;
	char controller[128], instance[192];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct item *first, **last;
	int n;
	bool stop;
	uint64_t serial;
};

static void send(struct kube_events *e, struct item *i)
{
	struct error err = { 0 };
	char path[512];

	if (kube_path(path, sizeof(path), "events.k8s.io/v1", i->ns, "events", NULL, NULL) == 0 &&
	    kube_create(e->client, path, i->object, NULL, &err) < 0)
		log_warning("an Event could not be written", LOG_S("err", err.message));
	cJSON_Delete(i->object);
	free(i);
}

static void *events_main(void *arg)
{
	struct kube_events *e = arg;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		struct item *i = e->first;

		if (!i) {
			if (e->stop)
				break;
			pthread_cond_wait(&e->changed, &e->lock);
			continue;
		}
		e->first = i->next;
		if (!e->first)
			e->last = &e->first;
		e->n--;
		pthread_mutex_unlock(&e->lock);
		send(e, i);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

int kube_events_new(struct kube_config *config, const char *controller, const char *instance, struct kube_events **ret, struct error *err)
{
	struct kube_events *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return error_set(err, -ENOMEM, "out of memory");
	snprintf(e->controller, sizeof(e->controller), "%s", controller);
	snprintf(e->instance, sizeof(e->instance), "%s", instance);
	e->last = &e->first;
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->changed, NULL);
	r = kube_client_new(config, controller, &e->client, err);
	if (r == 0) {
		kube_set_timeout(e->client, 2000);
		r = -pthread_create(&e->thread, NULL, events_main, e);
	}
	if (r < 0) {
		kube_client_free(e->client);
		free(e);
		return error_set(err, r, "cannot start the Event thread");
	}
	*ret = e;
	return 0;
}

void kube_events_free(struct kube_events *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->stop = true;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	kube_client_free(e->client);
	free(e);
}

static cJSON *reference(const struct kube_object_ref *r)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddStringToObject(o, "apiVersion", r->api_version);
	cJSON_AddStringToObject(o, "kind", r->kind);
	cJSON_AddStringToObject(o, "namespace", r->ns);
	cJSON_AddStringToObject(o, "name", r->name);
	if (r->uid)
		cJSON_AddStringToObject(o, "uid", r->uid);
	return o;
}

static cJSON *event_object(struct kube_events *e, const struct kube_object_ref *regarding, const struct kube_object_ref *related,
			   const char *type, const char *reason, const char *action, const char *note)
{
	cJSON *o = cJSON_CreateObject(), *meta;
	char name[320], now[CLOCK_RFC3339_SIZE], text[NOTE_MAX + 1];

	clock_rfc3339(clock_real_us(), 0, now);
	snprintf(text, sizeof(text), "%s", note);
	/* As client-go names them: the object's name and a number that does not come twice. */
	snprintf(name, sizeof(name), "%.200s.%llx", regarding->name, (unsigned long long)(clock_real_us() + (int64_t)e->serial));
	cJSON_AddStringToObject(o, "apiVersion", "events.k8s.io/v1");
	cJSON_AddStringToObject(o, "kind", "Event");
	meta = cJSON_AddObjectToObject(o, "metadata");
	cJSON_AddStringToObject(meta, "name", name);
	cJSON_AddStringToObject(meta, "namespace", regarding->ns);
	cJSON_AddStringToObject(o, "eventTime", now);
	cJSON_AddStringToObject(o, "reportingController", e->controller);
	cJSON_AddStringToObject(o, "reportingInstance", e->instance);
	cJSON_AddStringToObject(o, "type", type);
	cJSON_AddStringToObject(o, "reason", reason);
	cJSON_AddStringToObject(o, "action", action);
	cJSON_AddStringToObject(o, "note", text);
	cJSON_AddItemToObject(o, "regarding", reference(regarding));
	if (related)
		cJSON_AddItemToObject(o, "related", reference(related));
	return o;
}

void kube_event(struct kube_events *e, const struct kube_object_ref *regarding, const struct kube_object_ref *related, const char *type,
		const char *reason, const char *action, const char *note)
{
	struct item *i = calloc(1, sizeof(*i));

	if (!i)
		return;
	pthread_mutex_lock(&e->lock);
	e->serial++;
	if (e->n >= QUEUE_MAX) {
		free(i);
	} else {
		snprintf(i->ns, sizeof(i->ns), "%s", regarding->ns);
		i->object = event_object(e, regarding, related, type, reason, action, note);
		*e->last = i;
		e->last = &i->next;
		e->n++;
		pthread_cond_signal(&e->changed);
	}
	pthread_mutex_unlock(&e->lock);
}
