/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kube/client.h"
#include "lease_record.h"

#define LEASE_SECONDS 15
#define RENEW_SECONDS 10
#define RETRY_MS 2000
/* client-go's JitterFactor: standbys do not all ask at once. */
#define JITTER_PERCENT 120
/* How long a leader may go unnoticed by the process it should have ended. */
#define HEALTH_TOLERANCE_US 5000000
#define RELEASE_TRIES 3

enum outcome { OURS, NOT_OURS, UNKNOWN };

struct kube_lease {
	struct kube_client *client;
	struct kube_lease_spec spec;
	char ns[254], name[254], identity[254];
	char list_path[1024], path[1024];
	pthread_t thread;
	pthread_mutex_t lock;           /* of stop */
	pthread_cond_t wake;
	bool stop;
	atomic_bool leading;
	_Atomic int64_t renewed_us;     /* when the request of our last success was begun */

	/* The thread's. */
	struct lease_view view;
	cJSON *record;                  /* as we wrote it last; the next renewal starts from it */
};

static void keep(struct kube_lease *l, cJSON *record)
{
	cJSON_Delete(l->record);
	l->record = record;
}

/* The answer to our write, or the record read anew. */
static void see(struct kube_lease *l, cJSON *record)
{
	lease_see(&l->view, record, clock_mono_us());
	keep(l, record);
}

/*
 * Time that a request may take: half the renew deadline, and never beyond it, or we would act as leader on an answer that came
 * too late.
 */
static int64_t request_ms(const struct kube_lease *l)
{
	int64_t most = (int64_t)l->spec.renew_seconds * 500, left;

	if (!l->leading)
		return most;
	left = (l->renewed_us + (int64_t)l->spec.renew_seconds * 1000000 - clock_mono_us()) / 1000;
	return left < 100 ? 100 : left < most ? left : most;
}

static bool overdue(const struct kube_lease *l)
{
	return l->leading && clock_mono_us() - l->renewed_us > (int64_t)l->spec.renew_seconds * 1000000;
}

/* Writes; a conflict means that we looked at an old record. */
static int put(struct kube_lease *l, enum lease_write what, struct error *err)
{
	cleanup_json cJSON *want = lease_object(&l->view, l->record, what, l->ns, l->name, l->identity, l->spec.lease_seconds, clock_real_us());
	int64_t began_us = clock_mono_us();
	cJSON *got = NULL;
	int r;

	if (!want)
		return error_set(err, -ENOMEM, "out of memory");
	kube_set_timeout(l->client, request_ms(l));
	r = l->record ? kube_replace(l->client, l->path, want, &got, err) : kube_create(l->client, l->list_path, want, &got, err);
	if (r < 0) {
		/* Done or not: what we hold is no longer what is there. */
		keep(l, NULL);
		return r;
	}
	see(l, got);
	if (what != LEASE_RELEASE)
		l->renewed_us = began_us;
	return 0;
}

static int read_record(struct kube_lease *l, struct error *err)
{
	cJSON *got = NULL;
	int r;

	kube_set_timeout(l->client, request_ms(l));
	r = kube_get(l->client, l->path, &got, err);
	if (r == 0)
		see(l, got);
	else
		keep(l, NULL);
	return r;
}

static bool is_mine(const struct kube_lease *l)
{
	return !strcmp(l->view.holder, l->identity);
}

static enum outcome renew(struct kube_lease *l, struct error *err)
{
	int r = l->record ? put(l, LEASE_RENEW, err) : -EAGAIN;

	if (r == 0)
		return OURS;
	if (r != -EAGAIN)
		return UNKNOWN;
	r = read_record(l, err);
	/* Deleted by a person: made again, with its count of transitions going on. */
	if (r < 0 && r != -ENOENT)
		return UNKNOWN;
	if (r == 0 && !is_mine(l))
		return NOT_OURS;
	r = put(l, LEASE_RENEW, err);
	return r == 0 ? OURS : UNKNOWN;
}

static enum outcome acquire(struct kube_lease *l, struct error *err)
{
	int r = read_record(l, err);

	if (r < 0 && r != -ENOENT)
		return UNKNOWN;
	/* Ours by name, but from an earlier life of this identity: taken anew, so that the epoch moves on. */
	if (r == 0 && !is_mine(l) && !lease_is_free(&l->view, clock_mono_us()))
		return NOT_OURS;
	r = put(l, LEASE_TAKE, err);
	if (r == -EAGAIN || r == -EEXIST)
		return NOT_OURS;
	return r == 0 ? OURS : UNKNOWN;
}

/* True when asked to stop. */
static bool wait_ms(struct kube_lease *l, int64_t ms)
{
	int64_t until = clock_mono_us() + ms * 1000;
	struct timespec t = { until / 1000000, until % 1000000 * 1000 };
	bool stop;

	pthread_mutex_lock(&l->lock);
	while (!l->stop && clock_mono_us() < until)
		pthread_cond_timedwait(&l->wake, &l->lock, &t);
	stop = l->stop;
	pthread_mutex_unlock(&l->lock);
	return stop;
}

