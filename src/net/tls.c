/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "migration/reason.h"
#include "tcp_options.h"
#include "tls_internal.h"

/*
 * AES-GCM wears out a key after 2^24.5 full records, 388 GB (RFC 8446, 5.5), which one large pod can pass; OpenSSL does not
 * count.  A new key costs microseconds, so it is taken often enough that every long transfer, and the tests, go through it.
 */
#define KEY_UPDATE_BYTES (1ull << 30)

struct tls_stream {
	struct tls_psk psk;
	SSL_CTX *ctx;
	SSL *ssl;
	struct tls_socket socket;
	/* Guards ssl and socket: OpenSSL objects are not thread-safe.  Never held while waiting. */
	pthread_mutex_t lock;
	atomic_bool down;
	bool established, failed;
	uint64_t key_bytes;
};

static int broken(struct error *err, int code, const char *what, const char *why)
{
	return error_reason(err, code, REASON_TransferFailed, "%s: %s", what, why);
}

static int broken_errno(struct error *err, int code, const char *what)
{
	char why[128];

	return broken(err, code, what, strerror_r(-code, why, sizeof(why)));
}

/* Until the socket may be ready; the lock is not held. */
static int wait_socket(struct tls_stream *s, short events, int64_t deadline_us, const char *what, struct error *err)
{
	for (;;) {
		int64_t left_us = deadline_us ? deadline_us - clock_mono_us() : 3600 * 1000000LL;
		struct pollfd p = { .fd = s->socket.fd, .events = events };
		int r;

		if (atomic_load(&s->down))
			return broken(err, -ECANCELED, what, "the stream was shut down");
		if (left_us <= 0)
			return broken(err, -ETIMEDOUT, what, "the peer did not answer in time");
		if (left_us > 3600 * 1000000LL)
			left_us = 3600 * 1000000LL;
		r = poll(&p, 1, (int)((left_us + 999) / 1000));
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return broken_errno(err, -errno, what);
	}
}

/* Sends what the SSL object has written.  Called without the lock. */
static int flush(struct tls_stream *s, int64_t deadline_us, const char *what, struct error *err)
{
	for (;;) {
		int r;

		pthread_mutex_lock(&s->lock);
		r = tls_socket_flush(&s->socket);
		pthread_mutex_unlock(&s->lock);
		if (r == 0)
			return 0;
		if (r != -EAGAIN)
			return atomic_load(&s->down) ? broken(err, -ECANCELED, what, "the stream was shut down") :
						       broken_errno(err, r, what);
		r = wait_socket(s, POLLOUT, deadline_us, what, err);
		if (r < 0)
			return r;
	}
}

/* The handshake's ways to say "you do not know the key", on either side. */
static bool is_authentication(const struct tls_stream *s, int ssl_reason)
{
	static const int reasons[] = {
		SSL_R_BINDER_DOES_NOT_VERIFY,           /* server: other key */
		SSL_R_NO_SHARED_CIPHER,                 /* server: no PSK offered, and there is no certificate */
		SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
		SSL_R_NO_CERTIFICATE_SET,
		SSL_R_DIGEST_CHECK_FAILED,              /* client: the peer only claimed to know the key */
		SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
		SSL_R_CERTIFICATE_VERIFY_FAILED,        /* client: certificate instead of PSK */
		SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,    /* client: what OpenSSL answers to an unknown identity */
		SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER,    /* client: what OpenSSL answers to a wrong binder */
		SSL_R_TLSV1_ALERT_DECRYPT_ERROR,        /* client: what RFC 8446, 4.2.11 asks for then */
		SSL_R_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY,
	};

	if (s->psk.refused)
		return true;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (ssl_reason == reasons[i])
			return true;
	return false;
}

