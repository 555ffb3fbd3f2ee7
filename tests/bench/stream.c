/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agents' stream costs: up to 1 GiB of pages through wire and TLS over loopback, one thread a side, as one container is sent.  MB of 10^6 bytes for each second of the sender's and of
 * the receiver's processor time, and by the clock; of memory that does not compress and of memory that does, with and without packing.  make bench-stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../unit/stream_pair.h"
#include "transfer/packer.h"

#define PAGE 4096u
#define PAGES 256u                      /* in a frame */
#define FRAMES 1024u
#define FRAMES_SLOW 64u                /* on a link of 100 Mbit/s */
#define CHUNK ((size_t)PAGES * PAGE)

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct receiver {
	struct wire *wire;
	unsigned frames;
	double cpu;
	int r;
};

static void *receive_all(void *arg)
{
	struct receiver *v = arg;
	struct wire_frame f;
	struct error err = { 0 };

	for (unsigned i = 0; v->r == 0 && i < v->frames; i++)
		v->r = wire_receive(v->wire, 0, &f, &err);
	v->cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
	if (v->r < 0)
		fprintf(stderr, "%s\n", err.message);
	return NULL;
}

static int send_one(struct wire *w, struct packer *p, uint64_t address, const uint8_t *data)
{
	struct wire_pages pages = { .ns_pid = 1, .address = address, .pages = PAGES };
	uint8_t head[WIRE_PAGES_HEAD];
	const uint8_t *packed;
	struct error err = { 0 };
	size_t n = p ? packer_pack(p, data, CHUNK, wire_cost(w), &packed) : 0;

	wire_pages_pack(&pages, head);
	return n ? wire_send(w, WIRE_PACKED, 0, head, sizeof(head), packed, n, &err) : wire_send(w, WIRE_PAGES, 0, head, sizeof(head), data, CHUNK, &err);
}

/* rate: bytes a second, 0 for no limit. */
static void run(const char *what, const uint8_t *data, bool packing, uint64_t rate, unsigned frames)
{
	struct packer *p = NULL;
	struct wire *w[2];
	struct receiver v = { 0 };
	double begin, cpu, all = (double)frames * (double)CHUNK / 1e6;
	pthread_t t;

	wire_pair(w, 60000000);
	v.wire = w[1];
	v.frames = frames;
	wire_set_rate(w[0], rate);
	if (packing)
		assert_int_equal(packer_new(&p, NULL), 0);
	assert_int_equal(pthread_create(&t, NULL, receive_all, &v), 0);
	begin = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
	for (unsigned i = 0; i < frames; i++)
		assert_int_equal(send_one(w[0], p, (uint64_t)i * CHUNK, data + (i % 16) * CHUNK), 0);
	cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	pthread_join(t, NULL);
	assert_int_equal(v.r, 0);
	begin = seconds(CLOCK_MONOTONIC) - begin;
	printf("| %s | %.0f | %.0f | %.0f | %.2f |\n", what, all / cpu, all / v.cpu, all / begin, (double)wire_bytes_sent(w[0]) / 1e6 / all);
	fflush(stdout);
	packer_free(p);
	wire_free(w[0]);
	wire_free(w[1]);
}

/* A cap as of spec.bandwidth: to the packer it is a link of that speed. */
static const struct {
	const char *name;
	uint64_t rate;
	unsigned frames;
} limit[] = { { "unlimited", 0, FRAMES }, { "1 Gbit/s", 125000000, FRAMES / 2 }, { "100 Mbit/s", 12500000, FRAMES_SLOW } };

static void measure(void **state)
{
	uint8_t *random = malloc(16 * CHUNK), *text = malloc(16 * CHUNK);
	uint64_t x = 88172645463325252u;

	(void)state;
	for (size_t i = 0; i < 16 * CHUNK; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		random[i] = (uint8_t)x;
		/* Half of each line differs from all others. */
		text[i] = i % 64 < 32 ? (uint8_t)x : (uint8_t)('a' + i % 64 % 20);
	}
	printf("| stream | MB/s of the sender's core | of the receiver's core | by the clock | sent of each byte |\n| --- | --- | --- | --- | --- |\n");
	for (size_t i = 0; i < sizeof(limit) / sizeof(limit[0]); i++)
		for (int k = 0; k < 4; k++) {
			char what[96];

			snprintf(what, sizeof(what), "%s, %s, %s", limit[i].name, k < 2 ? "does not compress" : "compresses to half", k % 2 ? "packing may" : "no packing");
			run(what, k < 2 ? random : text, k % 2, limit[i].rate, limit[i].frames);
		}
	free(random);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(measure) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
