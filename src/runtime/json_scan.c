/* SPDX-License-Identifier: Apache-2.0 */
#include "json_scan.h"

#include <errno.h>
#include <string.h>

/* Without the space. */
static struct span trim(const char *from, const char *to)
{
	struct span s = { from, to };

	json_skip_space(&s);
	while (s.end > s.p && strchr(" \t\r\n", s.end[-1]))
		s.end--;
	return s;
}

int json_scan(const char *text, size_t len, struct span *ret)
{
	struct span c = { text, text + len };

	if (!text || !json_skip_value(&c, 0) || c.p != c.end)
		return -EINVAL;
	*ret = trim(text, text + len);
	return 0;
}

struct span json_members(struct span value)
{
	if (value.p < value.end && (*value.p == '{' || *value.p == '['))
		return (struct span){ value.p + 1, value.end - 1 };
	return (struct span){ value.end, value.end };
}

bool json_next(struct span *at, struct span *name, struct span *value)
{
	struct span n = { at->p, at->p };
	const char *from;

	json_skip_space(at);
	if (at->p == at->end)
		return false;
	from = at->p;
	if (*at->p == '"' && json_skip_string(at)) {
		n = (struct span){ from, at->p };
		json_skip_space(at);
		if (json_skip_char(at, ':'))
			from = at->p;
		else
			n.p = n.end;
	}
	/* A string element of an array has been skipped already. */
	if (n.p < n.end || at->p == from)
		json_skip_value(at, 0);
	if (name)
		*name = n;
	*value = trim(from, at->p);
	json_skip_char(at, ',');
	return true;
}

static bool member(struct span object, const char *name, size_t len, struct span *ret)
{
	struct span at = json_members(object), n, v;
	bool found = false;
	char key[256];

	if (!json_is(object, "{"))
		return false;
	while (json_next(&at, &n, &v))
		if (json_copy(n, key, sizeof(key)) == 0 && strlen(key) == len && !memcmp(key, name, len)) {
			*ret = v;
			found = true;
		}
	return found;
}

bool json_member(struct span object, const char *name, struct span *ret)
{
	return member(object, name, strlen(name), ret);
}

bool json_find(struct span object, const char *path, struct span *ret)
{
	struct span v = object;

	for (;;) {
		size_t len = strcspn(path, ".");

		if (!member(v, path, len, &v))
			return false;
		if (!path[len])
			break;
		path += len + 1;
	}
	*ret = v;
	return true;
}

bool json_is(struct span value, const char *literal)
{
	size_t len = strlen(literal);

	return (size_t)(value.end - value.p) >= len && !memcmp(value.p, literal, len);
}

bool json_equals(struct span value, const char *s)
{
	char text[1024];

	return strlen(s) < sizeof(text) && json_copy(value, text, sizeof(text)) == 0 && !strcmp(text, s);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static unsigned unicode(const char *p)
{
	return (unsigned)(hex(p[0]) << 12 | hex(p[1]) << 8 | hex(p[2]) << 4 | hex(p[3]));
}

/* The code point of "\uXXXX" (p at the digits), of a surrogate pair when there is one; a lone half becomes U+FFFD, as in Go. */
static unsigned take_unicode(const char **p, const char *end)
{
	unsigned v = unicode(*p), low;

	*p += 4;
	if (v < 0xd800 || v > 0xdfff)
		return v;
	if (v < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
		low = unicode(*p + 2);
		if (low >= 0xdc00 && low <= 0xdfff) {
			*p += 6;
			return 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
		}
	}
	return 0xfffd;
}

static size_t utf8(unsigned v, char out[4])
{
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, v >>= 6)
		out[i] = (char)(0x80 | (v & 0x3f));
	out[0] = (char)(lead[n] | v);
	return n;
}

static size_t take_character(const char **p, const char *end, char out[4])
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at;

	if (**p != '\\') {
		out[0] = *(*p)++;
		return 1;
	}
	++*p;
	if (*(*p)++ == 'u')
		return utf8(take_unicode(p, end), out);
	at = strchr(from, (*p)[-1]);
	out[0] = at ? to[at - from] : (*p)[-1];
	return 1;
}

int json_copy(struct span value, char *out, size_t size)
{
	size_t used = 0;

	if (value.end - value.p < 2 || *value.p != '"')
		return -EINVAL;
	for (const char *p = value.p + 1, *end = value.end - 1; p < end;) {
		char c[4];
		size_t n = take_character(&p, end, c);

		if (n == 1 && c[0] == '\0')
			return -EINVAL;
		if (used + n >= size)
			return -ENAMETOOLONG;
		memcpy(out + used, c, n);
		used += n;
	}
	out[used] = '\0';
	return 0;
}

int json_copy_at(struct span object, const char *path, char *out, size_t size)
{
	struct span v;

	out[0] = '\0';
	return json_find(object, path, &v) ? json_copy(v, out, size) : -ENOENT;
}

int json_number_at(struct span object, const char *path, int64_t min, int64_t max, int64_t *ret)
{
	struct span v;
	bool negative;
	int64_t n = 0;

	if (!json_find(object, path, &v))
		return -ENOENT;
	negative = json_skip_char(&v, '-');
	if (v.p == v.end)
		return -EINVAL;
	for (; v.p < v.end; v.p++) {
		if (*v.p < '0' || *v.p > '9' || n > (INT64_MAX - 9) / 10)
			return -EINVAL;
		n = n * 10 + *v.p - '0';
	}
	n = negative ? -n : n;
	if (n < min || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

int json_put(struct buf *b, const char *s)
{
	int r = buf_puts(b, "\"");

	for (; r == 0 && *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			r = buf_printf(b, "\\%c", c);
		else if (c < 0x20)
			r = buf_printf(b, "\\u%04x", c);
		else
			r = buf_append(b, s, 1);
	}
	return r < 0 ? r : buf_puts(b, "\"");
}

int json_put_member(struct buf *b, const char *key, const char *value)
{
	int r = b->len && b->data[b->len - 1] != '{' ? buf_puts(b, ",") : 0;

	if (r == 0)
		r = json_put(b, key);
	if (r == 0)
		r = buf_puts(b, ":");
	return r < 0 ? r : json_put(b, value);
}
