/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STREAM_PAIR_H
#define TESTS_STREAM_PAIR_H

#include <pthread.h>

#include "base/clock.h"
#include "net/tls.h"
#include "transfer/wire.h"

/* Two ends of one real TLS stream over loopback, for tests; [0] dialled. */
struct stream_dial {
	int fd;
	struct tls_stream *stream;
};

static void *stream_dial_main(void *arg)
{
	static const uint8_t key[32] = "key of the tests";
	struct stream_dial *d = arg;
	struct error err = { 0 };

	if (tls_connect(d->fd, "tests", key, sizeof(key), clock_mono_us() + 10000000, &d->stream, &err) < 0)
		d->stream = NULL;
	return NULL;
}

static inline void stream_pair(struct tls_stream *out[2])
{
	static const uint8_t key[32] = "key of the tests";
	int64_t deadline = clock_mono_us() + 10000000;
	struct stream_dial d = { .fd = -1 };
	struct error err = { 0 };
	int listener, fd;
	uint16_t port;
	pthread_t t;

	assert_int_equal(tcp_listen(-1, 0, 1, &listener, &port, &err), 0);
	assert_int_equal(tcp_connect("127.0.0.1", port, deadline, &d.fd, &err), 0);
	assert_int_equal(tcp_accept(listener, deadline, &fd, &err), 0);
	assert_int_equal(pthread_create(&t, NULL, stream_dial_main, &d), 0);
	assert_int_equal(tls_accept(fd, "tests", key, sizeof(key), deadline, &out[1], &err), 0);
	pthread_join(t, NULL);
	close(listener);
	assert_non_null(d.stream);
	out[0] = d.stream;
}

static inline void wire_pair(struct wire *out[2], int64_t idle_us)
{
	struct tls_stream *s[2];
	struct error err = { 0 };

	stream_pair(s);
	for (int i = 0; i < 2; i++)
		assert_int_equal(wire_new(s[i], idle_us, &out[i], &err), 0);
}

#endif
