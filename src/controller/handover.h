/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_HANDOVER_H
#define CONTROLLER_HANDOVER_H

#include <cjson/cJSON.h>

#include "base/error.h"

/*
 * A pod of a ReplicaSet: how the destination takes the source's place, so that the ReplicaSet neither makes a third pod nor deletes the moved one
 * (docs/architecture.md, "Pods with an owner").  Pure.
 */

/* The owner reference of the controller of a pod, NULL when it has none. */
const cJSON *handover_owner(const cJSON *pod);

/* What a destination pod of this source is not given yet, for the annotation ANN_WITHHELD; NULL for a pod without an owner.  The caller frees it. */
char *handover_withhold(const cJSON *source);

/* The merge patch by which the destination pod, as the API server has it, gets all that in one step; refused when it has changed since.  *ret is the caller's. */
int handover_patch(const cJSON *destination, cJSON **ret, struct error *err);

#endif
