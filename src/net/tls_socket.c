/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/bio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls_internal.h"

/* Header, content type and tag of one TLS 1.3 record with AES-128-GCM, rounded up. */
#define RECORD_OVERHEAD 64
#define OUT_RECORDS 16
#define OUT_SIZE (OUT_RECORDS * (TLS_RECORD + RECORD_OVERHEAD))

static int socket_write(BIO *bio, const char *data, size_t len, size_t *written)
{
	struct tls_socket *s = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (len > OUT_SIZE - s->out_len) {
		BIO_set_retry_write(bio);
		return 0;
	}
	memcpy(s->out + s->out_len, data, len);
	s->out_len += len;
	*written = len;
	return 1;
}

static int socket_read(BIO *bio, char *data, size_t size, size_t *read_bytes)
{
	struct tls_socket *s = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	do
		n = recv(s->fd, data, size, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		*read_bytes = (size_t)n;
		return 1;
	}
	if (n == 0)
		s->eof = true;
	else if (errno == EAGAIN)
		BIO_set_retry_read(bio);
	else
		s->error = errno;
	return 0;
}

static long socket_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	const struct tls_socket *s = BIO_get_data(bio);

	(void)num;
	(void)ptr;
	switch (cmd) {
	case BIO_CTRL_FLUSH:            /* the stream flushes, since only it may wait */
		return 1;
	case BIO_CTRL_EOF:
		return s->eof;
	default:
		return 0;
	}
}

size_t tls_socket_room(const struct tls_socket *s)
{
	return (OUT_SIZE - s->out_len) / (TLS_RECORD + RECORD_OVERHEAD);
}

int tls_socket_flush(struct tls_socket *s)
{
	while (s->out_sent < s->out_len) {
		ssize_t n = send(s->fd, s->out + s->out_sent, s->out_len - s->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				s->error = errno;
			return -errno;
		}
		s->out_sent += (size_t)n;
	}
	s->out_sent = s->out_len = 0;
	return 0;
}

int tls_socket_init(struct tls_socket *s, int fd, SSL *ssl)
{
	BIO *bio;

	s->fd = fd;
	s->out = malloc(OUT_SIZE);
	s->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "podmigration socket");
	if (!s->out || !s->method || !BIO_meth_set_write_ex(s->method, socket_write) ||
	    !BIO_meth_set_read_ex(s->method, socket_read) || !BIO_meth_set_ctrl(s->method, socket_ctrl))
		return -ENOMEM;
	bio = BIO_new(s->method);
	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, s);
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);     /* both directions; takes the one reference */
	return 0;
}

void tls_socket_release(struct tls_socket *s)
{
	BIO_meth_free(s->method);
	free(s->out);
	if (s->fd >= 0)
		close(s->fd);
}
