/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "migration/reason.h"
#include "stream_pair.h"
#include "transfer/wire.h"
#include "transfer/pace.h"
#include "transfer/packer.h"
#include "transfer/wire_rules.h"

#define SECOND 1000000LL

static void json_both_ways(void **state)
{
	cleanup_json cJSON *json = cJSON_Parse("{\"a\":[1,2,3]}"), *got = NULL;
	struct wire_frame f;
	struct error err = { 0 };
	struct wire *w[2];

	(void)state;
	wire_pair(w, 5 * SECOND);
	assert_int_equal(wire_send_json(w[0], WIRE_HELLO, WIRE_NO_CONTAINER, json, &err), 0);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
	assert_int_equal(f.type, WIRE_HELLO);
	assert_int_equal(f.container, WIRE_NO_CONTAINER);
	assert_int_equal(f.body[f.len], 0);
	assert_int_equal(wire_json(&f, &got, &err), 0);
	assert_true(cJSON_Compare(json, got, 1));
	assert_int_equal(wire_send_json(w[1], WIRE_WELCOME, WIRE_NO_CONTAINER, json, &err), 0);
	assert_int_equal(wire_receive(w[0], -1, &f, &err), 0);
	assert_int_equal(f.type, WIRE_WELCOME);
	assert_int_equal(wire_bytes_sent(w[0]), WIRE_HEADER + strlen("{\"a\":[1,2,3]}"));
	assert_int_equal(wire_bytes_sent(w[0]), wire_bytes_received(w[1]));
	wire_free(w[0]);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), -EPIPE);
	wire_free(w[1]);
	wire_free(NULL);
}

/* Bodies of every interesting size: around one TLS record, one step, the largest. */
static void sizes(void **state)
{
	static const uint32_t lengths[] = { 0,     1,     16384 - 24, 16384 - 25, 16384 - 23, 65536 - 8, 65536,
					    65537, 99999, 1u << 20 };
	uint8_t *data = malloc(1u << 20), head[WIRE_DATA_HEAD] = "headhead";
	struct wire_frame f;
	struct error err = { 0 };
	struct wire *w[2];

	(void)state;
	for (uint32_t i = 0; i < 1u << 20; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 8));
	wire_pair(w, 5 * SECOND);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		assert_int_equal(wire_send(w[0], WIRE_DATA, 3, head, sizeof(head), data, lengths[i], &err), 0);
		assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
		assert_int_equal(f.type, WIRE_DATA);
		assert_int_equal(f.container, 3);
		assert_int_equal(f.len, lengths[i] + sizeof(head));
		assert_memory_equal(f.body, head, sizeof(head));
		assert_memory_equal(f.body + sizeof(head), data, lengths[i]);
	}
	wire_free(w[0]);
	wire_free(w[1]);
	free(data);
}