/* A fatal SSL error, told from the error queue of this thread and the socket; under the lock. */
static int explain(struct tls_stream *s, int ssl_error, const char *what, struct error *err)
{
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
	char why[256] = "unknown error";

	s->failed = true;
	if (atomic_load(&s->down))
		return broken(err, -ECANCELED, what, "the stream was shut down");
	if (ssl_error == SSL_ERROR_ZERO_RETURN)
		return broken(err, -EPIPE, what, "the peer closed the stream");
	if (s->socket.error)
		return broken_errno(err, -s->socket.error, what);
	if (s->socket.eof || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		return broken(err, -ECONNRESET, what, "the connection ended without notice");
	if (e)
		ERR_error_string_n(e, why, sizeof(why));
	if (!s->established && is_authentication(s, reason))
		return error_reason(err, -EACCES, REASON_AuthenticationFailed,
				    "%s: the peer does not hold the key of this migration (%s)", what, why);
	return error_reason(err, -EPROTO, REASON_ProtocolError, "%s: TLS failed: %s", what, why);
}

/* One try of SSL_do_handshake, SSL_read_ex or SSL_write_ex. */
enum operation { HANDSHAKE, READ, WRITE };

/*
 * 1: done, *done bytes; 0: must wait for *events; negative errno.  Under the lock, since OpenSSL keeps an operation's error in
 * the object and in a queue of this thread.
 */
static int attempt(struct tls_stream *s, enum operation op, void *data, size_t len, size_t *done, short *events, const char *what,
		   struct error *err)
{
	int r, e;

	if (atomic_load(&s->down))
		return broken(err, -ECANCELED, what, "the stream was shut down");
	ERR_clear_error();
	r = op == HANDSHAKE ? SSL_do_handshake(s->ssl) :
	    op == READ      ? SSL_read_ex(s->ssl, data, len, done) :
			      SSL_write_ex(s->ssl, data, len, done);
	if (r == 1)
		return 1;
	e = SSL_get_error(s->ssl, r);
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
		*events = e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
		return 0;
	}
	return explain(s, e, what, err);
}

static int handshake(struct tls_stream *s, int64_t deadline_us, const char *what, struct error *err)
{
	for (;;) {
		struct error ignored;
		short events = 0;
		int r, f;

		pthread_mutex_lock(&s->lock);
		r = attempt(s, HANDSHAKE, NULL, 0, NULL, &events, what, err);
		pthread_mutex_unlock(&s->lock);
		/* On failure too: the alert tells the peer why. */
		f = flush(s, deadline_us, what, r < 0 ? &ignored : err);
		if (r < 0)
			return r;
		if (f < 0)
			return f;
		if (r == 1)
			break;
		r = wait_socket(s, events, deadline_us, what, err);
		if (r < 0)
			return r;
	}
	if (!SSL_session_reused(s->ssl))
		return error_reason(err, -EACCES, REASON_AuthenticationFailed, "%s: the peer did not use the key", what);
	s->established = true;
	return 0;
}

static int stream_new(int fd, bool server, const char *identity, const uint8_t *key, size_t key_len, struct tls_stream **ret,
		      struct error *err)
{
	struct tls_stream *s = calloc(1, sizeof(*s));
	int r, flags = fcntl(fd, F_GETFL);

	if (!s || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		r = s ? error_errno(err, "prepare a TLS socket") : error_set(err, -ENOMEM, "out of memory");
		free(s);
		close(fd);
		return r;
	}
	pthread_mutex_init(&s->lock, NULL);
	s->socket.fd = fd;
	tcp_options(fd);
	r = tls_context_new(&s->psk, server, identity, key, key_len, &s->ctx, err);
	if (r == 0 && (!(s->ssl = SSL_new(s->ctx)) || tls_socket_init(&s->socket, fd, s->ssl) < 0))
		r = error_set(err, -ENOMEM, "out of memory for TLS");
	if (r < 0) {
		tls_free(s);
		return r;
	}
	if (server)
		SSL_set_accept_state(s->ssl);
	else
		SSL_set_connect_state(s->ssl);
	*ret = s;
	return 0;
}

