/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

/*
 * A byte buffer that is born with its maximum size; data is always followed by a NUL that is not counted.
 * struct buf b = BUF_INIT(max); ... buf_free(&b).
 */
struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t max;
};

#define BUF_INIT(max_) { NULL, 0, 0, (max_) }

/* All return 0, -ENOSPC when max would be passed (nothing added), -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_puts(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_reserve(struct buf *b, size_t extra);

void buf_reset(struct buf *b);                  /* empties, keeps the memory */
void buf_consume(struct buf *b, size_t n);      /* drops the first n bytes */
void buf_free(struct buf *b);
#define cleanup_buf __attribute__((__cleanup__(buf_free)))

#endif
