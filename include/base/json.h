/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * The only way JSON is read: cJSON with case-sensitive getters, the whole input consumed.  A path is names
 * separated by '/', array elements by number: "spec/containers/0/name" (keys that hold '/' are escaped as ~1, '~' as ~0).
 */
static inline void json_freep(cJSON **p)
{
	cJSON_Delete(*p);
}
#define cleanup_json __attribute__((__cleanup__(json_freep)))

/* Objects within arrays within objects ..: what Kubernetes and OCI files hold stays far below, and nothing recurses deeper. */
#define JSON_DEPTH_MAX 64

/* len bytes, at most max, nested at most JSON_DEPTH_MAX deep; -EINVAL with a sentence when it is not one JSON value. */
int json_parse(const char *data, size_t len, size_t max, cJSON **ret, struct error *err);

const cJSON *json_at(const cJSON *o, const char *path);                 /* NULL when absent */
const char *json_str(const cJSON *o, const char *path);                 /* NULL when absent or not a string */
const char *json_str_or(const cJSON *o, const char *path, const char *fallback);
bool json_bool(const cJSON *o, const char *path);                       /* false when absent */
/* An integer in [min, max]; -ENOENT absent, -EINVAL otherwise. */
int json_int(const cJSON *o, const char *path, int64_t min, int64_t max, int64_t *ret);

/* cJSON_Print into b. */
int json_print(const cJSON *o, struct buf *b);

/* Standard base64 (RFC 4648, padded).  decode: *ret_len bytes into out; -EINVAL. */
int base64_encode(const void *data, size_t len, struct buf *out);
int base64_decode(const char *s, size_t len, struct buf *out);

#endif
