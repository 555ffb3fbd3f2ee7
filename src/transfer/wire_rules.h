/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_WIRE_RULES_H
#define SRC_TRANSFER_WIRE_RULES_H

#include "transfer/wire.h"

/* The 16 bytes before each body (docs/protocol.md). */
struct wire_header {
	uint32_t len;
	uint8_t type, flags;
	uint16_t container;
	uint32_t sequence, specific;
};

void wire_header_pack(const struct wire_header *h, uint8_t out[WIRE_HEADER]);
void wire_header_unpack(const uint8_t in[WIRE_HEADER], struct wire_header *h);

/* NULL when a frame of this type may have this length and container; else what is wrong, a constant. */
const char *wire_rule_broken(const struct wire_header *h);

const char *wire_type_name(unsigned type);      /* "unknown" for others; never NULL */

#endif
