/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_SKIP_H
#define BASE_JSON_SKIP_H

#include <stdbool.h>

/*
 * JSON (RFC 8259) walked over where it lies: no tree, no allocation.  Each moves c->p behind what stands there when it is that and whole; false, with c->p somewhere, when not.
 */
struct span {
	const char *p, *end;
};

#define JSON_SKIP_DEPTH_MAX 64

static inline void json_skip_space(struct span *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
		c->p++;
}

static inline bool json_skip_char(struct span *c, char wanted)
{
	if (c->p == c->end || *c->p != wanted)
		return false;
	c->p++;
	return true;
}

bool json_skip_string(struct span *c);
/* Any value, with the space on both sides.  depth: in how many objects and arrays it stands; false when more than JSON_SKIP_DEPTH_MAX are open at once. */
bool json_skip_value(struct span *c, int depth);

#endif
