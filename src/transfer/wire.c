/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/reason.h"
#include "pace.h"
#include "wire_rules.h"

/* The deadline is moved after each of these: "nothing moves for idle_us" ends a call, a slow link does not. */
#define STEP 65536u
/* One TLS record: header, head and the first data leave as one, which matters for the many small frames. */
#define FIRST 16384u

/* What ALL_SENT tells: everything that went one way so far. */
struct tally {
	XXH3_state_t *hash;
	uint64_t frames;
	_Atomic uint64_t bytes;
};

struct wire {
	struct tls_stream *stream;
	int64_t idle_us;

	pthread_mutex_t send_lock;      /* one frame at a time; guards the four below */
	struct pace pace;
	struct tally sent;
	bool send_failed;               /* half a frame may be out: nothing can follow */
	uint8_t first[FIRST];
	_Atomic bool cancelled, over;
	_Atomic double cost;            /* microseconds per byte, of the large frames sent last; written under the lock */

	struct tally received;          /* of the one receiving thread */
	struct tally before_end;        /* as it was when ALL_SENT came; hash unused */
	XXH128_hash_t digest_before_end;
	bool ended;
	uint8_t *body, *unpacked;       /* the second only when something comes packed */
};

static int protocol_error(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int protocol_error(struct error *err, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return error_reason(err, -EPROTO, REASON_ProtocolError, "%s", what);
}

static int tally_init(struct tally *t)
{
	t->hash = XXH3_createState();
	return t->hash && XXH3_128bits_reset(t->hash) == XXH_OK ? 0 : -ENOMEM;
}

static void tally_add(struct tally *t, const void *data, size_t len)
{
	XXH3_128bits_update(t->hash, data, len);
	t->bytes += len;
}

int wire_new(struct tls_stream *s, int64_t idle_us, struct wire **ret, struct error *err)
{
	struct wire *w = calloc(1, sizeof(*w));

	if (w) {
		w->stream = s;
		w->idle_us = idle_us;
		pthread_mutex_init(&w->send_lock, NULL);
		w->body = malloc(WIRE_BODY_MAX + 1);
	}
	if (!w || !w->body || tally_init(&w->sent) < 0 || tally_init(&w->received) < 0) {
		if (w)
			wire_free(w);
		else
			tls_free(s);
		return error_set(err, -ENOMEM, "out of memory for a stream");
	}
	*ret = w;
	return 0;
}

void wire_free(struct wire *w)
{
	if (!w)
		return;
	tls_free(w->stream);
	XXH3_freeState(w->sent.hash);
	XXH3_freeState(w->received.hash);
	pthread_mutex_destroy(&w->send_lock);
	free(w->body);
	free(w->unpacked);
	free(w);
}

void wire_interrupt(struct wire *w)
{
	atomic_store(&w->over, true);
	tls_shutdown(w->stream);
}

int wire_fd(const struct wire *w)
{
	return tls_fd(w->stream);
}

bool wire_has_more(struct wire *w)
{
	return tls_has_more(w->stream);
}

static int write_steps(struct wire *w, const uint8_t *data, size_t len, struct error *err)
{
	while (len) {
		size_t n = len < STEP ? len : STEP;
		int64_t wait = pace_take(&w->pace, n, clock_mono_us());
		int r;

		if (wait > 0)
			usleep((useconds_t)wait);
		r = tls_write(w->stream, data, n, w->idle_us ? clock_mono_us() + w->idle_us : 0, err);

		if (r < 0)
			return r;
		data += n;
		len -= n;
	}
	return 0;
}

#define COST_BYTES 16384u              /* smaller frames tell little of the link */
#define COST_WEIGHT 0.125

static void note_cost(struct wire *w, size_t bytes, int64_t us)
{
	double now = (double)us / (double)bytes, before = atomic_load(&w->cost);

	if (bytes >= COST_BYTES)
		atomic_store(&w->cost, before > 0 ? before + (now - before) * COST_WEIGHT : now);
}

/* Without the lock: who asks wants to pack while another one sends. */
double wire_cost(struct wire *w)
{
	return atomic_load(&w->cost);
}

void wire_set_rate(struct wire *w, uint64_t bytes_per_s)
{
	pthread_mutex_lock(&w->send_lock);
	w->pace = (struct pace){ .rate = bytes_per_s };
	pthread_mutex_unlock(&w->send_lock);
}

/* Under send_lock; the frame has been checked. */
static int send_frame(struct wire *w, struct wire_header *h, const void *head, size_t head_len, const uint8_t *data,
		      size_t data_len, struct error *err)
{
	int64_t start = clock_mono_us();
	size_t used = WIRE_HEADER + head_len, copied = data_len < FIRST - used ? data_len : FIRST - used;
	int r;

	if (w->send_failed)
		return error_reason(err, -EPIPE, REASON_TransferFailed, "the stream failed before");
	h->sequence = (uint32_t)w->sent.frames;
	wire_header_pack(h, w->first);
	if (head_len)
		memcpy(w->first + WIRE_HEADER, head, head_len);
	if (copied)
		memcpy(w->first + used, data, copied);
	r = write_steps(w, w->first, used + copied, err);
	if (r == 0 && copied < data_len)
		r = write_steps(w, data + copied, data_len - copied, err);
	if (r < 0) {
		w->send_failed = true;
		return error_wrap(err, r, "%s frame", wire_type_name(h->type));
	}
	tally_add(&w->sent, w->first, used + copied);
	if (copied < data_len)
		tally_add(&w->sent, data + copied, data_len - copied);
	note_cost(w, used + data_len, clock_mono_us() - start);
	w->sent.frames++;
	return 0;
}

/* Checks by the receiver's rules, so that a mistake of ours is found here and not at the peer. */
static int checked_header(enum wire_type type, uint16_t container, size_t len, struct wire_header *h, struct error *err)
{
	const char *broken;

	if (len > WIRE_BODY_MAX)
		return error_set(err, -EINVAL, "a %s frame of %zu bytes is too long", wire_type_name(type), len);
	*h = (struct wire_header){ .len = (uint32_t)len, .type = (uint8_t)type, .container = container };
	broken = wire_rule_broken(h);
	return broken ? error_set(err, -EINVAL, "cannot send a %s frame of %zu bytes: %s", wire_type_name(type), len, broken) : 0;
}

void wire_cancel(struct wire *w)
{
	atomic_store(&w->cancelled, true);
}

/* Whoever gives up says why and hangs up; nobody sends with one end closed. */
static bool has_hung_up(const struct wire *w)
{
	struct pollfd p = { wire_fd(w), POLLRDHUP, 0 };

	return poll(&p, 1, 0) > 0;
}

bool wire_is_given_up(const struct wire *w)
{
	return atomic_load(&w->cancelled) || atomic_load(&w->over) || has_hung_up(w);
}

static bool is_content(enum wire_type type)
{
	return type == WIRE_PAGES || type == WIRE_ZEROS || type == WIRE_PACKED || type == WIRE_DATA || type == WIRE_STORED;
}

int wire_send(struct wire *w, enum wire_type type, uint16_t container, const void *head, size_t head_len, const void *data,
	      size_t data_len, struct error *err)
{
	struct wire_header h;
	int r;

	if (head_len > WIRE_HEAD_MAX || data_len > WIRE_BODY_MAX) {
		if (data_len || head_len > WIRE_BODY_MAX)
			return error_set(err, -EINVAL, "a %s frame of %zu + %zu bytes is too long", wire_type_name(type),
					 head_len, data_len);
		data = head;
		data_len = head_len;
		head_len = 0;
	}
	if (is_content(type) && atomic_load(&w->cancelled))
		return error_reason(err, -ECANCELED, REASON_TransferFailed, "nothing more is sent, since something else has failed");
	r = checked_header(type, container, head_len + data_len, &h, err);
	if (r < 0)
		return r;
	pthread_mutex_lock(&w->send_lock);
	r = send_frame(w, &h, head, head_len, data, data_len, err);
	pthread_mutex_unlock(&w->send_lock);
	return r;
}

int wire_send_json(struct wire *w, enum wire_type type, uint16_t container, const cJSON *json, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(WIRE_JSON_MAX);
	int r = json_print(json, &text);

	if (r < 0)
		return error_set(err, r, "a %s frame does not fit %d bytes", wire_type_name(type), WIRE_JSON_MAX);
	return wire_send(w, type, container, NULL, 0, text.data, text.len, err);
}

#define ALIVE_US 5000000        /* a stream is given up after 20 s of silence */

int wire_send_alive(struct wire *w, int64_t *sent_us, struct error *err)
{
	if (clock_mono_us() - *sent_us < ALIVE_US)
		return 0;
	*sent_us = clock_mono_us();
	return wire_send(w, WIRE_ALIVE, WIRE_NO_CONTAINER, NULL, 0, "{}", 2, err);
}

#define DIGEST_TEXT 33

static void digest_text(XXH128_hash_t h, char out[DIGEST_TEXT])
{
	snprintf(out, DIGEST_TEXT, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
}

int wire_send_end(struct wire *w, struct error *err)
{
	char text[160], digest[DIGEST_TEXT];
	struct wire_header h;
	int r;

	/* No frame may come between the digest and the frame that tells it. */
	pthread_mutex_lock(&w->send_lock);
	digest_text(XXH3_128bits_digest(w->sent.hash), digest);
	snprintf(text, sizeof(text), "{\"frames\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"digest\":\"%s\"}", w->sent.frames,
		 (uint64_t)w->sent.bytes, digest);
	r = checked_header(WIRE_ALL_SENT, WIRE_NO_CONTAINER, strlen(text), &h, err);
	if (r == 0)
		r = send_frame(w, &h, NULL, 0, (const uint8_t *)text, strlen(text), err);
	pthread_mutex_unlock(&w->send_lock);
	return r;
}

static int read_steps(struct wire *w, uint8_t *data, size_t len, struct error *err)
{
	while (len) {
		size_t n = len < STEP ? len : STEP;
		int r = tls_read(w->stream, data, n, w->idle_us ? clock_mono_us() + w->idle_us : 0, err);

		if (r < 0)
			return r;
		data += n;
		len -= n;
	}
	return 0;
}

static int check_header(const struct wire *w, const struct wire_header *h, struct error *err)
{
	const char *broken = wire_rule_broken(h);

	if (broken)
		return protocol_error(err, "received a frame of type %u (%s), %" PRIu32 " bytes: %s", h->type,
				      wire_type_name(h->type), h->len, broken);
	if (h->sequence != (uint32_t)w->received.frames)
		return protocol_error(err, "received %s frame %" PRIu32 " where %" PRIu32 " was expected",
				      wire_type_name(h->type), h->sequence, (uint32_t)w->received.frames);
	return 0;
}

/* PAGES, ZEROS and WANT tell their length twice; what disagrees goes no further. */
static int check_pages(const struct wire_frame *f, struct error *err)
{
	struct wire_pages p;

	return f->type == WIRE_PAGES || f->type == WIRE_ZEROS || f->type == WIRE_WANT || f->type == WIRE_PACKED ? wire_pages_unpack(f, &p, err) : 0;
}

/* PACKED becomes PAGES; its head says how much it must come to, and is within the limits. */
static int unpack(struct wire *w, struct wire_frame *f, struct error *err)
{
	struct wire_pages p;
	int len, r = wire_pages_unpack(f, &p, err);

	if (r < 0)
		return r;
	len = (int)p.pages * 4096;
	if (!w->unpacked && !(w->unpacked = malloc(WIRE_BODY_MAX + 1)))
		return error_set(err, -ENOMEM, "out of memory for pages");
	memcpy(w->unpacked, f->body, WIRE_PAGES_HEAD);
	if (LZ4_decompress_safe((const char *)p.data, (char *)w->unpacked + WIRE_PAGES_HEAD, (int)(f->len - WIRE_PAGES_HEAD), len) != len)
		return protocol_error(err, "PACKED frame: it does not come to the %d bytes that it says", len);
	*f = (struct wire_frame){ .type = WIRE_PAGES, .container = f->container, .len = WIRE_PAGES_HEAD + (uint32_t)len, .body = w->unpacked };
	return 0;
}

int wire_receive(struct wire *w, int64_t idle_us, struct wire_frame *ret, struct error *err)
{
	int64_t idle = idle_us ? idle_us : w->idle_us;
	uint8_t raw[WIRE_HEADER];
	struct wire_frame f;
	struct wire_header h;
	int r;

	r = tls_read(w->stream, raw, sizeof(raw), idle > 0 ? clock_mono_us() + idle : 0, err);
	if (r < 0)
		return r;
	wire_header_unpack(raw, &h);
	r = check_header(w, &h, err);
	if (r == 0)
		r = read_steps(w, w->body, h.len, err);
	if (r < 0)
		return r;
	w->body[h.len] = '\0';
	f = (struct wire_frame){ .type = (enum wire_type)h.type, .container = h.container, .len = h.len, .body = w->body };
	r = check_pages(&f, err);
	if (r < 0)
		return r;
	if (f.type == WIRE_ALL_SENT) {
		if (w->ended)
			return protocol_error(err, "received ALL_SENT twice");
		w->ended = true;
		w->digest_before_end = XXH3_128bits_digest(w->received.hash);
		w->before_end.frames = w->received.frames;
		w->before_end.bytes = w->received.bytes;
	}
	tally_add(&w->received, raw, sizeof(raw));
	tally_add(&w->received, w->body, h.len);
	w->received.frames++;
	r = f.type == WIRE_PACKED ? unpack(w, &f, err) : 0;
	if (r == 0)
		*ret = f;
	return r;
}

int wire_json(const struct wire_frame *f, cJSON **ret, struct error *err)
{
	struct error inner = { 0 };
	cJSON *json = NULL;

	if (json_parse((const char *)f->body, f->len, WIRE_JSON_MAX, &json, &inner) < 0)
		return protocol_error(err, "%s frame: %.150s", wire_type_name(f->type), inner.message);
	if (!cJSON_IsObject(json)) {
		cJSON_Delete(json);
		return protocol_error(err, "%s frame: not a JSON object", wire_type_name(f->type));
	}
	*ret = json;
	return 0;
}

int wire_check_end(struct wire *w, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *json = NULL;
	int64_t frames = -1, bytes = -1;
	char digest[DIGEST_TEXT];
	int r;

	if (f->type != WIRE_ALL_SENT || !w->ended)
		return protocol_error(err, "%s where ALL_SENT was expected", wire_type_name(f->type));
	r = wire_json(f, &json, err);
	if (r < 0)
		return r;
	json_int(json, "frames", 0, INT64_MAX, &frames);
	json_int(json, "bytes", 0, INT64_MAX, &bytes);
	if (frames != (int64_t)w->before_end.frames || bytes != (int64_t)w->before_end.bytes)
		return protocol_error(err,
				      "%" PRIu64 " frames of %" PRIu64 " bytes came, the source sent %" PRId64 " of %" PRId64,
				      w->before_end.frames, (uint64_t)w->before_end.bytes, frames, bytes);
	digest_text(w->digest_before_end, digest);
	if (strcmp(digest, json_str_or(json, "digest", "")) != 0)
		return protocol_error(err, "the digest of what came differs from the source's");
	return 0;
}

uint64_t wire_bytes_sent(const struct wire *w)
{
	return w->sent.bytes;
}

uint64_t wire_bytes_received(const struct wire *w)
{
	return w->received.bytes;
}
