/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_pick.h"

#include <errno.h>
#include <string.h>

#include "base/json_skip.h"

/* There is always room: nothing is put that did not stand in the text before, in the same order. */
static void put(struct buf *out, const char *from, size_t len)
{
	memcpy(out->data + out->len, from, len);
	out->len += len;
}

/* name: with its quotes. */
static const struct json_want *find(const struct json_want *want, struct span name)
{
	size_t len = (size_t)(name.end - name.p) - 2;
	char first = name.p[1];

	for (; want->name; want++)
		if (want->name[0] == '*' || (want->name[0] == first && !strncmp(want->name, name.p + 1, len) && !want->name[len]))
			return want->unwanted ? NULL : want;
	return NULL;
}

static bool pick(struct span *c, const struct json_want *want, struct buf *out, int depth);

static bool pick_member(struct span *c, const struct json_want *want, struct buf *out, bool first, int depth)
{
	struct span name = { c->p, NULL };

	if (!json_skip_string(c))
		return false;
	name.end = c->p;
	json_skip_space(c);
	if (!json_skip_char(c, ':'))
		return false;
	want = find(want, name);
	if (!want)
		return json_skip_value(c, depth);
	if (!first)
		put(out, ",", 1);
	put(out, name.p, (size_t)(name.end - name.p));
	put(out, ":", 1);
	return pick(c, want->members, out, depth);
}

static bool pick_list(struct span *c, const struct json_want *want, struct buf *out, int depth)
{
	char open = *c->p++, close = open == '{' ? '}' : ']';
	size_t begin = out->len + 1;

	put(out, &open, 1);
	json_skip_space(c);
	if (c->p < c->end && *c->p != close)
		do {
			bool first = out->len == begin;

			json_skip_space(c);
			if (open == '[' && !first)
				put(out, ",", 1);
			if (!(open == '{' ? pick_member(c, want, out, first, depth + 1) : pick(c, want, out, depth + 1)))
				return false;
		} while (json_skip_char(c, ','));
	if (!json_skip_char(c, close))
		return false;
	put(out, &close, 1);
	return true;
}

/* want NULL: everything. */
static bool pick(struct span *c, const struct json_want *want, struct buf *out, int depth)
{
	const char *from;
	bool ok;

	json_skip_space(c);
	from = c->p;
	if (!want || from == c->end || (*from != '{' && *from != '[')) {
		ok = json_skip_value(c, depth);
		put(out, from, (size_t)(c->p - from));
		return ok;
	}
	if (depth > JSON_SKIP_DEPTH_MAX)
		return false;
	ok = pick_list(c, want, out, depth);
	json_skip_space(c);
	return ok;
}

int json_pick(const char *text, size_t len, const struct json_want *want, struct buf *out)
{
	struct span c = { text, text + len };
	int r;

	buf_reset(out);
	r = buf_reserve(out, len);
	if (r < 0)
		return r;
	if (!pick(&c, want, out, 0) || c.p != c.end) {
		buf_reset(out);
		return -EINVAL;
	}
	out->data[out->len] = '\0';
	return 0;
}
