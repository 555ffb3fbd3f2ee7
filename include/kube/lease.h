/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_LEASE_H
#define KUBE_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "kube/config.h"

/*
 * Leader election on a coordination.k8s.io/v1 Lease, as client-go does it: 15 s lease, 10 s renew deadline, 2 s retry; expiry
 * judged by our own monotonic clock since the record last changed.  Own thread and connection.
 */
struct kube_lease;

struct kube_lease_spec {
	const char *ns, *name, *identity;
	int lease_seconds, renew_seconds, retry_ms;     /* 0: the defaults */
	/*
	 * Both run on the lease's thread and must return soon: no renewal happens meanwhile.  epoch = leaseTransitions + 1:
	 * larger for every new leader (only a Lease that is deleted while nobody watches it starts from 1 again).
	 */
	void (*on_leading)(void *ctx, int64_t epoch);
	void (*on_lost)(void *ctx);                     /* the process should exit at once, without clean-up; the election is over */
	void *ctx;
};

/*
 * identity: unique among all that ever ask for this Lease. -EINVAL when the spec makes no sense; the first request is made on
 * the thread.
 */
int kube_lease_start(struct kube_config *config, const struct kube_lease_spec *spec, struct kube_lease **ret, struct error *err);
void kube_lease_stop(struct kube_lease *l, bool release);       /* release only after all work has stopped */
bool kube_lease_healthy(const struct kube_lease *l);            /* false: leader, but not renewed in time */

#endif