static void own_mistakes(void **state)
{
	static const uint8_t zeros[WIRE_BODY_MAX + 1];
	cleanup_json cJSON *big = cJSON_CreateObject();
	char *text = calloc(1, WIRE_JSON_MAX + 1);
	struct error err = { 0 };
	struct wire *w[2];
	struct wire_frame f;

	(void)state;
	wire_pair(w, 5 * SECOND);
	const struct {
		int type;
		uint16_t container;
		size_t head, data;
	} bad[] = {
		{ WIRE_DATA, 0, 8, (1u << 20) + 1 },
		{ WIRE_DATA, 0, 7, 0 },
		{ WIRE_PAGES, WIRE_NO_CONTAINER, 24, 4096 },
		{ WIRE_DATA, WIRE_CONTAINERS_MAX, 8, 1 },
		{ WIRE_HELLO, WIRE_NO_CONTAINER, 0, WIRE_JSON_MAX + 1 },
		{ WIRE_PAGES, 0, 24, 0 },
		{ WIRE_PAGES, 0, 24, sizeof(zeros) },
		{ 15, 0, 0, 8 },
		{ 99, 0, 0, 8 },
		{ -1, 0, 0, 8 },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(wire_send(w[0], (enum wire_type)bad[i].type, bad[i].container, zeros, bad[i].head, zeros,
					   bad[i].data, &err),
				 -EINVAL);
	memset(text, 'x', WIRE_JSON_MAX);
	cJSON_AddStringToObject(big, "text", text);
	assert_int_equal(wire_send_json(w[0], WIRE_HELLO, WIRE_NO_CONTAINER, big, &err), -ENOSPC);
	/* Nothing of that was sent: the stream is still good. */
	assert_int_equal(wire_bytes_sent(w[0]), 0);
	assert_int_equal(wire_send(w[0], WIRE_DATA, 0, zeros, 8, zeros, 1, &err), 0);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
	wire_free(w[0]);
	wire_free(w[1]);
	free(text);
}

/* Writes raw bytes to a wire and expects its word on them. */
static void expect_raw(const void *data, size_t len, bool close_after, int result, int reason)
{
	struct tls_stream *s[2];
	struct wire_frame f = { .type = WIRE_HELLO };
	struct error err = { 0 };
	struct wire *w;

	stream_pair(s);
	assert_int_equal(wire_new(s[1], 200000, &w, &err), 0);
	assert_int_equal(tls_write(s[0], data, len, 0, &err), 0);
	if (close_after)
		tls_free(s[0]);
	assert_int_equal(wire_receive(w, 0, &f, &err), result);
	assert_int_equal(err.reason, reason);
	if (!close_after)
		tls_free(s[0]);
	wire_free(w);
}

static void malformed_headers(void **state)
{
	static const struct wire_header bad[] = {
		{ .len = 8, .type = 0 },
		{ .len = 8, .type = 15 },
		{ .len = 8, .type = 255 },
		{ .len = WIRE_BODY_MAX + 1, .type = WIRE_DATA },
		{ .len = UINT32_MAX, .type = WIRE_DATA },
		{ .len = WIRE_JSON_MAX + 1, .type = WIRE_HELLO, .container = WIRE_NO_CONTAINER },
		{ .len = 7, .type = WIRE_DATA },
		{ .len = 0, .type = WIRE_HELLO },
		{ .len = 24, .type = WIRE_PAGES },
		{ .len = 25, .type = WIRE_ZEROS },
		{ .len = 8, .type = WIRE_DATA, .flags = 1 },
		{ .len = 8, .type = WIRE_DATA, .specific = 1 },
		{ .len = 8, .type = WIRE_DATA, .container = WIRE_CONTAINERS_MAX },
		{ .len = 24, .type = WIRE_ZEROS, .container = WIRE_NO_CONTAINER },
		{ .len = 8, .type = WIRE_DATA, .sequence = 1 },
		{ .len = 8, .type = WIRE_DATA, .sequence = UINT32_MAX },
	};
	uint8_t raw[WIRE_HEADER + 64] = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		wire_header_pack(&bad[i], raw);
		expect_raw(raw, sizeof(raw), false, -EPROTO, REASON_ProtocolError);
	}
}

