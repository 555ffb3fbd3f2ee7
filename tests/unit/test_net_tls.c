/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "migration/reason.h"
#include "net/tls.h"

#define IDENTITY "7b6c2b0e-2f0e-4b43-9d0e-0d5a1d6f2a11"
#define SECOND 1000000LL

static const uint8_t key[32] = "an example key of 32 bytes, not";
static const uint8_t other_key[32] = "another key of 32 bytes, as well";

/* A connected pair of TCP sockets on loopback. */
static void tcp_pair(int fds[2])
{
	struct error err = { 0 };
	uint16_t port;
	int l;

	assert_int_equal(tcp_listen(-1, 0, 4, &l, &port, &err), 0);
	assert_int_equal(tcp_connect("127.0.0.1", port, clock_mono_us() + 5 * SECOND, &fds[0], &err), 0);
	assert_int_equal(tcp_accept(l, clock_mono_us() + 5 * SECOND, &fds[1], &err), 0);
	close(l);
}

/* The client's half, run beside the server's. */
struct client {
	int fd;
	const char *identity;
	const uint8_t *key;
	int64_t timeout_us;
	struct tls_stream *stream;
	struct error err;
	int result;
	int64_t took_us;
};

static void *client_main(void *arg)
{
	struct client *c = arg;
	int64_t start = clock_mono_us();

	c->result = tls_connect(c->fd, c->identity, c->key, 32, start + c->timeout_us, &c->stream, &c->err);
	c->took_us = clock_mono_us() - start;
	return NULL;
}

