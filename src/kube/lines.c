/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <errno.h>
#include <string.h>

/* One large event should not keep its memory for the life of a watch. */
#define KEEP_MAX 65536

void lines_reset(struct lines *l)
{
	buf_free(&l->part);
}

static int add(struct lines *l, const char *data, size_t len)
{
	int r = buf_append(&l->part, data, len);

	return r == -ENOSPC ? -EMSGSIZE : r;
}

int lines_end(struct lines *l, lines_fn *on_line, void *ctx)
{
	int r = l->part.len ? on_line(ctx, l->part.data, l->part.len) : 0;

	if (l->part.cap > KEEP_MAX)
		buf_free(&l->part);
	else
		buf_reset(&l->part);
	return r;
}

int lines_feed(struct lines *l, const char *data, size_t len, lines_fn *on_line, void *ctx)
{
	while (len) {
		const char *nl = memchr(data, '\n', len);
		size_t n = nl ? (size_t)(nl - data) : len;
		int r = 0;

		if (!nl)
			return add(l, data, n);
		if (n > l->part.max)
			return -EMSGSIZE;
		if (!l->part.len) {
			r = n ? on_line(ctx, data, n) : 0;
		} else {
			r = add(l, data, n);
			if (r == 0)
				r = lines_end(l, on_line, ctx);
		}
		if (r)
			return r;
		data += n + 1;
		len -= n + 1;
	}
	return 0;
}