static void malformed_pages(void **state)
{
	struct {
		struct wire_pages p;
		uint32_t reserved, reserved2;
		uint8_t type;
		uint32_t data;
	} bad[] = {
		{ .p = { 1, 0x1000, 0, NULL }, .type = WIRE_PAGES, .data = 4096 },
		{ .p = { 1, 0x1000, 2, NULL }, .type = WIRE_PAGES, .data = 4096 },
		{ .p = { 1, 0x1000, 1, NULL }, .type = WIRE_PAGES, .data = 8192 },
		{ .p = { 1, 0x1000, 1, NULL }, .type = WIRE_PAGES, .data = 4097 },
		{ .p = { 1, 0x1001, 1, NULL }, .type = WIRE_PAGES, .data = 4096 },
		{ .p = { 0, 0x1000, 1, NULL }, .type = WIRE_PAGES, .data = 4096 },
		{ .p = { -1, 0x1000, 1, NULL }, .type = WIRE_PAGES, .data = 4096 },
		{ .p = { 1, 0xfffffffffffff000, 1, NULL }, .type = WIRE_PAGES, .data = 4096 },
		{ .p = { 1, 0xfffffffffffff000, 2, NULL }, .type = WIRE_ZEROS },
		{ .p = { 1, (1ull << 56) - 4096, 2, NULL }, .type = WIRE_ZEROS },
		{ .p = { 1, 0x1000, WIRE_ZEROS_MAX + 1, NULL }, .type = WIRE_ZEROS },
		{ .p = { 1, 0x1000, UINT32_MAX, NULL }, .type = WIRE_ZEROS },
		{ .p = { 1, 0x1000, 1, NULL }, .type = WIRE_ZEROS, .reserved = 1 },
		{ .p = { 1, 0x1000, 1, NULL }, .type = WIRE_ZEROS, .reserved2 = 1 },
	};
	uint8_t raw[WIRE_HEADER + WIRE_PAGES_HEAD + 8192];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wire_header h = { .len = WIRE_PAGES_HEAD + bad[i].data, .type = bad[i].type };

		memset(raw, 0, sizeof(raw));
		wire_header_pack(&h, raw);
		wire_pages_pack(&bad[i].p, raw + WIRE_HEADER);
		memcpy(raw + WIRE_HEADER + 4, &bad[i].reserved, 4);
		memcpy(raw + WIRE_HEADER + 20, &bad[i].reserved2, 4);
		expect_raw(raw, WIRE_HEADER + h.len, false, -EPROTO, REASON_ProtocolError);
	}
}

static void truncated(void **state)
{
	struct wire_header h = { .len = 100, .type = WIRE_DATA };
	uint8_t raw[WIRE_HEADER + 100] = { 0 };

	(void)state;
	wire_header_pack(&h, raw);
	for (size_t len = 1; len < sizeof(raw); len += 19)
		expect_raw(raw, len, true, -EPIPE, REASON_TransferFailed);
	expect_raw(raw, sizeof(raw) - 1, false, -ETIMEDOUT, REASON_TransferFailed);
	expect_raw(raw, 3, false, -ETIMEDOUT, REASON_TransferFailed);
}

/* A second frame with the number of the first, and one that skips a number. */
static void out_of_sequence(void **state)
{
	(void)state;
	for (uint32_t second = 0; second < 4; second++) {
		struct wire_header h = { .len = 8, .type = WIRE_DATA };
		uint8_t raw[2 * (WIRE_HEADER + 8)] = { 0 };
		struct tls_stream *s[2];
		struct wire_frame f;
		struct error err = { 0 };
		struct wire *w;

		stream_pair(s);
		assert_int_equal(wire_new(s[1], SECOND, &w, &err), 0);
		wire_header_pack(&h, raw);
		h.sequence = second;
		wire_header_pack(&h, raw + WIRE_HEADER + 8);
		assert_int_equal(tls_write(s[0], raw, sizeof(raw), 0, &err), 0);
		assert_int_equal(wire_receive(w, 0, &f, &err), 0);
		assert_int_equal(wire_receive(w, 0, &f, &err), second == 1 ? 0 : -EPROTO);
		tls_free(s[0]);
		wire_free(w);
	}
}

static void random_bytes(void **state)
{
	(void)state;
	srandom(42);
	for (int round = 0; round < 50; round++) {
		struct tls_stream *s[2];
		struct wire_frame f;
		struct error err = { 0 };
		struct wire *w;
		uint8_t raw[256];
		int r;

		for (size_t i = 0; i < sizeof(raw); i++)
			raw[i] = (uint8_t)random();
		if (round % 2)
			memset(raw, 0, 4);
		stream_pair(s);
		assert_int_equal(wire_new(s[1], SECOND, &w, &err), 0);
		assert_int_equal(tls_write(s[0], raw, sizeof(raw), 0, &err), 0);
		tls_free(s[0]);
		while ((r = wire_receive(w, 0, &f, &err)) == 0)
			;
		assert_true(err.reason == REASON_ProtocolError || err.reason == REASON_TransferFailed);
		wire_free(w);
	}
}

