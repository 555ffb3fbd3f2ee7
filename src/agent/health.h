/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_HEALTH_H
#define AGENT_HEALTH_H

#include <stdbool.h>

#include "agent.h"
#include "kube/watch.h"

/* /healthz, /readyz and /metrics of the agent's daemon. */
struct health;

int health_start(const struct agent_options *o, struct health **ret, struct error *err);
void health_stop(struct health *h);
void health_watch(struct health *h, struct kube_watch *w);      /* /readyz tells of it from now on, until health_stop */
void health_count(struct health *h, bool source, bool ok);
void health_set_active(struct health *h, int sources, int destinations);

#endif
