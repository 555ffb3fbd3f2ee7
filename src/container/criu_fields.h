/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CRIU_FIELDS_H
#define CONTAINER_CRIU_FIELDS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * Entries of CRIU's images read field by field, and not by generated code: what is changed is a few bytes of one, and all others must stay as they came, also those that this
 * program knows nothing of.
 */
#define CRIU_HEADER_SIZE 8      /* two u32: the common magic and the kind's */

struct cursor {
	const uint8_t *p, *end;
};

/* The next field: its number, and its content (of a number: its bytes).  1, 0 at the end, or -EBADMSG. */
int fields_next(struct cursor *c, uint64_t *number, uint64_t *value, struct cursor *content);

/* The next {u32 size, entry} of an image whose header is behind.  1, 0 at the end, or -EBADMSG. */
int entries_next(struct cursor *image, struct cursor *entry);

int fields_put_varint(struct buf *b, uint64_t value);
int fields_put_number(struct buf *b, unsigned number, uint64_t value);

#endif
