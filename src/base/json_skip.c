/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_skip.h"

#include <ctype.h>
#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static bool skip_escape(struct span *c)
{
	if (c->p == c->end)
		return false;
	if (*c->p != 'u')
		return *c->p && strchr("\"\\/bfnrt", *c->p++);
	if (c->end - c->p < 5)
		return false;
	for (int i = 1; i < 5; i++)
		if (!isxdigit((unsigned char)c->p[i]))
			return false;
	c->p += 5;
	return true;
}

/* 0 when no byte of v is below 0x20, a quote or a backslash; else its lowest bit is the highest one of the lowest such byte. */
static uint64_t special(uint64_t v)
{
	const uint64_t ones = UINT64_MAX / 255, quote = v ^ ones * '"', backslash = v ^ ones * '\\';

	/* What borrows from its highest bit, and had it not set before. */
	return (((v - ones * 0x20) & ~v) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & ones * 0x80;
}

/* The first character that is not plain, or the end. */
static const char *skip_plain(const char *p, const char *end)
{
	uint64_t v, found;

	/* Eight at a time: most of a JSON text is plain characters of strings. */
	for (; end - p >= (ptrdiff_t)sizeof(v); p += sizeof(v)) {
		memcpy(&v, p, sizeof(v));
		found = special(le64toh(v));
		if (found)
			return p + __builtin_ctzll(found) / 8;
	}
	while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\')
		p++;
	return p;
}

bool json_skip_string(struct span *c)
{
	if (!json_skip_char(c, '"'))
		return false;
	for (;;) {
		c->p = skip_plain(c->p, c->end);
		if (json_skip_char(c, '"'))
			return true;
		if (!json_skip_char(c, '\\') || !skip_escape(c))
			return false;
	}
}

static bool skip_digits(struct span *c)
{
	const char *from = c->p;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9')
		c->p++;
	return c->p > from;
}

static bool skip_number(struct span *c)
{
	json_skip_char(c, '-');
	if (!json_skip_char(c, '0') && !skip_digits(c))
		return false;
	if (json_skip_char(c, '.') && !skip_digits(c))
		return false;
	if (!json_skip_char(c, 'e') && !json_skip_char(c, 'E'))
		return true;
	if (!json_skip_char(c, '+'))
		json_skip_char(c, '-');
	return skip_digits(c);
}

static bool skip_literal(struct span *c)
{
	static const char *const literals[] = { "true", "false", "null" };

	for (size_t i = 0; i < sizeof(literals) / sizeof(literals[0]); i++) {
		size_t len = strlen(literals[i]);

		if ((size_t)(c->end - c->p) >= len && !memcmp(c->p, literals[i], len)) {
			c->p += len;
			return true;
		}
	}
	return false;
}

static bool skip_list(struct span *c, char close, int depth)
{
	c->p++;
	json_skip_space(c);
	if (json_skip_char(c, close))
		return true;
	do {
		json_skip_space(c);
		if (close == '}') {
			if (!json_skip_string(c))
				return false;
			json_skip_space(c);
			if (!json_skip_char(c, ':'))
				return false;
		}
		if (!json_skip_value(c, depth + 1))
			return false;
	} while (json_skip_char(c, ','));
	return json_skip_char(c, close);
}

bool json_skip_value(struct span *c, int depth)
{
	bool ok;

	json_skip_space(c);
	if (c->p == c->end || depth > JSON_SKIP_DEPTH_MAX)
		return false;
	switch (*c->p) {
	case '{':
		ok = skip_list(c, '}', depth);
		break;
	case '[':
		ok = skip_list(c, ']', depth);
		break;
	case '"':
		ok = json_skip_string(c);
		break;
	case 't':
	case 'f':
	case 'n':
		ok = skip_literal(c);
		break;
	default:
		ok = skip_number(c);
	}
	json_skip_space(c);
	return ok;
}
