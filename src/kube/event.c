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
#include "event_series.h"

#define QUEUE_MAX 1000
#define SEND_MS 2000
#define FLUSH_US 2000000
/* client-go: 12 tries, 10 s apart. */
#define TRIES_MAX 12
#define RETRY_US 10000000

/* One Event to be created. */
struct item {
	struct item *next;
	cJSON *object;
	char ns[64];
};

struct kube_events {
	struct kube_client *client;     /* the thread's */
	char controller[128], instance[129];
	pthread_t thread;
	pthread_mutex_t lock;           /* of all below */
	pthread_cond_t changed;
	struct item *first, **last;
	int queued, dropped;
	int unsent;                     /* at the end, for want of time */
	bool stop;
	int64_t stop_by_us;
	uint64_t serial;
	struct series_table series;
};

/* --- the thread --- */

/* Waits for a change or until at_us. */
static void wait_until(struct kube_events *e, int64_t at_us)
{
	struct timespec t = { at_us / 1000000, at_us % 1000000 * 1000 };

	if (at_us == INT64_MAX)
		pthread_cond_wait(&e->changed, &e->lock);
	else
		pthread_cond_timedwait(&e->changed, &e->lock, &t);
}

/* After a failure; false when there is no time for another try. */
static bool wait_retry(struct kube_events *e)
{
	int64_t until = clock_mono_us() + RETRY_US;

	pthread_mutex_lock(&e->lock);
	while (!e->stop && clock_mono_us() < until)
		wait_until(e, until);
	until = e->stop ? 0 : 1;
	pthread_mutex_unlock(&e->lock);
	return until;
}

/* Time left for one request; 0: none. */
static int64_t send_ms(struct kube_events *e)
{
	int64_t left = SEND_MS;

	pthread_mutex_lock(&e->lock);
	if (e->stop)
		left = (e->stop_by_us - clock_mono_us()) / 1000;
	pthread_mutex_unlock(&e->lock);
	return left <= 0 ? 0 : left < SEND_MS ? left : SEND_MS;
}

static bool transient(int code)
{
	return code == -EIO || code == -EBUSY || code == -ETIMEDOUT || code == -ECONNREFUSED;
}

/* POST to the collection when name is NULL, else a merge patch.  What fails for good is said once and forgotten. */
static void deliver(struct kube_events *e, const char *ns, const char *name, const cJSON *object)
{
	struct error err = { 0 };
	char path[512];
	int r = kube_path(path, sizeof(path), "events.k8s.io/v1", ns, "events", name, NULL);

	if (r < 0)
		error_set(&err, r, "bad name %.100s/%.100s", ns, name ? name : "");
	for (int i = 0; r == 0 && i < TRIES_MAX; i++) {
		int64_t ms = send_ms(e);

		if (ms == 0) {
			e->unsent++;
			return;
		}
		kube_set_timeout(e->client, ms);
		r = name ? kube_merge_patch(e->client, path, NULL, object, NULL, &err) : kube_create(e->client, path, object, NULL, &err);
		/* There already: the answer to an earlier try was lost.  A patched one that is gone has lived its hour. */
		if (r == 0 || r == -EEXIST || (name && r == -ENOENT))
			return;
		if (!transient(r) || !wait_retry(e))
			break;
		r = 0;
	}
	log_warning("an Event could not be written", LOG_S("namespace", ns), LOG_S("err", err.message));
}

static void send_first(struct kube_events *e)
{
	struct item *i = e->first;

	e->first = i->next;
	if (!e->first)
		e->last = &e->first;
	e->queued--;
	pthread_mutex_unlock(&e->lock);
	deliver(e, i->ns, NULL, i->object);
	cJSON_Delete(i->object);
	free(i);
	pthread_mutex_lock(&e->lock);
}

static void send_series(struct kube_events *e, struct series *s)
{
	cleanup_json cJSON *patch = series_patch(s);
	struct series copy = *s;

	s->written = s->count;
	s->written_us = clock_mono_us();
	pthread_mutex_unlock(&e->lock);
	deliver(e, copy.ns, copy.name, patch);
	pthread_mutex_lock(&e->lock);
}

static void *events_main(void *arg)
{
	struct kube_events *e = arg;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		struct series *s;
		int64_t at;

		/* New Events before counts: a patch needs its Event. */
		if (e->first) {
			send_first(e);
			continue;
		}
		s = series_due(&e->series, e->stop, clock_mono_us(), &at);
		if (s)
			send_series(e, s);
		else if (e->stop)
			break;
		else
			wait_until(e, at);
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

/* --- for the caller --- */

static void events_free(struct kube_events *e)
{
	kube_client_free(e->client);
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

int kube_events_new(struct kube_config *config, const char *controller, const char *instance, struct kube_events **ret, struct error *err)
{
	struct kube_events *e = calloc(1, sizeof(*e));
	pthread_condattr_t mono;
	int r;

	if (!e)
		return error_set(err, -ENOMEM, "out of memory");
	/* reportingInstance may have 128 bytes. */
	snprintf(e->controller, sizeof(e->controller), "%s", controller);
	snprintf(e->instance, sizeof(e->instance), "%s", instance);
	e->last = &e->first;
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&e->changed, &mono);
	pthread_condattr_destroy(&mono);
	r = kube_client_new(config, "podmigration-events", &e->client, err);
	if (r == 0) {
		r = -pthread_create(&e->thread, NULL, events_main, e);
		if (r < 0)
			error_set(err, r, "Events: no thread");
	}
	if (r < 0) {
		events_free(e);
		return r;
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
	e->stop_by_us = clock_mono_us() + FLUSH_US;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->thread, NULL);
	if (e->unsent)
		log_warning("Events were not written before the end", LOG_N("events", e->unsent));
	events_free(e);
}

static void enqueue(struct kube_events *e, const char *ns, cJSON *object)
{
	struct item *i = e->queued < QUEUE_MAX ? calloc(1, sizeof(*i)) : NULL;

	if (!i) {
		cJSON_Delete(object);
		if (e->dropped++ == 0)
			log_warning("too many Events at once, dropping some", LOG_N("queued", e->queued));
		return;
	}
	e->dropped = 0;
	i->object = object;
	snprintf(i->ns, sizeof(i->ns), "%s", ns);
	*e->last = i;
	e->last = &i->next;
	e->queued++;
}

void kube_event(struct kube_events *e, const struct kube_object_ref *regarding, const struct kube_object_ref *related, const char *type,
		const char *reason, const char *action, const char *note)
{
	const struct event_text text = { regarding, related, type, reason, action, note };
	struct event_source src;
	const char *ns = NULL;
	cJSON *object;

	pthread_mutex_lock(&e->lock);
	src = (struct event_source){ e->controller, e->instance };
	object = series_note(&e->series, &src, &text, ++e->serial, clock_mono_us(), clock_real_us(), &ns);
	if (object)
		enqueue(e, ns, object);
	pthread_cond_signal(&e->changed);
	pthread_mutex_unlock(&e->lock);
}