static void connect_pair(struct tls_stream *out[2])
{
	int fds[2];
	struct error err = { 0 };
	struct client c = { .identity = IDENTITY, .key = key, .timeout_us = 5 * SECOND };
	pthread_t t;

	tcp_pair(fds);
	c.fd = fds[0];
	assert_int_equal(pthread_create(&t, NULL, client_main, &c), 0);
	if (tls_accept(fds[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &out[1], &err) < 0)
		fail_msg("accept: %s", err.message);
	pthread_join(t, NULL);
	if (c.result < 0)
		fail_msg("connect: %s", c.err.message);
	out[0] = c.stream;
}

static void small_both_ways(void **state)
{
	struct tls_stream *s[2];
	struct error err = { 0 };
	char got[6];

	(void)state;
	connect_pair(s);
	assert_int_equal(tls_write(s[0], "hello", 6, 0, &err), 0);
	assert_int_equal(tls_read(s[1], got, 6, 0, &err), 0);
	assert_string_equal(got, "hello");
	assert_int_equal(tls_write(s[1], "world", 6, 0, &err), 0);
	/* In two reads: the rest of a record waits inside the stream, where poll does not see it. */
	assert_int_equal(tls_read(s[0], got, 2, clock_mono_us() + SECOND, &err), 0);
	assert_int_equal(tls_read(s[0], got + 2, 4, clock_mono_us() + SECOND, &err), 0);
	assert_string_equal(got, "world");
	assert_true(tls_fd(s[0]) >= 0);
	tls_free(s[0]);
	/* The peer's close notice. */
	assert_int_equal(tls_read(s[1], got, 1, clock_mono_us() + SECOND, &err), -EPIPE);
	assert_int_equal(err.reason, REASON_TransferFailed);
	tls_free(s[1]);
	tls_free(NULL);
}

/* One direction of the big transfer: a pattern that shows lost, doubled and moved bytes. */
struct pump {
	struct tls_stream *s;
	uint64_t total, seed;
	bool sends;
	int result;
	struct error err;
};

#define PUMP_CHUNK (1u << 20)

static void pattern(uint64_t *words, size_t n, uint64_t at, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		words[i] = (at / 8 + i) * 0x9e3779b97f4a7c15ull ^ seed;
}

static void *pump_main(void *arg)
{
	struct pump *p = arg;
	uint64_t *got = malloc(PUMP_CHUNK), *want = malloc(PUMP_CHUNK);

	for (uint64_t at = 0; at < p->total && p->result == 0; at += PUMP_CHUNK) {
		int64_t deadline = clock_mono_us() + 30 * SECOND;

		pattern(want, PUMP_CHUNK / 8, at, p->seed);
		if (p->sends) {
			p->result = tls_write(p->s, want, PUMP_CHUNK, deadline, &p->err);
			continue;
		}
		p->result = tls_read(p->s, got, PUMP_CHUNK, deadline, &p->err);
		if (p->result == 0 && memcmp(got, want, PUMP_CHUNK) != 0)
			p->result = -EBADMSG;
	}
	free(got);
	free(want);
	return NULL;
}

/* More than the 1 GiB after which the key changes in one direction, and the other direction busy at the same time. */
static void big_both_ways(void **state)
{
	struct tls_stream *s[2];
	uint64_t sizes[2] = { 1100ull << 20, 200ull << 20 };
	struct pump pumps[4];
	pthread_t threads[4];

	(void)state;
	connect_pair(s);
	for (unsigned i = 0; i < 4; i++) {
		unsigned direction = i / 2;
		bool sends = i % 2 == 0;

		pumps[i] = (struct pump){ .s = s[sends ? direction : 1 - direction],
					  .total = sizes[direction],
					  .seed = direction + 1,
					  .sends = sends };
		assert_int_equal(pthread_create(&threads[i], NULL, pump_main, &pumps[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < 4; i++)
		if (pumps[i].result < 0)
			fail_msg("pump %u: %d %s", i, pumps[i].result, pumps[i].err.message);
	tls_free(s[0]);
	tls_free(s[1]);
}

static void refused_pair(const char *identity, const uint8_t *client_key)
{
	int fds[2];
	struct error err = { 0 };
	struct tls_stream *s = NULL;
	struct client c = { .identity = identity, .key = client_key, .timeout_us = 5 * SECOND };
	pthread_t t;

	tcp_pair(fds);
	c.fd = fds[0];
	assert_int_equal(pthread_create(&t, NULL, client_main, &c), 0);
	assert_int_equal(tls_accept(fds[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), -EACCES);
	pthread_join(t, NULL);
	assert_int_equal(err.reason, REASON_AuthenticationFailed);
	assert_int_equal(c.result, -EACCES);
	assert_int_equal(c.err.reason, REASON_AuthenticationFailed);
	assert_true(c.took_us < 2 * SECOND);
	assert_null(s);
	/* The stream owned the socket: it is closed. */
	assert_int_equal(fcntl(fds[1], F_GETFD), -1);
}

static void wrong_key(void **state)
{
	uint8_t near[32];

	(void)state;
	refused_pair(IDENTITY, other_key);
	memcpy(near, key, 32);
	near[31] ^= 1;
	refused_pair(IDENTITY, near);
}

static void wrong_identity(void **state)
{
	(void)state;
	refused_pair("7b6c2b0e-2f0e-4b43-9d0e-0d5a1d6f2a12", key);
	refused_pair("7b6c2b0e", key);
	refused_pair(IDENTITY "0", key);
}

static void bad_arguments(void **state)
{
	struct error err = { 0 };
	struct tls_stream *s = NULL;
	char longest[130];
	int fds[2];

	(void)state;
	memset(longest, 'a', 128);
	longest[128] = '\0';
	const struct {
		const char *identity;
		size_t key_len;
	} bad[] = { { "", 32 }, { longest, 32 }, { "with space", 32 }, { "\xc3\xa4", 32 }, { IDENTITY, 15 }, { IDENTITY, 65 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t k[65] = { 1 };

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		assert_int_equal(tls_connect(fds[0], bad[i].identity, k, bad[i].key_len, 0, &s, &err), -EINVAL);
		assert_int_equal(fcntl(fds[0], F_GETFD), -1);
		close(fds[1]);
	}
	assert_int_equal(tls_connect(-1, IDENTITY, key, 32, 0, &s, &err), -EBADF);
	assert_null(s);
}

static void plain_client(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	int fds[2];
	struct error err = { 0 };
	struct tls_stream *s = NULL;

	(void)state;
	tcp_pair(fds);
	assert_int_equal(write(fds[0], request, sizeof(request) - 1), sizeof(request) - 1);
	assert_int_equal(tls_accept(fds[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), -EPROTO);
	assert_int_equal(err.reason, REASON_ProtocolError);
	close(fds[0]);

	tcp_pair(fds);
	assert_int_equal(write(fds[1], "220 smtp\r\n", 10), 10);
	assert_int_equal(tls_connect(fds[0], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), -EPROTO);
	assert_int_equal(err.reason, REASON_ProtocolError);
	close(fds[1]);
}

/* Random bytes as a ClientHello and as an answer: whatever they are, an error and no crash. */
static void random_peer(void **state)
{
	(void)state;
	srandom(4711);
	for (int round = 0; round < 200; round++) {
		unsigned char junk[512] = { 0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3 };
		struct error err = { 0 };
		struct tls_stream *s = NULL;
		int fds[2];

		for (size_t i = round % 2 ? 11 : 0; i < sizeof(junk); i++)
			junk[i] = (unsigned char)random();
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		assert_int_equal(write(fds[1], junk, sizeof(junk)), sizeof(junk));
		shutdown(fds[1], SHUT_WR);
		if (round % 4 < 2)
			assert_true(tls_accept(fds[0], IDENTITY, key, 32, clock_mono_us() + SECOND, &s, &err) < 0);
		else
			assert_true(tls_connect(fds[0], IDENTITY, key, 32, clock_mono_us() + SECOND, &s, &err) < 0);
		assert_true(err.reason != REASON_NONE);
		close(fds[1]);
	}
}

static void assert_timeout(int fd, bool server)
{
	struct error err = { 0 };
	struct tls_stream *s = NULL;
	int64_t start = clock_mono_us(), took;
	int r = server ? tls_accept(fd, IDENTITY, key, 32, start + 200000, &s, &err) :
			 tls_connect(fd, IDENTITY, key, 32, start + 200000, &s, &err);

	took = clock_mono_us() - start;
	assert_int_equal(r, -ETIMEDOUT);
	assert_int_equal(err.reason, REASON_TransferFailed);
	assert_true(took >= 200000 && took < 2 * SECOND);
}

static void silent_peer(void **state)
{
	int fds[2];

	(void)state;
	tcp_pair(fds);
	assert_timeout(fds[0], false);
	close(fds[1]);
	tcp_pair(fds);
	assert_timeout(fds[1], true);
	close(fds[0]);
	/* The first bytes of a real handshake, then silence. */
	tcp_pair(fds);
	assert_int_equal(write(fds[0], "\x16\x03\x01\x00\xc8\x01", 6), 6);
	assert_timeout(fds[1], true);
	close(fds[0]);
}

static void early_close(void **state)
{
	int fds[2];
	struct error err = { 0 };
	struct tls_stream *s = NULL;

	(void)state;
	tcp_pair(fds);
	close(fds[1]);
	assert_int_equal(tls_connect(fds[0], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), -ECONNRESET);
	tcp_pair(fds);
	shutdown(fds[0], SHUT_WR);
	assert_int_equal(tls_accept(fds[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), -ECONNRESET);
	assert_int_equal(err.reason, REASON_TransferFailed);
	close(fds[0]);
}

/* The connection ends without a close notice: not the same as a stream that was closed. */
static void cut_without_notice(void **state)
{
	struct tls_stream *s[2];
	struct error err = { 0 };
	char c;

	(void)state;
	connect_pair(s);
	shutdown(tls_fd(s[0]), SHUT_WR);
	assert_int_equal(tls_read(s[1], &c, 1, clock_mono_us() + 5 * SECOND, &err), -ECONNRESET);
	assert_int_equal(err.reason, REASON_TransferFailed);
	tls_free(s[0]);
	tls_free(s[1]);
}

static void deadlines(void **state)
{
	struct tls_stream *s[2];
	struct error err = { 0 };
	int64_t start = clock_mono_us(), took;
	size_t len = 64u << 20;
	char c, *big = calloc(1, len);

	(void)state;
	connect_pair(s);
	assert_int_equal(tls_read(s[0], &c, 1, clock_mono_us() + 200000, &err), -ETIMEDOUT);
	/* Nobody reads at the other end: the socket buffers fill up. */
	assert_int_equal(tls_write(s[0], big, len, clock_mono_us() + 300000, &err), -ETIMEDOUT);
	assert_int_equal(err.reason, REASON_TransferFailed);
	took = clock_mono_us() - start;
	assert_true(took >= 500000 && took < 4 * SECOND);
	tls_free(s[0]);
	tls_free(s[1]);
	free(big);
}

static void *blocked_reader(void *arg)
{
	struct pump *p = arg;
	char c;

	p->result = tls_read(p->s, &c, 1, 0, &p->err);
	return NULL;
}

static void *blocked_writer(void *arg)
{
	struct pump *p = arg;
	char *big = calloc(1, 64u << 20);

	p->result = tls_write(p->s, big, 64u << 20, 0, &p->err);
	free(big);
	return NULL;
}

static void shutdown_wakes(void **state)
{
	struct tls_stream *s[2];
	struct error err = { 0 };
	struct pump r = { 0 }, w = { 0 };
	pthread_t threads[2];
	char c;

	(void)state;
	connect_pair(s);
	r.s = w.s = s[0];
	assert_int_equal(pthread_create(&threads[0], NULL, blocked_reader, &r), 0);
	assert_int_equal(pthread_create(&threads[1], NULL, blocked_writer, &w), 0);
	usleep(200000);
	tls_shutdown(s[0]);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	assert_int_equal(r.result, -ECANCELED);
	assert_int_equal(w.result, -ECANCELED);
	assert_int_equal(tls_read(s[0], &c, 1, 0, &err), -ECANCELED);
	assert_int_equal(tls_write(s[0], "x", 1, 0, &err), -ECANCELED);
	assert_int_equal(err.reason, REASON_TransferFailed);
	tls_free(s[0]);
	tls_free(s[1]);
}

/* Writing to a peer that is gone: an error, never SIGPIPE (whose default kills this test). */
static void write_to_closed(void **state)
{
	struct tls_stream *s[2];
	struct error err = { 0 };
	int r = 0;

	(void)state;
	signal(SIGPIPE, SIG_DFL);
	connect_pair(s);
	tls_free(s[1]);
	for (int i = 0; i < 100 && r == 0; i++) {
		r = tls_write(s[0], "hello", 5, clock_mono_us() + SECOND, &err);
		usleep(1000);
	}
	assert_true(r == -EPIPE || r == -ECONNRESET);
	assert_int_equal(err.reason, REASON_TransferFailed);
	tls_free(s[0]);
}

/* A man in the middle who changes one byte of what passes after the handshake. */
struct relay {
	int from, to;
	_Atomic bool tamper;
	unsigned char *record;          /* what passed, when not NULL; of 64 KiB at most */
	_Atomic size_t recorded;
};

static void *relay_main(void *arg)
{
	struct relay *m = arg;
	unsigned char b[4096];

	for (;;) {
		struct pollfd p = { .fd = m->from, .events = POLLIN };
		ssize_t n;

		poll(&p, 1, -1);
		n = read(m->from, b, sizeof(b));
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			break;
		if (m->tamper)
			b[n - 1] ^= 1;
		if (m->record && m->recorded + (size_t)n <= 65536) {
			memcpy(m->record + m->recorded, b, (size_t)n);
			m->recorded += (size_t)n;
		}
		if (write_full(m->to, b, (size_t)n) < 0)
			break;
	}
	shutdown(m->to, SHUT_WR);
	return NULL;
}

static void tampered(void **state)
{
	int a[2], b[2];
	struct error err = { 0 };
	struct client c = { .identity = IDENTITY, .key = key, .timeout_us = 5 * SECOND };
	struct tls_stream *s = NULL;
	pthread_t t, relays[2];
	char got[8];

	(void)state;
	tcp_pair(a);
	tcp_pair(b);
	struct relay forth = { .from = a[1], .to = b[0] }, back = { .from = b[0], .to = a[1] };

	assert_int_equal(pthread_create(&relays[0], NULL, relay_main, &forth), 0);
	assert_int_equal(pthread_create(&relays[1], NULL, relay_main, &back), 0);
	c.fd = a[0];
	assert_int_equal(pthread_create(&t, NULL, client_main, &c), 0);
	assert_int_equal(tls_accept(b[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), 0);
	pthread_join(t, NULL);
	assert_int_equal(c.result, 0);
	assert_int_equal(tls_write(c.stream, "goodday", 8, 0, &err), 0);
	assert_int_equal(tls_read(s, got, 8, clock_mono_us() + 5 * SECOND, &err), 0);
	forth.tamper = true;
	assert_int_equal(tls_write(c.stream, "goodday", 8, 0, &err), 0);
	assert_int_equal(tls_read(s, got, 8, clock_mono_us() + 5 * SECOND, &err), -EPROTO);
	assert_int_equal(err.reason, REASON_ProtocolError);
	tls_free(c.stream);
	tls_free(s);
	pthread_join(relays[0], NULL);
	pthread_join(relays[1], NULL);
	close(a[1]);
	close(b[0]);
}

struct replay {
	int fd;
	const unsigned char *data;
	size_t len;
};

static void *replay_main(void *arg)
{
	const struct replay *r = arg;
	unsigned char b[4096];
	struct pollfd p = { .fd = r->fd, .events = POLLIN };

	/* The whole stream as it was once; the server's answers are of no interest. */
	write_full(r->fd, r->data, r->len);
	while (poll(&p, 1, 5000) > 0 && read(r->fd, b, sizeof(b)) > 0)
		;
	close(r->fd);
	return NULL;
}

/* Everything that a source once sent, sent again to the same pod's listener: the same key, and still nothing of it is taken. */
static void replayed(void **state)
{
	int a[2], b[2], c[2];
	struct error err = { 0 };
	struct client client = { .identity = IDENTITY, .key = key, .timeout_us = 5 * SECOND };
	unsigned char *record = calloc(1, 65536);
	struct tls_stream *s = NULL;
	struct replay again;
	pthread_t t, relays[2];
	char got[8];

	(void)state;
	tcp_pair(a);
	tcp_pair(b);
	struct relay forth = { .from = a[1], .to = b[0], .record = record }, back = { .from = b[0], .to = a[1] };

	assert_int_equal(pthread_create(&relays[0], NULL, relay_main, &forth), 0);
	assert_int_equal(pthread_create(&relays[1], NULL, relay_main, &back), 0);
	client.fd = a[0];
	assert_int_equal(pthread_create(&t, NULL, client_main, &client), 0);
	assert_int_equal(tls_accept(b[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), 0);
	pthread_join(t, NULL);
	assert_int_equal(tls_write(client.stream, "goodday", 8, 0, &err), 0);
	assert_int_equal(tls_read(s, got, 8, clock_mono_us() + 5 * SECOND, &err), 0);
	tls_free(client.stream);
	tls_free(s);
	pthread_join(relays[0], NULL);
	pthread_join(relays[1], NULL);
	close(a[1]);
	close(b[0]);
	assert_true(forth.recorded > 200);
	tcp_pair(c);
	again = (struct replay){ c[0], record, forth.recorded };
	assert_int_equal(pthread_create(&t, NULL, replay_main, &again), 0);
	s = NULL;
	assert_true(tls_accept(c[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err) < 0);
	assert_null(s);
	assert_true(err.reason == REASON_ProtocolError || err.reason == REASON_AuthenticationFailed);
	pthread_join(t, NULL);
	free(record);
}

/* A server of plain TLS 1.3 (or a client of at most TLS 1.2) with a certificate of its own: knows no key, so it must not do. */
static SSL_CTX *stranger_context(bool server, int max_version)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"x", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_set_pubkey(cert, pkey);
	assert_true(X509_sign(cert, pkey, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, pkey), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, max_version), 1);
	X509_free(cert);
	EVP_PKEY_free(pkey);
	return ctx;
}

static void certificate_server(void **state)
{
	SSL_CTX *ctx = stranger_context(true, TLS1_3_VERSION);
	SSL *ssl = SSL_new(ctx);
	struct client c = { .identity = IDENTITY, .key = key, .timeout_us = 5 * SECOND };
	pthread_t t;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	c.fd = fds[0];
	assert_int_equal(pthread_create(&t, NULL, client_main, &c), 0);
	SSL_set_fd(ssl, fds[1]);
	assert_int_not_equal(SSL_accept(ssl), 1);
	pthread_join(t, NULL);
	assert_int_equal(c.result, -EACCES);
	assert_int_equal(c.err.reason, REASON_AuthenticationFailed);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fds[1]);
}

struct stranger {
	int fd, version, result;
};

static void *stranger_main(void *arg)
{
	struct stranger *st = arg;
	SSL_CTX *ctx = stranger_context(false, st->version);
	SSL *ssl = SSL_new(ctx);

	SSL_set_fd(ssl, st->fd);
	st->result = SSL_connect(ssl);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return NULL;
}

static void stranger_client(void **state)
{
	static const struct {
		int version, result, reason;
	} cases[] = {
		{ TLS1_3_VERSION, -EACCES, REASON_AuthenticationFailed },
		{ TLS1_2_VERSION, -EPROTO, REASON_ProtocolError },
	};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct stranger st = { .version = cases[i].version };
		struct tls_stream *s = NULL;
		struct error err = { 0 };
		pthread_t t;
		int fds[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		st.fd = fds[0];
		assert_int_equal(pthread_create(&t, NULL, stranger_main, &st), 0);
		assert_int_equal(tls_accept(fds[1], IDENTITY, key, 32, clock_mono_us() + 5 * SECOND, &s, &err), cases[i].result);
		pthread_join(t, NULL);
		assert_int_equal(err.reason, cases[i].reason);
		assert_int_not_equal(st.result, 1);
		close(fds[0]);
	}
}

static void tcp_errors(void **state)
{
	struct error err = { 0 };
	uint16_t port;
	int fd = -1, l;

	(void)state;
	assert_int_equal(tcp_connect("localhost", 80, 0, &fd, &err), -EINVAL);
	assert_int_equal(tcp_connect("127.0.0.1", 0, 0, &fd, &err), -EINVAL);
	assert_int_equal(tcp_listen(-1, 0, 1, &l, &port, &err), 0);
	assert_int_equal(tcp_accept(l, clock_mono_us() + 100000, &fd, &err), -ETIMEDOUT);
	assert_int_equal(tcp_listen(-1, port, 1, &fd, NULL, &err), -EADDRINUSE);
	close(l);
	assert_int_equal(tcp_connect("127.0.0.1", port, clock_mono_us() + SECOND, &fd, &err), -ECONNREFUSED);
	assert_int_equal(err.reason, REASON_TransferFailed);
	assert_int_equal(fd, -1);
}

/* A listener whose queue is full drops our SYN: only the deadline ends the call. */
static void tcp_connect_times_out(void **state)
{
	struct error err = { 0 };
	int64_t start, took;
	uint16_t port;
	int fds[64], l, r = 0, n = 0;

	(void)state;
	assert_int_equal(tcp_listen(-1, 0, 1, &l, &port, &err), 0);
	for (n = 0; n < 64 && r == 0; n++) {
		start = clock_mono_us();
		r = tcp_connect("127.0.0.1", port, start + 200000, &fds[n], &err);
	}
	took = clock_mono_us() - start;
	assert_int_equal(r, -ETIMEDOUT);
	assert_true(took >= 200000 && took < 2 * SECOND);
	for (int i = 0; i < n - 1; i++)
		close(fds[i]);
	close(l);
}

static void *new_netns(void *arg)
{
	int *fd = arg;

	*fd = unshare(CLONE_NEWNET) == 0 ? open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC) : -errno;
	return NULL;
}

static ino_t own_netns(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/thread-self/ns/net", &st), 0);
	return st.st_ino;
}

static void listen_in_netns(void **state)
{
	struct error err = { 0 };
	ino_t before = own_netns();
	int ns = -1, l, fd = -1, bad;
	uint16_t port;
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, new_netns, &ns), 0);
	pthread_join(t, NULL);
	if (ns == -EPERM)
		skip();
	assert_true(ns >= 0);
	assert_int_equal(tcp_listen(ns, 0, 1, &l, &port, &err), 0);
	assert_true(own_netns() == before);
	assert_true(port != 0);
	/* It is not in our namespace. */
	assert_int_equal(tcp_connect("127.0.0.1", port, clock_mono_us() + SECOND, &fd, &err), -ECONNREFUSED);
	close(l);
	close(ns);
	bad = open("/proc/thread-self/ns/uts", O_RDONLY | O_CLOEXEC);
	assert_int_equal(tcp_listen(bad, 0, 1, &l, &port, &err), -EINVAL);
	assert_true(own_netns() == before);
	close(bad);
}

static void ipv4_and_ipv6(void **state)
{
	struct error err = { 0 };
	int l, a = -1, b = -1;
	uint16_t port;

	(void)state;
	assert_int_equal(tcp_listen(-1, 0, 4, &l, &port, &err), 0);
	assert_int_equal(tcp_connect("127.0.0.1", port, clock_mono_us() + SECOND, &a, &err), 0);
	if (tcp_connect("::1", port, clock_mono_us() + SECOND, &b, &err) == 0)
		close(b);
	else
		print_message("no IPv6 here: %s\n", err.message);
	close(a);
	close(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_both_ways),    cmocka_unit_test(big_both_ways), cmocka_unit_test(wrong_key),
		cmocka_unit_test(wrong_identity),     cmocka_unit_test(bad_arguments), cmocka_unit_test(plain_client),
		cmocka_unit_test(random_peer),        cmocka_unit_test(silent_peer),   cmocka_unit_test(early_close),
		cmocka_unit_test(cut_without_notice), cmocka_unit_test(deadlines),     cmocka_unit_test(shutdown_wakes),
		cmocka_unit_test(write_to_closed),    cmocka_unit_test(tampered),
		cmocka_unit_test(replayed),      cmocka_unit_test(certificate_server),
		cmocka_unit_test(stranger_client),    cmocka_unit_test(tcp_errors),    cmocka_unit_test(tcp_connect_times_out),
		cmocka_unit_test(listen_in_netns),    cmocka_unit_test(ipv4_and_ipv6),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("net_tls", tests, NULL, NULL);
}