static int64_t period_ms(const struct kube_lease *l)
{
	uint32_t v = 0;

	if (l->leading || getrandom(&v, sizeof(v), 0) != sizeof(v))
		return l->spec.retry_ms;
	return l->spec.retry_ms + (int64_t)l->spec.retry_ms * (v % JITTER_PERCENT) / 100;
}

static void lead(struct kube_lease *l)
{
	int64_t epoch = l->view.transitions + 1;

	l->leading = true;
	log_info("became leader", LOG_S("lease", l->name), LOG_S("identity", l->identity), LOG_N("epoch", epoch));
	l->spec.on_leading(l->spec.ctx, epoch);
}

static void lose(struct kube_lease *l, const char *why)
{
	l->leading = false;
	log_error("leadership lost", LOG_S("lease", l->name), LOG_S("why", why));
	l->spec.on_lost(l->spec.ctx);
}

static void *lease_main(void *arg)
{
	struct kube_lease *l = arg;

	do {
		struct error err = { 0 };
		enum outcome o;

		/*
		 * A process that was stopped for a while must notice before it asks: the answer would not bring back what
		 * others did meanwhile.
		 */
		if (overdue(l)) {
			lose(l, "not renewed in time");
			return NULL;
		}
		o = l->leading ? renew(l, &err) : acquire(l, &err);
		if (o == UNKNOWN)
			log_warning("the lease cannot be read or written", LOG_S("lease", l->name), LOG_S("err", err.message));
		if (o == OURS && !l->leading)
			lead(l);
		if (o == NOT_OURS && l->leading) {
			lose(l, l->view.holder[0] ? "another one holds it" : "it was released");
			return NULL;
		}
	} while (!wait_ms(l, period_ms(l)));
	return NULL;
}

static int check_spec(struct kube_lease *l, const struct kube_lease_spec *spec, struct error *err)
{
	l->spec = *spec;
	if (!l->spec.lease_seconds)
		l->spec.lease_seconds = LEASE_SECONDS;
	if (!l->spec.renew_seconds)
		l->spec.renew_seconds = RENEW_SECONDS;
	if (!l->spec.retry_ms)
		l->spec.retry_ms = RETRY_MS;
	/* client-go's conditions: a leader must stop before others may start, and try more than once before it stops. */
	if (l->spec.lease_seconds <= l->spec.renew_seconds || (int64_t)l->spec.renew_seconds * 100000 <= (int64_t)l->spec.retry_ms * JITTER_PERCENT)
		return error_set(err, -EINVAL, "lease: the lease must be longer than the renew deadline, and that than 1.2 retries");
	if (!spec->identity || !*spec->identity || strlen(spec->identity) >= sizeof(l->identity))
		return error_set(err, -EINVAL, "lease: identity must have 1 to %zu bytes", sizeof(l->identity) - 1);
	snprintf(l->identity, sizeof(l->identity), "%s", spec->identity);
	if (kube_path(l->path, sizeof(l->path), "coordination.k8s.io/v1", spec->ns, "leases", spec->name, NULL) < 0 ||
	    kube_path(l->list_path, sizeof(l->list_path), "coordination.k8s.io/v1", spec->ns, "leases", NULL, NULL) < 0)
		return error_set(err, -EINVAL, "lease: bad name %.100s/%.100s", spec->ns, spec->name);
	snprintf(l->ns, sizeof(l->ns), "%s", spec->ns);
	snprintf(l->name, sizeof(l->name), "%s", spec->name);
	return 0;
}

static void lease_free(struct kube_lease *l)
{
	kube_client_free(l->client);
	cJSON_Delete(l->record);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int kube_lease_start(struct kube_config *config, const struct kube_lease_spec *spec, struct kube_lease **ret, struct error *err)
{
	struct kube_lease *l = calloc(1, sizeof(*l));
	pthread_condattr_t mono;
	int r;

	if (!l)
		return error_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&l->wake, &mono);
	pthread_condattr_destroy(&mono);
	r = check_spec(l, spec, err);
	/* A connection of its own: a long list must not cost the lease. */
	if (r == 0)
		r = kube_client_new(config, "podmigration-lease", &l->client, err);
	if (r == 0) {
		r = -pthread_create(&l->thread, NULL, lease_main, l);
		if (r < 0)
			error_set(err, r, "lease: no thread");
	}
	if (r < 0) {
		lease_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

static void release_record(struct kube_lease *l)
{
	struct error err = { 0 };

	for (int i = 0; i < RELEASE_TRIES; i++) {
		int r = l->record ? 0 : read_record(l, &err);

		if (r < 0 || !is_mine(l))
			return;
		r = put(l, LEASE_RELEASE, &err);
		if (r == 0)
			return;
		if (r != -EAGAIN)
			break;
	}
	/* It runs out by itself. */
	log_warning("the lease could not be released", LOG_S("lease", l->name), LOG_S("err", err.message));
}

void kube_lease_stop(struct kube_lease *l, bool release)
{
	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	if (release && l->leading)
		release_record(l);
	lease_free(l);
}

bool kube_lease_healthy(const struct kube_lease *l)
{
	return !l->leading || clock_mono_us() - l->renewed_us < (int64_t)l->spec.lease_seconds * 1000000 + HEALTH_TOLERANCE_US;
}
