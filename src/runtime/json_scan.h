/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_JSON_SCAN_H
#define RUNTIME_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json_skip.h"

/*
 * JSON (RFC 8259) read where it lies: no tree, no allocation, no library, because this program is static and its monitor should cost a node next to nothing.
 * config.json is edited the same way, by cutting text: numbers of 64 bits (limits, RLIM_INFINITY) would not survive a parser that holds them as doubles.
 *
 * A span is the text of one value.  Only json_scan makes the first one, after it has checked the whole text; all others come out of it.
 */
#define JSON_SCAN_DEPTH_MAX JSON_SKIP_DEPTH_MAX

/* The one value in a text of len bytes; -EINVAL when it is anything else, or nested deeper than JSON_SCAN_DEPTH_MAX. */
int json_scan(const char *text, size_t len, struct span *ret);

/*
 * Walks the members of an object or the elements of an array: *at starts as json_members(value).  name may be NULL; it is empty in an array.
 * false at the end, and at once for any other value.
 */
struct span json_members(struct span value);
bool json_next(struct span *at, struct span *name, struct span *value);

/* A member by name (at most 255 bytes).  The last one counts where a name stands twice, as in Go. */
bool json_member(struct span object, const char *name, struct span *ret);
/* The same through several objects, names separated by '.': "process.terminal". */
bool json_find(struct span object, const char *path, struct span *ret);

bool json_is(struct span value, const char *literal);           /* "true", "[", "{": how the text begins */
bool json_equals(struct span value, const char *s);             /* a string value that says s */
/* The characters of a string value: 0, -EINVAL when it is none or holds a NUL, -ENAMETOOLONG. */
int json_copy(struct span value, char *out, size_t size);
int json_copy_at(struct span object, const char *path, char *out, size_t size);         /* -ENOENT when absent, out is "" then */
int json_number_at(struct span object, const char *path, int64_t min, int64_t max, int64_t *ret);       /* integers; -ENOENT, -EINVAL */

/* Appends s as a JSON string. */
int json_put(struct buf *b, const char *s);
/* Appends "key":"value" after a comma, unless it is the first member. */
int json_put_member(struct buf *b, const char *key, const char *value);

#endif
