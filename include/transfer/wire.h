/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_WIRE_H
#define TRANSFER_WIRE_H

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdint.h>

#include "base/error.h"
#include "net/tls.h"

/* The frames of docs/protocol.md. */
#define WIRE_PROTOCOL 1
#define WIRE_HEADER 16
#define WIRE_BODY_MAX ((1u << 20) + 4096)
#define WIRE_JSON_MAX 65536
#define WIRE_PAGES_MAX 256              /* pages per PAGES frame */
#define WIRE_NO_CONTAINER 0xffff
#define WIRE_CONTAINERS_MAX 64

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME,
	WIRE_REFUSE,
	WIRE_PAGES = 10,
	WIRE_ZEROS,
	WIRE_FILE = 20,
	WIRE_DATA,
	WIRE_IMAGE,
	WIRE_CONTAINER_END = 29,
	WIRE_ALL_SENT,
	WIRE_PREPARED = 40,
	WIRE_COMMIT,
	WIRE_RUNNING,
	WIRE_ABORT,
	WIRE_ABORTED
};

struct wire;

struct wire_frame {
	enum wire_type type;
	uint16_t container;
	uint32_t len;
	const uint8_t *body;            /* valid until the next wire_receive */
};

/* Takes the stream over.  deadline of every call: idle_us after its start (nothing moves for that long: -ETIMEDOUT). */
int wire_new(struct tls_stream *s, int64_t idle_us, struct wire **ret, struct error *err);
void wire_free(struct wire *w);
void wire_interrupt(struct wire *w);            /* from any thread: all calls fail from now on */

/* Sending is thread-safe (whole frames). Two parts, so that a head and page data need no copy. */
int wire_send(struct wire *w, enum wire_type type, uint16_t container, const void *head, size_t head_len, const void *data, size_t data_len,
	      struct error *err);
int wire_send_json(struct wire *w, enum wire_type type, uint16_t container, const cJSON *json, struct error *err);
/* Sends ALL_SENT with frames, bytes and digest of everything sent so far. */
int wire_send_end(struct wire *w, struct error *err);

/* One frame; checks length, type and sequence (reason ProtocolError). idle_us 0: the default; negative: wait forever. */
int wire_receive(struct wire *w, int64_t idle_us, struct wire_frame *ret, struct error *err);
/* The body as JSON object. */
int wire_json(const struct wire_frame *f, cJSON **ret, struct error *err);
/* Compares an ALL_SENT frame with what was received. */
int wire_check_end(struct wire *w, const struct wire_frame *f, struct error *err);
uint64_t wire_bytes_sent(const struct wire *w);
uint64_t wire_bytes_received(const struct wire *w);

#endif
