/* SPDX-License-Identifier: Apache-2.0 */
#include "lease_record.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

#define SECONDS_MAX 86400

void lease_see(struct lease_view *v, const cJSON *lease, int64_t now_us)
{
	const char *rv = json_str_or(lease, "metadata/resourceVersion", "");
	int64_t transitions = 0;

	if (strcmp(rv, v->rv) || !v->changed_us) {
		snprintf(v->rv, sizeof(v->rv), "%s", rv);
		v->changed_us = now_us;
	}
	snprintf(v->holder, sizeof(v->holder), "%s", json_str_or(lease, "spec/holderIdentity", ""));
	v->seconds = 0;
	json_int(lease, "spec/leaseDurationSeconds", 1, SECONDS_MAX, &v->seconds);
	json_int(lease, "spec/leaseTransitions", 0, INT32_MAX, &transitions);
	if (transitions > v->transitions)
		v->transitions = transitions;
}

bool lease_is_free(const struct lease_view *v, int64_t now_us)
{
	return !v->holder[0] || now_us - v->changed_us > v->seconds * 1000000;
}

cJSON *lease_object(const struct lease_view *v, const cJSON *old, enum lease_write what, const char *ns, const char *name,
		    const char *identity, int seconds, int64_t real_us)
{
	const char *acquired = what == LEASE_TAKE ? NULL : json_str(old, "spec/acquireTime");
	cJSON *o = cJSON_CreateObject(), *meta = cJSON_Duplicate(json_at(old, "metadata"), true), *spec;
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(real_us, 0, now);
	cJSON_AddStringToObject(o, "apiVersion", "coordination.k8s.io/v1");
	cJSON_AddStringToObject(o, "kind", "Lease");
	if (!meta) {
		meta = cJSON_CreateObject();
		cJSON_AddStringToObject(meta, "name", name);
		cJSON_AddStringToObject(meta, "namespace", ns);
	}
	cJSON_AddItemToObject(o, "metadata", meta);
	spec = cJSON_AddObjectToObject(o, "spec");
	cJSON_AddStringToObject(spec, "holderIdentity", what == LEASE_RELEASE ? "" : identity);
	/* Nobody needs to wait for a released lease. */
	cJSON_AddNumberToObject(spec, "leaseDurationSeconds", what == LEASE_RELEASE ? 1 : seconds);
	cJSON_AddStringToObject(spec, "acquireTime", acquired ? acquired : now);
	cJSON_AddStringToObject(spec, "renewTime", now);
	cJSON_AddNumberToObject(spec, "leaseTransitions", (double)(v->transitions + (what == LEASE_TAKE && (old || v->rv[0]) ? 1 : 0)));
	if (!json_str(o, "metadata/name") || !json_at(o, "spec/leaseTransitions")) {
		cJSON_Delete(o);
		return NULL;
	}
	return o;
}