static int open_stream(int fd, bool server, const char *identity, const uint8_t *key, size_t key_len, int64_t deadline_us,
		       struct tls_stream **ret, struct error *err)
{
	struct tls_stream *s;
	int r = stream_new(fd, server, identity, key, key_len, &s, err);

	if (r < 0)
		return r;
	r = handshake(s, deadline_us, server ? "TLS from the source" : "TLS to the destination", err);
	if (r < 0) {
		tls_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int tls_connect(int fd, const char *identity, const uint8_t *key, size_t key_len, int64_t deadline_us, struct tls_stream **ret,
		struct error *err)
{
	return open_stream(fd, false, identity, key, key_len, deadline_us, ret, err);
}

int tls_accept(int fd, const char *identity, const uint8_t *key, size_t key_len, int64_t deadline_us, struct tls_stream **ret,
	       struct error *err)
{
	return open_stream(fd, true, identity, key, key_len, deadline_us, ret, err);
}

/* Encrypts as many whole records as the socket's buffer takes; under the lock.  *done bytes of data are gone. */
static int write_records(struct tls_stream *s, const uint8_t *data, size_t len, size_t *done, struct error *err)
{
	short events;

	*done = 0;
	if (s->key_bytes >= KEY_UPDATE_BYTES && tls_socket_room(&s->socket) > 1 &&
	    SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
		s->key_bytes = 0;
	/* One place stays free for a key update or an alert of the reading side. */
	while (*done < len && tls_socket_room(&s->socket) > 1) {
		size_t n = len - *done < TLS_RECORD ? len - *done : TLS_RECORD;
		int r = attempt(s, WRITE, (void *)(uintptr_t)(data + *done), n, &n, &events, "send", err);

		if (r < 0)
			return r;
		if (r == 0)
			break;
		*done += n;
		s->key_bytes += n;
	}
	return 0;
}

int tls_write(struct tls_stream *s, const void *data, size_t len, int64_t deadline_us, struct error *err)
{
	const uint8_t *p = data;

	while (len) {
		size_t done;
		int r;

		pthread_mutex_lock(&s->lock);
		r = write_records(s, p, len, &done, err);
		pthread_mutex_unlock(&s->lock);
		if (r == 0)
			r = flush(s, deadline_us, "send", err);
		if (r < 0)
			return r;
		p += done;
		len -= done;
	}
	return 0;
}

int tls_read(struct tls_stream *s, void *data, size_t len, int64_t deadline_us, struct error *err)
{
	uint8_t *p = data;

	while (len) {
		short events = 0;
		size_t n = 0;
		int r;

		pthread_mutex_lock(&s->lock);
		r = attempt(s, READ, p, len, &n, &events, "receive", err);
		if (r < 0 || events == POLLOUT)
			tls_socket_flush(&s->socket);   /* an alert, or what reading had to answer */
		pthread_mutex_unlock(&s->lock);
		if (r == 0)
			r = wait_socket(s, events, deadline_us, "receive", err);
		if (r < 0)
			return r;
		p += n;
		len -= n;
	}
	return 0;
}

bool tls_has_more(struct tls_stream *s)
{
	bool more;

	pthread_mutex_lock(&s->lock);
	more = SSL_has_pending(s->ssl) == 1;
	pthread_mutex_unlock(&s->lock);
	return more;
}

int tls_fd(const struct tls_stream *s)
{
	return s->socket.fd;
}

void tls_shutdown(struct tls_stream *s)
{
	atomic_store(&s->down, true);
	/* Wakes both poll(2)s: a socket shut down both ways reports POLLHUP. */
	shutdown(s->socket.fd, SHUT_RDWR);
}

void tls_free(struct tls_stream *s)
{
	if (!s)
		return;
	if (s->established && !s->failed && !atomic_load(&s->down)) {
		ERR_clear_error();
		SSL_shutdown(s->ssl);
		tls_socket_flush(&s->socket);
	}
	ERR_clear_error();
	SSL_free(s->ssl);
	tls_context_free(&s->psk, s->ctx);
	tls_socket_release(&s->socket);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
