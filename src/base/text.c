/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

uint64_t text_hash(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h;
}

int text_copy(char *out, size_t size, const char *s)
{
	size_t len = s ? strlen(s) : 0;

	if (!s || len >= size)
		return -EINVAL;
	memcpy(out, s, len + 1);
	return 0;
}

/* The number of bytes that a character has by its first one, and the smallest value that needs so many (RFC 3629); 0: no character begins so. */
static size_t length_of(unsigned char first, uint32_t *ret_min)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t min;
	} forms[] = { { 0x80, 0x00, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if ((first & forms[i].mask) == forms[i].lead) {
			*ret_min = forms[i].min;
			return i + 1;
		}
	return 0;
}

/* YAML 1.1, "Character Set"; the API server reads a server-side apply by such a reader. */
static bool is_printable(uint32_t v)
{
	return (v >= 0xa0 && v < 0xd800) || (v >= 0xe000 && v < 0xfffe && v != 0xfeff) || (v >= 0x10000 && v <= 0x10ffff);
}

/* Bytes of the character of more than one byte that s begins with; 0: it is none, or none that may stay. */
static size_t character(const unsigned char *s)
{
	uint32_t min = 0, v;
	size_t n = length_of(s[0], &min);

	if (n < 2)
		return 0;
	v = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s[i] & 0x3f);
	}
	return v >= min && is_printable(v) ? n : 0;
}

void text_clean(char *s)
{
	for (unsigned char *p = (unsigned char *)s; *p;) {
		size_t n = *p < 0x80 ? 1 : character(p);

		if (*p < 0x20 || *p == 0x7f)
			*p = ' ';
		else if (!n)
			*p = '?';
		p += n ? n : 1;
	}
}
