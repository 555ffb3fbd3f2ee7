/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_ORDER_H
#define CONTROLLER_ORDER_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "migration/names.h"

/*
 * Orders to the agent of a pod's node (docs/protocol.md): to that of a remote source to migrate and to abort, to that of a destination, whose pod the present
 * migration brings, that it is committed; to that of a remote source to do what a dry run does.  Pure but for the random nonce.  bringing_key: of the migration that brought the pod where it is; key: of the present
 * migration, only used by "migrate" and "ask".
 */
enum order_action { ORDER_MIGRATE, ORDER_ABORT, ORDER_COMMIT, ORDER_ASK };
const char *order_action_name(enum order_action a);

/* Merge patch for the pod: the sealed order and the note which it is.  *ret is the caller's. */
int order_patch(const cJSON *migration, const cJSON *pod, enum order_action action, const uint8_t bringing_key[PM_KEY_SIZE],
		const uint8_t key[PM_KEY_SIZE], int64_t now_us, cJSON **ret, struct error *err);

/* Is the order that stands on the pod one of this migration's? */
bool order_is_ours(const cJSON *migration, const cJSON *pod);
/*
 * A dry run takes its order back: what stood there before it stands there again.  Both patches of a dry run are for the pod as it was read (-EAGAIN when it has changed since): another migration's
 * order must not be lost by it.
 */
cJSON *order_withdraw_patch(const cJSON *pod);

#endif