static void not_json(void **state)
{
	static const char *const texts[] = { "{}x", "[1]", "\"x\"", "{\"a\":", "nul", "{\"a\":1}\0" };
	cJSON *json = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct wire_frame f = { .type = WIRE_HELLO,
					.len = (uint32_t)strlen(texts[i]),
					.body = (const uint8_t *)texts[i] };
		struct error err = { 0 };

		if (i == 5)
			f.len++;
		assert_int_equal(wire_json(&f, &json, &err), -EPROTO);
		assert_int_equal(err.reason, REASON_ProtocolError);
		assert_null(json);
	}
}

/* Several senders at once; each frame whole, and the end tells exactly what was sent. */
#define SENDERS 4
#define FRAMES 300

struct many {
	struct wire *w;
	uint16_t container;
	int result;
};

static uint32_t many_len(uint16_t container, uint32_t i)
{
	return (uint32_t)((container * 7919u + i * 104729u) % 50000u);
}

static void *send_many(void *arg)
{
	struct many *m = arg;
	uint8_t *data = malloc(50000);
	struct error err = { 0 };

	for (uint32_t i = 0; i < FRAMES && m->result == 0; i++) {
		uint64_t head = i;

		memset(data, (int)(m->container * 50 + i % 50), 50000);
		m->result = wire_send(m->w, WIRE_DATA, m->container, &head, 8, data, many_len(m->container, i), &err);
	}
	free(data);
	return NULL;
}

static void receive_many(struct wire *w)
{
	uint32_t next[SENDERS] = { 0 };
	struct error err = { 0 };
	struct wire_frame f;

	for (;;) {
		uint64_t i;

		if (wire_receive(w, 0, &f, &err) < 0)
			fail_msg("%s", err.message);
		if (f.type == WIRE_ALL_SENT)
			break;
		assert_true(f.container < SENDERS);
		memcpy(&i, f.body, 8);
		assert_int_equal(i, next[f.container]++);
		assert_int_equal(f.len - 8, many_len(f.container, (uint32_t)i));
		for (uint32_t k = 8; k < f.len; k++)
			if (f.body[k] != (uint8_t)(f.container * 50 + i % 50))
				fail_msg("frames were mixed");
	}
	for (int i = 0; i < SENDERS; i++)
		assert_int_equal(next[i], FRAMES);
	if (wire_check_end(w, &f, &err) < 0)
		fail_msg("%s", err.message);
}

static void *send_all(void *arg)
{
	struct wire *w = arg;
	struct many many[SENDERS];
	pthread_t threads[SENDERS];
	struct error err = { 0 };

	for (uint16_t i = 0; i < SENDERS; i++) {
		many[i] = (struct many){ .w = w, .container = i };
		pthread_create(&threads[i], NULL, send_many, &many[i]);
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	wire_send_end(w, &err);
	return NULL;
}

static void many_senders(void **state)
{
	struct wire_frame f;
	struct error err = { 0 };
	struct wire *w[2];
	pthread_t t;

	(void)state;
	wire_pair(w, 5 * SECOND);
	assert_int_equal(pthread_create(&t, NULL, send_all, w[0]), 0);
	receive_many(w[1]);
	pthread_join(t, NULL);
	assert_int_equal(wire_bytes_sent(w[0]), wire_bytes_received(w[1]));
	/* Frames go on after ALL_SENT, but there is only one of it. */
	assert_int_equal(wire_send(w[0], WIRE_COMMIT, WIRE_NO_CONTAINER, "{}", 2, NULL, 0, &err), 0);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
	assert_int_equal(wire_check_end(w[1], &f, &err), -EPROTO);
	assert_int_equal(wire_send_end(w[0], &err), 0);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), -EPROTO);
	wire_free(w[0]);
	wire_free(w[1]);
}

