/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "tls_internal.h"

#define KEY_MIN 16
#define KEY_MAX 64
/* Records that one recv may bring; libssl then parses them without more system calls. */
#define READ_BUFFER (16 * (TLS_RECORD + 64))

static const unsigned char aes_128_gcm_sha256[2] = { 0x13, 0x01 };      /* RFC 8446, B.4 */

/* Client: offer our one PSK.  md is set when a HelloRetryRequest fixed the hash. */
static int use_session(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *id_len, SSL_SESSION **session)
{
	struct tls_psk *psk = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	(void)md;
	SSL_SESSION_up_ref(psk->session);
	*id = (const unsigned char *)psk->identity;
	*id_len = strlen(psk->identity);
	*session = psk->session;
	return 1;
}

/* Server: an unknown identity is no error here, the handshake then fails for want of a certificate. */
static int find_session(SSL *ssl, const unsigned char *id, size_t id_len, SSL_SESSION **session)
{
	struct tls_psk *psk = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	*session = NULL;
	psk->refused = id_len != strlen(psk->identity) || CRYPTO_memcmp(id, psk->identity, id_len) != 0;
	if (!psk->refused && SSL_SESSION_up_ref(psk->session))
		*session = psk->session;
	return 1;
}

static int check_identity(const char *identity, size_t key_len, struct error *err)
{
	size_t len = identity ? strlen(identity) : 0;

	if (len == 0 || len > 127)
		return error_set(err, -EINVAL, "a TLS identity has 1 to 127 characters, not %zu", len);
	for (size_t i = 0; i < len; i++)
		if (identity[i] < 0x21 || identity[i] > 0x7e)
			return error_set(err, -EINVAL, "a TLS identity is printable ASCII");
	if (key_len < KEY_MIN || key_len > KEY_MAX)
		return error_set(err, -EINVAL, "a TLS key has %d to %d bytes, not %zu", KEY_MIN, KEY_MAX, key_len);
	return 0;
}

static SSL_SESSION *session_of_key(SSL_CTX *ctx, const uint8_t *key, size_t key_len)
{
	SSL *ssl = SSL_new(ctx);        /* only to look up the cipher */
	const SSL_CIPHER *cipher = ssl ? SSL_CIPHER_find(ssl, aes_128_gcm_sha256) : NULL;
	SSL_SESSION *session = cipher ? SSL_SESSION_new() : NULL;

	if (session &&
	    (!SSL_SESSION_set1_master_key(session, key, key_len) || !SSL_SESSION_set_cipher(session, cipher) ||
	     !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION))) {
		SSL_SESSION_free(session);
		session = NULL;
	}
	SSL_free(ssl);
	return session;
}

/*
 * No SSL_OP_ALLOW_NO_DHE_KEX: a key that leaks later must not open recorded streams.  The client verifies although there are no
 * certificates, so that a server that offers one instead of knowing the key is refused; tls_connect checks again that the PSK was
 * used.
 */
static bool context_rules(SSL_CTX *ctx, bool server)
{
	SSL_CTX_clear_options(ctx, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER);
	if (server) {
		SSL_CTX_set_psk_find_session_callback(ctx, find_session);
	} else {
		SSL_CTX_set_psk_use_session_callback(ctx, use_session);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	}
	return SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) && SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) &&
	       SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") && SSL_CTX_set1_groups_list(ctx, "X25519:P-256") &&
	       SSL_CTX_set_num_tickets(ctx, 0) && SSL_CTX_set_max_early_data(ctx, 0) && SSL_CTX_set_recv_max_early_data(ctx, 0);
}

int tls_context_new(struct tls_psk *psk, bool server, const char *identity, const uint8_t *key, size_t key_len, SSL_CTX **ret,
		    struct error *err)
{
	SSL_CTX *ctx;
	int r = check_identity(identity, key_len, err);

	if (r < 0)
		return r;
	memcpy(psk->identity, identity, strlen(identity) + 1);
	ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!ctx || !context_rules(ctx, server) || !(psk->session = session_of_key(ctx, key, key_len))) {
		tls_context_free(psk, ctx);
		return error_set(err, -ENOMEM, "cannot set up TLS 1.3 with AES-128-GCM");
	}
	SSL_CTX_set_app_data(ctx, psk);
	*ret = ctx;
	return 0;
}

void tls_context_free(struct tls_psk *psk, SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
	SSL_SESSION_free(psk->session);
	psk->session = NULL;
}
