/* SPDX-License-Identifier: Apache-2.0 */
#include "managed_fields.h"

#include <errno.h>
#include <string.h>

/*
 * Within a string of JSON each quote has a backslash before it (RFC 8259), so that these bytes, behind a comma or an opening brace, can only be a member's name.
 */
static const char name[] = "\"managedFields\":[";

static const char *find(const char *text, size_t len)
{
	const char *p = memmem(text, len, name, sizeof(name) - 1);

	return p && p > text && (p[-1] == ',' || p[-1] == '{') ? p : NULL;
}

/* Behind the string that begins at p, or NULL. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end; p++) {
		if (*p == '"')
			return p + 1;
		p += *p == '\\';
	}
	return NULL;
}

/* Behind the array that begins at p, or NULL. */
static const char *skip_array(const char *p, const char *end)
{
	int depth = 0;

	while (p && p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
			continue;
		}
		depth += (*p == '[') - (*p == ']');
		p++;
		if (depth == 0)
			return p;
	}
	return NULL;
}

int managed_fields_cut(const char *text, size_t len, struct buf *out)
{
	const char *end = text + len, *from = find(text, len), *to = from ? skip_array(from + sizeof(name) - 2, end) : NULL;
	int r;

	if (!to)
		return -ENOENT;
	/* With the one comma that was between it and a neighbour. */
	if (from[-1] == ',')
		from--;
	else if (to < end && *to == ',')
		to++;
	buf_reset(out);
	r = buf_append(out, text, (size_t)(from - text));
	return r < 0 ? r : buf_append(out, to, (size_t)(end - to));
}