/* An end that tells something else than what came. */
static void wrong_end(void **state)
{
	static const char *const ends[] = {
		"{\"frames\":2,\"bytes\":%d,\"digest\":\"%s\"}",
		"{\"frames\":1,\"bytes\":1%d,\"digest\":\"%s\"}",
		"{\"frames\":1,\"bytes\":%d,\"digest\":\"0%s\"}",
		"{\"frames\":1,\"bytes\":%d,\"digest\":\"00000000000000000000000000000000\"}",
		"{\"frames\":1,\"bytes\":%d}",
		"{}",
		"[]",
		"{\"frames\":-1,\"bytes\":%d,\"digest\":\"%s\"}",
		"{\"frames\":1.5,\"bytes\":%d,\"digest\":\"%s\"}",
		"{\"frames\":1,\"bytes\":%d,\"digest\":\"%s\"}",
	};
	const size_t good = sizeof(ends) / sizeof(ends[0]) - 1;
	cleanup_free char *digest = NULL;
	struct wire_frame f;
	struct error err = { 0 };
	struct wire *w[2];

	(void)state;
	for (size_t i = 0; i <= good + 1; i++) {
		cleanup_buf struct buf text = BUF_INIT(256);
		/* The first round only learns the right digest. */
		const char *end = i == 0 ? NULL : ends[i - 1];

		wire_pair(w, SECOND);
		assert_int_equal(wire_send(w[0], WIRE_DATA, 0, "12345678", 8, "abc", 3, &err), 0);
		assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
		if (!end) {
			cleanup_json cJSON *json = NULL;

			assert_int_equal(wire_send_end(w[0], &err), 0);
			assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
			assert_int_equal(wire_json(&f, &json, &err), 0);
			digest = strdup(json_str(json, "digest"));
			assert_int_equal(strlen(digest), 32);
		} else {
			for (const char *p = end; *p; p++) {
				if (p[0] == '%' && p[1] == 'd')
					buf_printf(&text, "%d", WIRE_HEADER + 11);
				else if (p[0] == '%')
					buf_puts(&text, digest);
				else
					buf_append(&text, p, 1);
				p += *p == '%';
			}
			assert_int_equal(wire_send(w[0], WIRE_ALL_SENT, WIRE_NO_CONTAINER, NULL, 0, text.data, text.len, &err),
					 0);
			assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
			assert_int_equal(wire_check_end(w[1], &f, &err), end == ends[good] ? 0 : -EPROTO);
			assert_int_equal(err.reason, end == ends[good] ? 0 : REASON_ProtocolError);
		}
		wire_free(w[0]);
		wire_free(w[1]);
		err.reason = 0;
	}
}

static void *receive_forever(void *arg)
{
	struct wire_frame f;
	struct error err = { 0 };

	return (void *)(intptr_t)wire_receive(arg, -1, &f, &err);
}

static void interrupted(void **state)
{
	struct error err = { 0 };
	struct wire *w[2];
	pthread_t t;
	void *r;

	(void)state;
	wire_pair(w, 0);
	assert_int_equal(pthread_create(&t, NULL, receive_forever, w[0]), 0);
	usleep(100000);
	wire_interrupt(w[0]);
	pthread_join(t, &r);
	assert_int_equal((intptr_t)r, -ECANCELED);
	assert_int_equal(wire_send(w[0], WIRE_DATA, 0, "12345678", 8, NULL, 0, &err), -ECANCELED);
	assert_int_equal(wire_send(w[0], WIRE_DATA, 0, "12345678", 8, NULL, 0, &err), -EPIPE);
	assert_int_equal(err.reason, REASON_TransferFailed);
	wire_free(w[0]);
	wire_free(w[1]);
}

/* A link that is slow but moves does not end a call; one that stands still does. */
static void *slow_sender(void *arg)
{
	struct tls_stream *s = arg;
	struct wire_header h = { .len = 1u << 20, .type = WIRE_DATA };
	uint8_t raw[WIRE_HEADER], *body = calloc(1, 1u << 20);
	struct error err = { 0 };

	wire_header_pack(&h, raw);
	tls_write(s, raw, sizeof(raw), 0, &err);
	for (int i = 0; i < 16; i++) {
		usleep(50000);
		tls_write(s, body, 65536, 0, &err);
	}
	free(body);
	return NULL;
}

