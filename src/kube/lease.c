/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/lease.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "kube/client.h"

struct kube_lease {
	struct kube_client *client;
	struct kube_lease_spec spec;
	char ns[254], name[254], identity[254];
	char list_path[1024], path[1024];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop, release;
	atomic_bool leading;
	_Atomic int64_t renewed_us;     /* our own last success */
	/* What we saw last, and when (our clock): the times written in the record are never compared with ours. */
	char seen_rv[64];
	int64_t seen_us;
};

static cJSON *lease_object(const struct kube_lease *l, const cJSON *old, bool take_over, bool release)
{
	cJSON *o = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(o, "metadata"), *spec;
	const char *acquired = json_str(old, "spec/acquireTime"), *rv = json_str(old, "metadata/resourceVersion");
	char now[CLOCK_RFC3339_SIZE];
	int64_t transitions = 0;

	json_int(old, "spec/leaseTransitions", 0, INT32_MAX, &transitions);
	clock_rfc3339(clock_real_us(), 0, now);
	cJSON_AddStringToObject(o, "apiVersion", "coordination.k8s.io/v1");
	cJSON_AddStringToObject(o, "kind", "Lease");
	cJSON_AddStringToObject(meta, "name", l->name);
	cJSON_AddStringToObject(meta, "namespace", l->ns);
	if (rv)
		cJSON_AddStringToObject(meta, "resourceVersion", rv);
	spec = cJSON_AddObjectToObject(o, "spec");
	cJSON_AddStringToObject(spec, "holderIdentity", release ? "" : l->identity);
	cJSON_AddNumberToObject(spec, "leaseDurationSeconds", release ? 1 : l->spec.lease_seconds);
	cJSON_AddStringToObject(spec, "acquireTime", !take_over && acquired ? acquired : now);
	cJSON_AddStringToObject(spec, "renewTime", now);
	cJSON_AddNumberToObject(spec, "leaseTransitions", (double)(transitions + (take_over ? 1 : 0)));
	return o;
}

/* May we take it: nobody holds it, we do, or its holder has not changed it for a whole lease by our clock. */
static bool is_free(struct kube_lease *l, const cJSON *o)
{
	const char *holder = json_str_or(o, "spec/holderIdentity", ""), *rv = json_str_or(o, "metadata/resourceVersion", "");
	int64_t seconds = l->spec.lease_seconds;

	if (strcmp(rv, l->seen_rv)) {
		snprintf(l->seen_rv, sizeof(l->seen_rv), "%s", rv);
		l->seen_us = clock_mono_us();
	}
	json_int(o, "spec/leaseDurationSeconds", 1, 3600, &seconds);
	return !*holder || !strcmp(holder, l->identity) || clock_mono_us() - l->seen_us > seconds * 1000000;
}

/* One try to get or keep the lease. 1: ours (epoch in *ret_epoch), 0: somebody else's, negative errno. */
static int try_once(struct kube_lease *l, int64_t *ret_epoch, struct error *err)
{
	cleanup_json cJSON *old = NULL, *want = NULL, *got = NULL;
	int r = kube_get(l->client, l->path, &old, err);
	int64_t transitions = 0;
	bool mine;

	if (r == -ENOENT) {
		want = lease_object(l, NULL, true, false);
		r = kube_create(l->client, l->list_path, want, &got, err);
	} else if (r == 0) {
		if (!is_free(l, old))
			return 0;
		mine = !strcmp(json_str_or(old, "spec/holderIdentity", ""), l->identity);
		want = lease_object(l, old, !mine || !l->leading, false);
		r = kube_replace(l->client, l->path, want, &got, err);
	}
	if (r == -EAGAIN || r == -EEXIST)
		return 0;
	if (r < 0)
		return r;
	json_int(got, "spec/leaseTransitions", 0, INT32_MAX, &transitions);
	*ret_epoch = transitions + 1;
	return 1;
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

static void *lease_main(void *arg)
{
	struct kube_lease *l = arg;
	int64_t epoch = 0;

	for (;;) {
		struct error err = { 0 };
		int r = try_once(l, &epoch, &err);

		if (r > 0) {
			l->renewed_us = clock_mono_us();
			if (!l->leading) {
				l->leading = true;
				log_info("became leader", LOG_S("lease", l->name), LOG_N("epoch", epoch));
				l->spec.on_leading(l->spec.ctx, epoch);
			}
		} else if (r < 0) {
			log_warning("the lease cannot be read or written", LOG_S("err", err.message));
		}
		if (l->leading && (r == 0 || clock_mono_us() - l->renewed_us > (int64_t)l->spec.renew_seconds * 1000000)) {
			l->leading = false;
			l->spec.on_lost(l->spec.ctx);
		}
		if (wait_ms(l, l->spec.retry_ms))
			return NULL;
	}
}

int kube_lease_start(struct kube_config *config, const struct kube_lease_spec *spec, struct kube_lease **ret, struct error *err)
{
	struct kube_lease *l = calloc(1, sizeof(*l));
	pthread_condattr_t mono;
	int r;

	if (!l)
		return error_set(err, -ENOMEM, "out of memory");
	l->spec = *spec;
	if (!l->spec.lease_seconds)
		l->spec.lease_seconds = 15;
	if (!l->spec.renew_seconds)
		l->spec.renew_seconds = 10;
	if (!l->spec.retry_ms)
		l->spec.retry_ms = 2000;
	snprintf(l->ns, sizeof(l->ns), "%s", spec->ns);
	snprintf(l->name, sizeof(l->name), "%s", spec->name);
	snprintf(l->identity, sizeof(l->identity), "%s", spec->identity);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&l->wake, &mono);
	r = kube_path(l->path, sizeof(l->path), "coordination.k8s.io/v1", l->ns, "leases", l->name, NULL);
	if (r == 0)
		r = kube_path(l->list_path, sizeof(l->list_path), "coordination.k8s.io/v1", l->ns, "leases", NULL, NULL);
	if (r < 0)
		error_set(err, r, "lease: bad name");
	if (r == 0)
		r = kube_client_new(config, "podmigration-lease", &l->client, err);
	if (r == 0) {
		/* Its own connection and half the renew deadline: a slow answer must not cost the lease. */
		kube_set_timeout(l->client, (int64_t)l->spec.renew_seconds * 500);
		r = -pthread_create(&l->thread, NULL, lease_main, l);
	}
	if (r < 0) {
		kube_client_free(l->client);
		free(l);
		return r;
	}
	*ret = l;
	return 0;
}

void kube_lease_stop(struct kube_lease *l, bool release)
{
	cleanup_json cJSON *old = NULL, *want = NULL;
	struct error err = { 0 };

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	if (release && l->leading && kube_get(l->client, l->path, &old, &err) == 0 &&
	    !strcmp(json_str_or(old, "spec/holderIdentity", ""), l->identity)) {
		want = lease_object(l, old, false, true);
		kube_replace(l->client, l->path, want, NULL, &err);
	}
	kube_client_free(l->client);
	free(l);
}

bool kube_lease_healthy(const struct kube_lease *l)
{
	return !l->leading || clock_mono_us() - l->renewed_us < (int64_t)(l->spec.lease_seconds + 5) * 1000000;
}
