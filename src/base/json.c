/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Brackets that are open at once, wherever they stand but in strings. */
static bool too_deep(const char *data, size_t len)
{
	/* Most bytes are none of these. */
	static const bool matters[256] = { ['"'] = true, ['\\'] = true, ['{'] = true, ['['] = true, ['}'] = true, [']'] = true };
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = data[i];

		if (!matters[(unsigned char)c])
			continue;
		if (c == '"')
			in_string = !in_string;
		else if (in_string)
			i += c == '\\';
		else if (c != '\\')
			depth += c == '{' || c == '[' ? 1 : -1;
		if (depth > JSON_DEPTH_MAX)
			return true;
	}
	return false;
}

int json_parse(const char *data, size_t len, size_t max, cJSON **ret, struct error *err)
{
	const char *end = NULL;
	cJSON *o;

	if (len > max)
		return error_set(err, -EINVAL, "JSON text of %zu bytes is larger than the limit of %zu", len, max);
	if (memchr(data, '\0', len))
		return error_set(err, -EINVAL, "JSON text holds a NUL byte");
	if (too_deep(data, len))
		return error_set(err, -EINVAL, "JSON text is nested deeper than %d", JSON_DEPTH_MAX);
	o = cJSON_ParseWithLengthOpts(data, len, &end, 0);
	if (!o)
		return error_set(err, -EINVAL, "not JSON, at byte %zu", end ? (size_t)(end - data) : (size_t)0);
	while (end < data + len && strchr(" \t\r\n", *end))
		end++;
	if (end != data + len) {
		cJSON_Delete(o);
		return error_set(err, -EINVAL, "more text after the JSON value, at byte %zu", (size_t)(end - data));
	}
	*ret = o;
	return 0;
}

/* One step of a path: copies the name up to '/', undoing ~1 and ~0 (RFC 6901). */
static const char *next_name(const char *path, char *name, size_t size)
{
	size_t n = 0;

	while (*path && *path != '/') {
		char c = *path++;

		if (c == '~' && (*path == '0' || *path == '1'))
			c = *path++ == '0' ? '~' : '/';
		if (n + 1 >= size)
			return NULL;
		name[n++] = c;
	}
	name[n] = '\0';
	return *path ? path + 1 : path;
}

static const cJSON *element(const cJSON *array, const char *index)
{
	char *end;
	long i = strtol(index, &end, 10);

	if (!*index || *end || i < 0 || i > 1000000)
		return NULL;
	return cJSON_GetArrayItem(array, (int)i);
}

const cJSON *json_at(const cJSON *o, const char *path)
{
	char name[512];

	while (o && path && *path) {
		path = next_name(path, name, sizeof(name));
		if (!path)
			return NULL;
		o = cJSON_IsArray(o) ? element(o, name) : cJSON_GetObjectItemCaseSensitive(o, name);
	}
	return path ? o : NULL;
}

const char *json_str(const cJSON *o, const char *path)
{
	const cJSON *v = json_at(o, path);

	return cJSON_IsString(v) ? v->valuestring : NULL;
}

const char *json_str_or(const cJSON *o, const char *path, const char *fallback)
{
	const char *s = json_str(o, path);

	return s ? s : fallback;
}

bool json_bool(const cJSON *o, const char *path)
{
	return cJSON_IsTrue(json_at(o, path));
}

int json_int(const cJSON *o, const char *path, int64_t min, int64_t max, int64_t *ret)
{
	const cJSON *v = json_at(o, path);

	if (!v)
		return -ENOENT;
	/* cJSON holds numbers as doubles: exact up to 2^53. */
	if (!cJSON_IsNumber(v) || floor(v->valuedouble) < v->valuedouble || v->valuedouble < (double)min ||
	    v->valuedouble > (double)max || fabs(v->valuedouble) > 9007199254740992.0)
		return -EINVAL;
	*ret = (int64_t)v->valuedouble;
	return 0;
}

int json_print(const cJSON *o, struct buf *b)
{
	char *s = cJSON_PrintUnformatted(o);
	int r;

	if (!s)
		return -ENOMEM;
	r = buf_puts(b, s);
	cJSON_free(s);
	return r;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_encode(const void *data, size_t len, struct buf *out)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i += 3) {
		unsigned v = (unsigned)p[i] << 16;
		char quad[4];
		int r;

		if (i + 1 < len)
			v |= (unsigned)p[i + 1] << 8;
		if (i + 2 < len)
			v |= p[i + 2];
		quad[0] = alphabet[v >> 18];
		quad[1] = alphabet[v >> 12 & 63];
		quad[2] = i + 1 < len ? alphabet[v >> 6 & 63] : '=';
		quad[3] = i + 2 < len ? alphabet[v & 63] : '=';
		r = buf_append(out, quad, 4);
		if (r < 0)
			return r;
	}
	return 0;
}

static int sextet(char c)
{
	const char *p = c ? strchr(alphabet, c) : NULL;

	return p ? (int)(p - alphabet) : -1;
}

int base64_decode(const char *s, size_t len, struct buf *out)
{
	if (len % 4)
		return -EINVAL;
	for (size_t i = 0; i < len; i += 4) {
		int pad = i + 4 == len ? (s[i + 3] == '=') + (s[i + 3] == '=' && s[i + 2] == '=') : 0;
		unsigned v = 0;
		char bytes[3];
		int r;

		for (int k = 0; k < 4 - pad; k++) {
			int x = sextet(s[i + (size_t)k]);

			if (x < 0)
				return -EINVAL;
			v |= (unsigned)x << (18 - 6 * k);
		}
		/* Bits that are dropped must be zero, or two texts would mean the same bytes. */
		if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
			return -EINVAL;
		bytes[0] = (char)(v >> 16);
		bytes[1] = (char)(v >> 8);
		bytes[2] = (char)v;
		r = buf_append(out, bytes, (size_t)(3 - pad));
		if (r < 0)
			return r;
	}
	return 0;
}