static void slow_is_not_stuck(void **state)
{
	struct tls_stream *s[2];
	struct wire_frame f;
	struct error err = { 0 };
	struct wire *w;
	pthread_t t;

	(void)state;
	stream_pair(s);
	assert_int_equal(wire_new(s[1], 400000, &w, &err), 0);
	assert_int_equal(pthread_create(&t, NULL, slow_sender, s[0]), 0);
	assert_int_equal(wire_receive(w, 0, &f, &err), 0);      /* 0.8 s in all */
	pthread_join(t, NULL);
	assert_int_equal(f.len, 1u << 20);
	assert_int_equal(wire_receive(w, 100000, &f, &err), -ETIMEDOUT);
	tls_free(s[0]);
	wire_free(w);
}

/* --- packed pages --- */

static void *receive_pages(void *arg)
{
	struct wire_frame f;
	struct error err = { 0 };
	uint8_t *copy = NULL;

	if (wire_receive(arg, 0, &f, &err) == 0 && f.type == WIRE_PAGES && (copy = malloc(f.len)))
		memcpy(copy, f.body, f.len);
	return copy;
}

static void packed_pages(void **state)
{
	const struct wire_pages p = { .ns_pid = 7, .address = 0x10000, .pages = 64 };
	static uint8_t data[64 * 4096];
	uint8_t head[WIRE_PAGES_HEAD], *got;
	struct error err = { 0 };
	struct packer *packer;
	const uint8_t *packed;
	struct wire *w[2];
	size_t n = 0;
	pthread_t t;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / 97);
	wire_pair(w, 5000000);
	assert_int_equal(packer_new(&packer, &err), 0);
	/* So slow a link that it pays whatever the machine; the first is only looked at. */
	assert_int_equal(packer_pack(packer, data, sizeof(data), 1.0, &packed), 0);
	n = packer_pack(packer, data, sizeof(data), 1.0, &packed);
	assert_in_range(n, 1, sizeof(data) / 2);
	wire_pages_pack(&p, head);
	assert_int_equal(pthread_create(&t, NULL, receive_pages, w[1]), 0);
	assert_int_equal(wire_send(w[0], WIRE_PACKED, 0, head, sizeof(head), packed, n, &err), 0);
	pthread_join(t, (void **)&got);
	assert_non_null(got);
	assert_memory_equal(got, head, sizeof(head));
	assert_memory_equal(got + sizeof(head), data, sizeof(data));
	free(got);
	/* One that says less, and one that is cut off. */
	for (int i = 0; i < 2; i++) {
		struct wire_pages wrong = p;
		struct wire_frame f;

		wrong.pages -= i == 0;
		wire_pages_pack(&wrong, head);
		assert_int_equal(wire_send(w[0], WIRE_PACKED, 0, head, sizeof(head), packed, n - (size_t)i, &err), 0);
		assert_int_equal(wire_receive(w[1], 0, &f, &err), -EPROTO);
	}
	packer_free(packer);
	wire_free(w[0]);
	wire_free(w[1]);
}

/* What cannot be packed goes as it is, and where the link is faster than the packing nothing is packed. */
static void packing_pays(void **state)
{
	static uint8_t data[1 << 20];
	struct error err = { 0 };
	struct packer *packer;
	const uint8_t *packed;

	(void)state;
	assert_true(packer_pays(0.002, 0.5, 0.008));
	assert_false(packer_pays(0.002, 0.5, 0.001));
	assert_false(packer_pays(0.002, 0.99, 0.008));
	assert_false(packer_pays(0, 0, 1));
	srandom(1);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)random();
	assert_int_equal(packer_new(&packer, &err), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(packer_pack(packer, data, sizeof(data), 1.0, &packed), 0);
	memset(data, 1, sizeof(data));
	for (int i = 0; i < 100; i++)
		assert_int_equal(packer_pack(packer, data, sizeof(data), 0.00001, &packed), 0);
	packer_free(packer);
}

