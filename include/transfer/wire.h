/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_WIRE_H
#define TRANSFER_WIRE_H

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "net/tls.h"
#include "transfer/limits.h"

/*
 * The frames of docs/protocol.md.  An agent speaks its own version of them and the one before, so that one side can be upgraded first: when WIRE_PROTOCOL
 * grows, WIRE_PROTOCOL_OLDEST becomes what it was.  Version 1 was never released, so there is nothing to speak it with.
 */
#define WIRE_PROTOCOL 4
#define WIRE_PROTOCOL_OLDEST 3
#define WIRE_PROTOCOL_PACKED 3          /* from this one on, pages may come packed */
#define WIRE_PROTOCOL_AHEAD 4           /* .. and files before FROZEN, patches, CATCH_UP */
#define WIRE_HEADER 16
#define WIRE_PAGES_HEAD 24
#define WIRE_DATA_HEAD 8
#define WIRE_HEAD_MAX 64                /* head of wire_send */
#define WIRE_NO_CONTAINER 0xffff

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME,
	WIRE_REFUSE,
	WIRE_STARTED,
	WIRE_STANDBY,
	WIRE_CATCH_UP,
	WIRE_CAUGHT_UP,
	WIRE_ALIVE,                     /* in the place of silence, while files are compared */
	WIRE_FROZEN = 9,
	WIRE_PAGES = 10,
	WIRE_ZEROS,
	WIRE_WANT,
	WIRE_PACKED,                    /* wire_receive gives PAGES for it */
	WIRE_FILE = 20,
	WIRE_DATA,
	WIRE_IMAGE,
	WIRE_STORED,
	WIRE_CONTAINER_END = 29,
	WIRE_ALL_SENT,
	WIRE_PREPARED = 40,
	WIRE_COMMIT,
	WIRE_RUNNING,
	WIRE_ABORT,
	WIRE_ABORTED,
	WIRE_ENDED,
	WIRE_COMPLETE
};

/* The versions a side speaks, all between the two. */
struct wire_versions {
	int oldest, newest;
};

/* The newest that both speak; -EPROTO (ProtocolError), naming all four and what to do, when there is none. */
int wire_agree(const struct wire_versions *source, const struct wire_versions *destination, int *ret, struct error *err);

struct wire;

struct wire_frame {
	enum wire_type type;
	uint16_t container;
	uint32_t len;
	const uint8_t *body;            /* valid until the next wire_receive; a NUL follows that is not counted */
};

/*
 * Takes the stream over, on failure too.  A call ends with -ETIMEDOUT when nothing moves for idle_us (0: it may take for ever).
 * One thread receives; any number send.
 */
int wire_new(struct tls_stream *s, int64_t idle_us, struct wire **ret, struct error *err);
void wire_free(struct wire *w);
void wire_interrupt(struct wire *w);            /* from any thread: all calls fail from now on */
void wire_cancel(struct wire *w);               /* from any thread: what fills the link (PAGES, ZEROS, PACKED, DATA, STORED) is not sent from now on, -ECANCELED; the rest is */
bool wire_is_given_up(const struct wire *w);    /* by either of these, or by the other side, which has hung up: for who sends nothing for a while, and would not hear of it */
/* For poll(2) in the receiving thread: something may have come when it is readable, or when more has come already than was received. */
int wire_fd(const struct wire *w);
bool wire_has_more(struct wire *w);

/* From now on no more than so many bytes a second are sent; 0: no limit. */
void wire_set_rate(struct wire *w, uint64_t bytes_per_s);
/* What a byte took to send of late, in microseconds, waiting for one's turn among threads not counted; 0: not known yet. */
double wire_cost(struct wire *w);

/*
 * Sending is thread-safe (whole frames). Two parts, so that a head and page data need no copy; head at most WIRE_HEAD_MAX bytes.
 * -EINVAL: the frame would break the protocol, nothing was sent; after any other error nothing can be sent any more.
 */
int wire_send(struct wire *w, enum wire_type type, uint16_t container, const void *head, size_t head_len, const void *data,
	      size_t data_len, struct error *err);
int wire_send_json(struct wire *w, enum wire_type type, uint16_t container, const cJSON *json, struct error *err);
/* For who looks through much and finds nothing to send: ALIVE, when *sent_us (clock_mono_us) is some seconds ago, which is now then. */
int wire_send_alive(struct wire *w, int64_t *sent_us, struct error *err);
/* Sends ALL_SENT with frames, bytes and digest of everything sent so far. */
int wire_send_end(struct wire *w, struct error *err);

/*
 * One frame; checks length, type, sequence and the heads of PAGES, ZEROS and WANT (-EPROTO, reason ProtocolError; the stream is of no
 * use then). idle_us, for its first bytes, 0: the default; negative: wait forever.
 */
int wire_receive(struct wire *w, int64_t idle_us, struct wire_frame *ret, struct error *err);
/* The body as JSON object. */
int wire_json(const struct wire_frame *f, cJSON **ret, struct error *err);
/* Compares an ALL_SENT frame with what was received. */
int wire_check_end(struct wire *w, const struct wire_frame *f, struct error *err);

/* The head of PAGES and ZEROS frames, and all of a WANT. */
struct wire_pages {
	pid_t ns_pid;
	uint64_t address;
	uint32_t pages;
	const uint8_t *data;            /* PAGES: pages * 4096 bytes inside the frame */
};
void wire_pages_pack(const struct wire_pages *p, uint8_t out[WIRE_PAGES_HEAD]);
/* Checks all of it: -EPROTO (ProtocolError). */
int wire_pages_unpack(const struct wire_frame *f, struct wire_pages *ret, struct error *err);

/*
 * The body of STORED: runs of pages that an image goes on with, and that the destination holds already (its page store, under the same container): of shared memory, by numbers from
 * WIRE_SHARED_FIRST on in the place of a process's; 0: pages of zeros.
 */
#define WIRE_STORED_RUN 16
void wire_stored_pack(const struct wire_pages *p, uint8_t out[WIRE_STORED_RUN]);
/* Run i of the frame, checked: -EPROTO (ProtocolError).  data is NULL. */
int wire_stored_unpack(const struct wire_frame *f, uint32_t i, struct wire_pages *ret, struct error *err);

/* Header and body bytes of whole frames so far. */
uint64_t wire_bytes_sent(const struct wire *w);
uint64_t wire_bytes_received(const struct wire *w);

#endif
