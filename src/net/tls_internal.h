/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_NET_TLS_INTERNAL_H
#define SRC_NET_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/error.h"

#define TLS_RECORD 16384                /* RFC 8446 section 5.1 */

/* What the PSK callbacks need; SSL_CTX app data. */
struct tls_psk {
	char identity[128];
	SSL_SESSION *session;           /* the key, as OpenSSL wants it */
	bool refused;                   /* server: the peer named another identity */
};

/* A context that speaks TLS 1.3 with this PSK and (EC)DHE, and nothing else.  psk must outlive it. */
int tls_context_new(struct tls_psk *psk, bool server, const char *identity, const uint8_t *key, size_t key_len, SSL_CTX **ret,
		    struct error *err);
void tls_context_free(struct tls_psk *psk, SSL_CTX *ctx);

/*
 * The socket below the SSL object.  Reads go to the socket; written records are gathered and leave by tls_socket_flush, so that
 * one system call carries many 16 KiB records.  Never waits; never raises SIGPIPE.
 */
struct tls_socket {
	int fd;
	int error;                      /* errno of the last failed send or recv, 0: none */
	bool eof;
	uint8_t *out;
	size_t out_len, out_sent;
	BIO_METHOD *method;
};

int tls_socket_init(struct tls_socket *s, int fd, SSL *ssl);
void tls_socket_release(struct tls_socket *s);          /* after SSL_free; closes fd */
size_t tls_socket_room(const struct tls_socket *s);     /* whole records that still fit */
int tls_socket_flush(struct tls_socket *s);             /* 0: all sent, -EAGAIN: wait for POLLOUT, or another negative errno */

#endif
