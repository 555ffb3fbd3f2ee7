/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * One TLS 1.3 connection authenticated by an external PSK with (EC)DHE, no certificates, no early data, no tickets.
 * Blocking; every call has a deadline (clock_mono_us; 0: none).  A stream may be read by one thread while another writes.
 */
struct tls_stream;

/*
 * The socket is owned by the stream from here on, on failure too (it is then closed).  identity: 1 to 127 bytes of printable
 * ASCII; key: 16 to 64 bytes. -EACCES with reason AuthenticationFailed when the peer holds another key or identity, on either
 * side; -EPROTO (ProtocolError) when it does not speak TLS 1.3; -ETIMEDOUT and the errors of the socket with TransferFailed.
 */
int tls_connect(int fd, const char *identity, const uint8_t *key, size_t key_len, int64_t deadline_us, struct tls_stream **ret,
		struct error *err);
int tls_accept(int fd, const char *identity, const uint8_t *key, size_t key_len, int64_t deadline_us, struct tls_stream **ret,
	       struct error *err);

/*
 * All or nothing: 0 or negative errno with reason TransferFailed: -ETIMEDOUT, -EPIPE when the peer closed the stream, -ECONNRESET
 * when the connection ended without that, -ECANCELED after tls_shutdown; -EPROTO (ProtocolError) for bytes that are not the
 * peer's.  After an error the stream is of no use.
 */
int tls_write(struct tls_stream *s, const void *data, size_t len, int64_t deadline_us, struct error *err);
int tls_read(struct tls_stream *s, void *data, size_t len, int64_t deadline_us, struct error *err);

int tls_fd(const struct tls_stream *s);
/* Something has been read from the socket that tls_read has not given yet: poll(2) does not see it. */
bool tls_has_more(struct tls_stream *s);
/* Wakes and fails every present and later call on the stream; from any thread. */
void tls_shutdown(struct tls_stream *s);
void tls_free(struct tls_stream *s);

/* All sockets made here are non-blocking. TCP with a deadline; TCP_NODELAY, keepalive 5/5/3, TCP_USER_TIMEOUT 20 s.  host: IPv4
 * or IPv6 address, no names. */
int tcp_connect(const char *host, uint16_t port, int64_t deadline_us, int *ret_fd, struct error *err);
/* A listener on all addresses (IPv6 with IPv4 mapped, or IPv4 alone where there is no IPv6); netns_fd >= 0: made inside that
 * network namespace (the calling thread stays in its own). port 0: any, *ret_port (may be NULL) tells. */
int tcp_listen(int netns_fd, uint16_t port, int backlog, int *ret_fd, uint16_t *ret_port, struct error *err);
/* The next connection of a listener of tcp_listen, with the options of tcp_connect; -ETIMEDOUT. */
int tcp_accept(int listen_fd, int64_t deadline_us, int *ret_fd, struct error *err);

#endif
