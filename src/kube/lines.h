/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_LINES_H
#define KUBE_LINES_H

#include <stddef.h>

#include "base/buf.h"

/*
 * Puts lines together from pieces of any size: a watch's events end with a newline each, but chunks and TLS records cut them
 * anywhere and join several.  Each byte is looked at once; a line that lies within one piece is not copied.
 */
struct lines {
	struct buf part;                /* the beginning of a line that has not ended; part.max: the longest line */
};

#define LINES_INIT(max_) { BUF_INIT(max_) }

/*
 * 0, or what on_line returned when it was not 0 (the rest of the piece is dropped then), or -EMSGSIZE, -ENOMEM. Empty lines are
 * skipped.
 */
typedef int lines_fn(void *ctx, const char *line, size_t len);
int lines_feed(struct lines *l, const char *data, size_t len, lines_fn *on_line, void *ctx);
/* The stream has ended: what is left is a line too. */
int lines_end(struct lines *l, lines_fn *on_line, void *ctx);
void lines_reset(struct lines *l);      /* forgets and frees */

#endif
