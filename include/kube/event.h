/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_EVENT_H
#define KUBE_EVENT_H

#include "kube/client.h"

/*
 * events.k8s.io/v1 Events.  Failures are logged and dropped (an Event is never worth stopping for); the same event again within
 * 5 minutes becomes a series.
 */
struct kube_events;

int kube_events_new(struct kube_config *config, const char *controller, const char *instance, struct kube_events **ret, struct error *err);
void kube_events_free(struct kube_events *e);   /* sends what is queued, at most 2 s */

struct kube_object_ref {
	const char *api_version, *kind, *ns, *name, *uid;
};

/*
 * All strings are copied.  ns NULL or "": an object outside namespaces; its Events live in "default".  type "Normal" or
 * "Warning"; reason CamelCase; note at most 1 KiB (cut).  related may be NULL.  Queued (1000, then dropped), thread-safe.
 */
void kube_event(struct kube_events *e, const struct kube_object_ref *regarding, const struct kube_object_ref *related, const char *type,
		const char *reason, const char *action, const char *note);

#endif
