/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_ORDERS_H
#define AGENT_ORDERS_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "agent.h"
#include "monitors.h"

/*
 * The sealed order in a pod's downwardAPI file (docs/protocol.md).  -ENOENT when there is none; -EBADMSG when it was not sealed for this pod; -ETIME when its
 * deadline has passed.
 */
int order_read(const struct agent_options *o, const struct monitor_info *pod, cJSON **ret, struct error *err);

/* The order for this migration on the pod with this UID, whatever its deadline: for who has begun already. */
int order_of_pod(const struct agent_options *o, const char *pod_uid, const char *migration, cJSON **ret, struct error *err);

/* Does the order at this destination pod say that the migration which brings it is committed?  False also when it cannot be read. */
bool order_is_commit(const struct agent_options *o, const struct monitor_info *pod);

/* The action of an order to do what a dry run does: to look, to ask the destination, and that is all.  An agent of an older version passes it over. */
#define ORDER_ASKS "ask"

/* Does the order begin something: a migration, or a dry run? */
bool order_begins(const cJSON *order);
/* The worker's first line, for the pod that the order was found at. */
cJSON *order_line(const cJSON *order, const struct monitor_info *pod);

#endif
