/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_ORDER_H
#define CONTROLLER_ORDER_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "base/error.h"
#include "migration/names.h"

/*
 * Orders to the agent of a remote source pod (docs/protocol.md).  Pure but for the random nonce.  bringing_key: of the migration that brought the pod where it
 * is; key: of the present migration, only used by "migrate".
 */
enum order_action { ORDER_MIGRATE, ORDER_ABORT };
const char *order_action_name(enum order_action a);

/* Merge patch for the source pod: the sealed order and the note which it is.  *ret is the caller's. */
int order_patch(const cJSON *migration, const cJSON *source, enum order_action action, const uint8_t bringing_key[PM_KEY_SIZE],
		const uint8_t key[PM_KEY_SIZE], int64_t now_us, cJSON **ret, struct error *err);

#endif