static void no_faster_than_allowed(void **state)
{
	struct pace p = { .rate = 1000000 };
	int64_t now = 1000000;

	(void)state;
	/* 50 ms worth at once, then one after the other. */
	assert_int_equal(pace_take(&p, 50000, now), 0);
	assert_int_equal(pace_take(&p, 100000, now), 0);
	assert_int_equal(pace_take(&p, 65536, now), 100000);
	now += 165536;
	assert_int_equal(pace_take(&p, 1, now), 0);
	p.rate = 0;
	assert_int_equal(pace_take(&p, 1 << 30, now), 0);
}

/* Until nobody takes it. */
static void *fill_the_link(void *w)
{
	static const uint8_t data[WIRE_DATA_MAX];
	uint64_t offset = 0;
	struct error err = { 0 };

	while (wire_send(w, WIRE_DATA, 0, &offset, sizeof(offset), data, sizeof(data), &err) == 0)
		;
	return NULL;
}

/* What a byte costs is asked by threads that have something to pack: they do not wait for the one that sends. */
static void the_cost_is_told_meanwhile(void **state)
{
	struct wire *w[2];
	uint64_t before;
	int64_t start;
	pthread_t t;

	(void)state;
	wire_pair(w, 60 * SECOND);
	assert_true(wire_cost(w[0]) <= 0);
	start = clock_mono_us();
	assert_int_equal(pthread_create(&t, NULL, fill_the_link, w[0]), 0);
	while (wire_cost(w[0]) <= 0 && clock_mono_us() - start < 30 * SECOND)
		usleep(1000);
	/* Until it stands. */
	do {
		before = wire_bytes_sent(w[0]);
		usleep(SECOND / 2);
	} while (wire_bytes_sent(w[0]) != before);
	start = clock_mono_us();
	assert_true(wire_cost(w[0]) > 0);
	assert_true(clock_mono_us() - start < 10 * SECOND);
	wire_interrupt(w[0]);
	pthread_join(t, NULL);
	wire_free(w[0]);
	wire_free(w[1]);
}

/* One that gives up says so on the same stream, whole frames being out. */
static void cancelled_content_leaves_room_for_words(void **state)
{
	static const enum wire_type contents[] = { WIRE_PAGES, WIRE_ZEROS, WIRE_PACKED, WIRE_DATA };
	uint8_t head[WIRE_PAGES_HEAD], page[4096] = { 1 };
	struct error err = { 0 };
	struct wire_frame f;
	struct wire *w[2];

	(void)state;
	wire_pages_pack(&(struct wire_pages){ .ns_pid = 1, .address = 4096, .pages = 1 }, head);
	wire_pair(w, 5000000);
	assert_int_equal(wire_send(w[0], WIRE_PAGES, 0, head, sizeof(head), page, sizeof(page), &err), 0);
	wire_cancel(w[0]);
	for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		err = (struct error){ 0 };
		assert_int_equal(wire_send(w[0], contents[i], 0, head, sizeof(head), page, sizeof(page), &err), -ECANCELED);
		assert_int_equal(err.reason, REASON_TransferFailed);
	}
	assert_int_equal(wire_send(w[0], WIRE_ABORT, WIRE_NO_CONTAINER, NULL, 0, "{}", 2, &err), 0);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
	assert_int_equal(f.type, WIRE_PAGES);
	assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
	assert_int_equal(f.type, WIRE_ABORT);
	wire_free(w[0]);
	wire_free(w[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_both_ways),    cmocka_unit_test(sizes),           cmocka_unit_test(own_mistakes),
		cmocka_unit_test(malformed_headers), cmocka_unit_test(malformed_pages), cmocka_unit_test(truncated),
		cmocka_unit_test(out_of_sequence),   cmocka_unit_test(random_bytes),    cmocka_unit_test(not_json),
		cmocka_unit_test(many_senders),      cmocka_unit_test(wrong_end),       cmocka_unit_test(interrupted),
		cmocka_unit_test(slow_is_not_stuck), cmocka_unit_test(packed_pages), cmocka_unit_test(packing_pays),
		cmocka_unit_test(the_cost_is_told_meanwhile),
		cmocka_unit_test(no_faster_than_allowed), cmocka_unit_test(cancelled_content_leaves_room_for_words),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("transfer_wire", tests, NULL, NULL);
}
