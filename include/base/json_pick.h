/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_PICK_H
#define BASE_JSON_PICK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/*
 * What is wanted of an object, member by member; of an array the same is wanted of each element.  A table ends with an empty entry.  Names are compared with the text as it stands, so with
 * escapes none matches; "*" matches every name.  The first entry that matches counts.
 */
struct json_want {
	const char *name;
	const struct json_want *members;        /* of its value, when it is an object or an array; NULL: all of it */
	bool unwanted;
};

#define WANT(name_) { .name = (name_) }
#define WANT_OF(name_, members_) { .name = (name_), .members = (members_) }
#define UNWANTED(name_) { .name = (name_), .unwanted = true }
#define WANT_END { .name = NULL }

/*
 * Copies what is wanted of a JSON text, so that nothing else has to be parsed or kept: to build a tree takes many times as long.  The whole text is checked all the same.  *out is emptied
 * before and never gets longer than the text.  0; -EINVAL when the text is not one JSON value, or more than JSON_SKIP_DEPTH_MAX lists are open at once; -ENOSPC, -ENOMEM.
 */
int json_pick(const char *text, size_t len, const struct json_want *want, struct buf *out);

#endif
