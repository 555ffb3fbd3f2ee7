/* SPDX-License-Identifier: Apache-2.0 */
#include "json_scan.h"

#include <errno.h>
#include <string.h>

static void skip_space(struct span *c)
{
	while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r'))
		c->p++;
}

static bool take(struct span *c, char wanted)
{
	if (c->p == c->end || *c->p != wanted)
		return false;
	c->p++;
	return true;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool skip_escape(struct span *c)
{
	if (c->p == c->end)
		return false;
	if (*c->p != 'u')
		return *c->p && strchr("\"\\/bfnrt", *c->p++);
	if (c->end - c->p < 5)
		return false;
	for (int i = 1; i < 5; i++)
		if (hex(c->p[i]) < 0)
			return false;
	c->p += 5;
	return true;
}

static bool skip_string(struct span *c)
{
	if (!take(c, '"'))
		return false;
	while (c->p < c->end) {
		unsigned char ch = (unsigned char)*c->p++;

		if (ch == '"')
			return true;
		if (ch < 0x20 || (ch == '\\' && !skip_escape(c)))
			return false;
	}
	return false;
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
	take(c, '-');
	if (!take(c, '0') && !skip_digits(c))
		return false;
	if (take(c, '.') && !skip_digits(c))
		return false;
	if (!take(c, 'e') && !take(c, 'E'))
		return true;
	if (!take(c, '+'))
		take(c, '-');
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

static bool skip_value(struct span *c, int depth);

static bool skip_list(struct span *c, char close, int depth)
{
	c->p++;
	skip_space(c);
	if (take(c, close))
		return true;
	do {
		skip_space(c);
		if (close == '}') {
			if (!skip_string(c))
				return false;
			skip_space(c);
			if (!take(c, ':'))
				return false;
		}
		if (!skip_value(c, depth + 1))
			return false;
	} while (take(c, ','));
	return take(c, close);
}

/* With the space on both sides. */
static bool skip_value(struct span *c, int depth)
{
	bool ok;

	skip_space(c);
	if (c->p == c->end || depth > JSON_SCAN_DEPTH_MAX)
		return false;
	switch (*c->p) {
	case '{':
		ok = skip_list(c, '}', depth);
		break;
	case '[':
		ok = skip_list(c, ']', depth);
		break;
	case '"':
		ok = skip_string(c);
		break;
	case 't':
	case 'f':
	case 'n':
		ok = skip_literal(c);
		break;
	default:
		ok = skip_number(c);
	}
	skip_space(c);
	return ok;
}

/* Without the space. */
static struct span trim(const char *from, const char *to)
{
	struct span s = { from, to };

	skip_space(&s);
	while (s.end > s.p && strchr(" \t\r\n", s.end[-1]))
		s.end--;
	return s;
}

int json_scan(const char *text, size_t len, struct span *ret)
{
	struct span c = { text, text + len };

	if (!text || !skip_value(&c, 0) || c.p != c.end)
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

	skip_space(at);
	if (at->p == at->end)
		return false;
	from = at->p;
	if (*at->p == '"' && skip_string(at)) {
		n = (struct span){ from, at->p };
		skip_space(at);
		if (take(at, ':'))
			from = at->p;
		else
			n.p = n.end;
	}
	/* A string element of an array has been skipped already. */
	if (n.p < n.end || at->p == from)
		skip_value(at, 0);
	if (name)
		*name = n;
	*value = trim(from, at->p);
	take(at, ',');
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
	negative = take(&v, '-');
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
