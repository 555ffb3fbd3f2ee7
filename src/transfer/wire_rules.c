/* SPDX-License-Identifier: Apache-2.0 */
#include "wire_rules.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#define PAGE 4096u

struct rule {
	const char *name;               /* NULL: no such type */
	uint32_t min, max;              /* body length */
	bool of_container;              /* carries a container index; others carry WIRE_NO_CONTAINER or one */
};

#define JSON(name_, container_) { (name_), 2, WIRE_JSON_MAX, (container_) }

static const struct rule rules[] = {
	[WIRE_HELLO] = JSON("HELLO", false),
	[WIRE_WELCOME] = JSON("WELCOME", false),
	[WIRE_REFUSE] = JSON("REFUSE", false),
	[WIRE_STARTED] = JSON("STARTED", false),
	[WIRE_STANDBY] = JSON("STANDBY", false),
	[WIRE_CATCH_UP] = JSON("CATCH_UP", false),
	[WIRE_CAUGHT_UP] = JSON("CAUGHT_UP", false),
	[WIRE_ALIVE] = JSON("ALIVE", false),
	[WIRE_FROZEN] = JSON("FROZEN", false),
	[WIRE_PAGES] = { "PAGES", WIRE_PAGES_HEAD + PAGE, WIRE_PAGES_HEAD + WIRE_PAGES_MAX * PAGE, true },
	[WIRE_ZEROS] = { "ZEROS", WIRE_PAGES_HEAD, WIRE_PAGES_HEAD, true },
	[WIRE_WANT] = { "WANT", WIRE_PAGES_HEAD, WIRE_PAGES_HEAD, true },
	[WIRE_PACKED] = { "PACKED", WIRE_PAGES_HEAD + 1, WIRE_PAGES_HEAD + WIRE_PAGES_MAX * PAGE - 1, true },
	/* Without a container: of a volume that several share. */
	[WIRE_FILE] = JSON("FILE", false),
	[WIRE_DATA] = { "DATA", WIRE_DATA_HEAD, WIRE_DATA_HEAD + WIRE_DATA_MAX, false },
	[WIRE_IMAGE] = JSON("IMAGE", true),
	[WIRE_STORED] = { "STORED", WIRE_STORED_RUN, WIRE_STORED_MAX * WIRE_STORED_RUN, true },
	[WIRE_CONTAINER_END] = JSON("CONTAINER_END", true),
	[WIRE_ALL_SENT] = JSON("ALL_SENT", false),
	[WIRE_PREPARED] = JSON("PREPARED", false),
	[WIRE_COMMIT] = JSON("COMMIT", false),
	[WIRE_RUNNING] = JSON("RUNNING", false),
	[WIRE_ABORT] = JSON("ABORT", false),
	[WIRE_ABORTED] = JSON("ABORTED", false),
	[WIRE_ENDED] = JSON("ENDED", false),
	[WIRE_COMPLETE] = JSON("COMPLETE", false),
};

static const struct rule *rule_of(unsigned type)
{
	return type < sizeof(rules) / sizeof(rules[0]) && rules[type].name ? &rules[type] : NULL;
}

const char *wire_type_name(unsigned type)
{
	const struct rule *r = rule_of(type);

	return r ? r->name : "unknown";
}

const char *wire_rule_broken(const struct wire_header *h)
{
	const struct rule *r = rule_of(h->type);

	if (!r)
		return "unknown type";
	if (h->len > r->max)
		return "body too long";
	if (h->len < r->min)
		return "body too short";
	if (h->flags || h->specific)
		return "reserved bits set";
	if (h->container == WIRE_NO_CONTAINER ? r->of_container : h->container >= WIRE_CONTAINERS_MAX)
		return "container index out of range";
	return NULL;
}

void wire_header_pack(const struct wire_header *h, uint8_t out[WIRE_HEADER])
{
	uint32_t len = htole32(h->len), sequence = htole32(h->sequence), specific = htole32(h->specific);
	uint16_t container = htole16(h->container);

	memcpy(out, &len, 4);
	out[4] = h->type;
	out[5] = h->flags;
	memcpy(out + 6, &container, 2);
	memcpy(out + 8, &sequence, 4);
	memcpy(out + 12, &specific, 4);
}

void wire_header_unpack(const uint8_t in[WIRE_HEADER], struct wire_header *h)
{
	memcpy(&h->len, in, 4);
	h->type = in[4];
	h->flags = in[5];
	memcpy(&h->container, in + 6, 2);
	memcpy(&h->sequence, in + 8, 4);
	memcpy(&h->specific, in + 12, 4);
	h->len = le32toh(h->len);
	h->container = le16toh(h->container);
	h->sequence = le32toh(h->sequence);
	h->specific = le32toh(h->specific);
}
