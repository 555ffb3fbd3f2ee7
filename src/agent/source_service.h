/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SOURCE_SERVICE_H
#define AGENT_SOURCE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"

/*
 * The source pod and the Services that select it.  Who stands still serves nobody, and says so as a pod does: its condition Ready becomes False, by a patch of its status in the cluster that it runs in
 * (at home, or the provider's API server, from where Liqo brings it home).  That is all that the EndpointSlice controller goes by, whatever owns the pod, and takes nothing from it: a ReplicaSet counts
 * it as before.  The kubelet, which does not know, writes its own word every 10 s at most (syncBatch in its pkg/kubelet/status/status_manager.go): so ours is repeated, and with nobody left to repeat it
 * the pod is back without anybody's doing.
 *
 * One thread does the asking, so that neither the freeze nor a thaw waits for an API server that does not answer.  Nothing fails by it: a pod that cannot be taken out is moved all the same.
 */
struct source_service;

/* NULL when there is no memory or no thread; all below take that.  pod_ns, pod_name: as that cluster knows it; uid: so that no other pod is meant. */
struct source_service *source_service_new(const struct agent_options *o, const char *pod_ns, const char *pod_name, const char *pod_uid);
/* Out, and kept out until it is said to be back.  Does not wait. */
void source_service_leave(struct source_service *v);
/* Waits until settle_us after the API server has taken what was said last, and no longer than timeout_us after it was said; false: not settled by then, or the API server has refused it. */
bool source_service_wait(struct source_service *v, int64_t settle_us, int64_t timeout_us);
/* Back to what its containers and gates say.  Does not wait. */
void source_service_return(struct source_service *v);
/* Ends the thread, which tries once more what was not done yet. */
void source_service_free(struct source_service *v);

#endif
