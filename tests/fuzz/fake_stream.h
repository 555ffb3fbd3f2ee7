/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FUZZ_FAKE_STREAM_H
#define FUZZ_FAKE_STREAM_H

#include <errno.h>
#include <string.h>

#include "net/tls.h"
#include "transfer/wire.h"
#include "transfer/wire_rules.h"

/* A fuzzer's input in the place of the TLS stream that a wire reads from; what is written goes nowhere. */
struct tls_stream {
	const uint8_t *data;
	size_t left;
	bool headers;           /* right headers are made of {type, container, body length (2)}; else they are in the input as they are */
	uint32_t sequence;
};

#define FAKE_FRAMES_MAX 4096    /* headers that are made: an input of empty frames comes to an end */

static void fake_header(struct tls_stream *s, void *out)
{
	struct wire_header h = { .sequence = s->sequence++ };

	h.type = s->data[0];
	h.container = s->data[1] == 0xff ? WIRE_NO_CONTAINER : s->data[1];
	h.len = (uint32_t)s->data[2] | (uint32_t)s->data[3] << 8;
	s->data += 4;
	s->left -= 4;
	wire_header_pack(&h, out);
}

int tls_read(struct tls_stream *s, void *data, size_t len, int64_t deadline_us, struct error *err)
{
	(void)deadline_us;
	(void)err;
	if (s->headers && len == WIRE_HEADER && s->left >= 4 && s->sequence < FAKE_FRAMES_MAX) {
		fake_header(s, data);
		return 0;
	}
	if (len > s->left)
		return -EPIPE;
	memcpy(data, s->data, len);
	s->data += len;
	s->left -= len;
	return 0;
}

int tls_write(struct tls_stream *s, const void *data, size_t len, int64_t deadline_us, struct error *err)
{
	(void)s;
	(void)data;
	(void)len;
	(void)deadline_us;
	(void)err;
	return 0;
}

int tls_fd(const struct tls_stream *s)
{
	(void)s;
	return -1;
}

bool tls_has_more(struct tls_stream *s)
{
	return s->left > 0;
}

void tls_shutdown(struct tls_stream *s)
{
	(void)s;
}

void tls_free(struct tls_stream *s)
{
	(void)s;
}

#endif
