/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_KEYS_H
#define MIGRATION_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "migration/names.h"

/* key = HMAC-SHA256(master, uid). */
int key_derive(const uint8_t *master, size_t master_len, const char *migration_uid, uint8_t out[PM_KEY_SIZE], struct error *err);

/*
 * Orders to a remote source agent (docs/protocol.md).  key and bringing_uid are those of the migration that brought the pod.
 * seal: out gets base64 text.  open: out gets the JSON text; -EBADMSG when it was not sealed with this key for this pod.
 */
int order_seal(const uint8_t key[PM_KEY_SIZE], const char *bringing_uid, const char *json, struct buf *out, struct error *err);
int order_open(const uint8_t key[PM_KEY_SIZE], const char *bringing_uid, const char *text, size_t len, struct buf *out,
	       struct error *err);

/*
 * The receipt of a destination: all containers of this migration's pod run there, with all of their memory.  It is true for ever once it is, so it needs neither a
 * time nor a number.  Sealed under another key than orders are: neither can be taken for the other.  open: -EBADMSG when it is not a receipt of this migration.
 */
int receipt_seal(const uint8_t key[PM_KEY_SIZE], const char *migration_uid, struct buf *out, struct error *err);
int receipt_open(const uint8_t key[PM_KEY_SIZE], const char *migration_uid, const char *text, size_t len, struct error *err);

#endif
