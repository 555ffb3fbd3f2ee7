/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/keys.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/json.h"

#define NONCE_SIZE 12
#define TAG_SIZE 16
#define UID_MAX 128
/* Kubernetes takes 256 KiB of annotations per object (apimachinery, TotalAnnotationSizeLimitB); an order is far smaller. */
#define ORDER_JSON_MAX 16384

/* What a sealed text is: a key of its own for each (HKDF's info). */
static const char order_info[] = "podmigration order v1";
static const char receipt_info[] = "podmigration receipt v1";
static const char receipt_text[] = "{\"receipt\":\"running\"}";

static bool uid_ok(const char *uid)
{
	size_t len = uid ? strlen(uid) : 0;

	return len > 0 && len <= UID_MAX;
}

int key_derive(const uint8_t *master, size_t master_len, const char *migration_uid, uint8_t out[PM_KEY_SIZE], struct error *err)
{
	unsigned len = 0;

	/* RFC 2104 section 3: a key shorter than the hash weakens it. */
	if (!master || master_len < PM_KEY_SIZE || master_len > 4096)
		return error_set(err, -EINVAL, "the master key has %zu bytes, it needs at least %d", master_len, PM_KEY_SIZE);
	if (!uid_ok(migration_uid))
		return error_set(err, -EINVAL, "the UID for a migration's key is empty or longer than %d bytes", UID_MAX);
	if (!HMAC(EVP_sha256(), master, (int)master_len, (const uint8_t *)migration_uid, strlen(migration_uid), out, &len) ||
	    len != PM_KEY_SIZE)
		return error_set(err, -EIO, "HMAC-SHA256 failed");
	return 0;
}

/* HKDF (RFC 5869) without salt: the input is a uniform key already. */
static int derive(const uint8_t key[PM_KEY_SIZE], const char *info, uint8_t out[PM_KEY_SIZE], struct error *err)
{
	uint8_t secret[PM_KEY_SIZE];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, sizeof(secret)),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info, strlen(info)),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int ok;

	memcpy(secret, key, sizeof(secret));
	ok = ctx && EVP_KDF_derive(ctx, out, PM_KEY_SIZE, params) == 1;
	OPENSSL_cleanse(secret, sizeof(secret));
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : error_set(err, -EIO, "HKDF-SHA256 failed");
}

/* out: ciphertext of in_len bytes and the tag. */
static bool gcm_seal(const uint8_t *key, const uint8_t *nonce, const char *aad, const char *in, size_t in_len, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;
	bool ok;

	ok = ctx && EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key, nonce, NULL) == 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) == 1 &&
	     EVP_EncryptUpdate(ctx, out, &n, (const uint8_t *)in, (int)in_len) == 1 &&
	     EVP_EncryptFinal_ex(ctx, out + in_len, &n) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, out + in_len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

/* in: ciphertext of len bytes and the tag.  EVP compares the tag in constant time. */
static bool gcm_open(const uint8_t *key, const uint8_t *nonce, const char *aad, uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0;
	bool ok;

	ok = ctx && EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key, nonce, NULL) == 1 &&
	     EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)aad, (int)strlen(aad)) == 1 &&
	     EVP_DecryptUpdate(ctx, out, &n, in, (int)len) == 1 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, in + len) == 1 &&
	     EVP_DecryptFinal_ex(ctx, out + len, &n) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static int seal(const uint8_t key[PM_KEY_SIZE], const char *info, const char *uid, const char *json, struct buf *out, struct error *err)
{
	uint8_t sealed[NONCE_SIZE + ORDER_JSON_MAX + TAG_SIZE];
	size_t len = json ? strlen(json) : 0;
	uint8_t derived[PM_KEY_SIZE];
	int r;

	if (len == 0 || len > ORDER_JSON_MAX)
		return error_set(err, -EINVAL, "an order of %zu bytes is empty or larger than %d", len, ORDER_JSON_MAX);
	if (!uid_ok(uid))
		return error_set(err, -EINVAL, "an order needs the UID of the migration that brought the pod");
	r = derive(key, info, derived, err);
	if (r < 0)
		return r;
	/* Few orders are ever sealed under one key: a random 96-bit nonce does not repeat (SP 800-38D, 8.3). */
	if (RAND_bytes(sealed, NONCE_SIZE) != 1 || !gcm_seal(derived, sealed, uid, json, len, sealed + NONCE_SIZE))
		r = error_set(err, -EIO, "AES-256-GCM failed");
	OPENSSL_cleanse(derived, sizeof(derived));
	if (r == 0 && base64_encode(sealed, NONCE_SIZE + len + TAG_SIZE, out) < 0)
		r = error_set(err, -ENOSPC, "no room for the sealed order");
	return r;
}

int order_seal(const uint8_t key[PM_KEY_SIZE], const char *bringing_uid, const char *json, struct buf *out, struct error *err)
{
	return seal(key, order_info, bringing_uid, json, out, err);
}

int receipt_seal(const uint8_t key[PM_KEY_SIZE], const char *migration_uid, struct buf *out, struct error *err)
{
	return seal(key, receipt_info, migration_uid, receipt_text, out, err);
}

static int open_sealed(const uint8_t key[PM_KEY_SIZE], const char *info, const char *uid, const char *text, size_t len, struct buf *out, struct error *err)
{
	cleanup_buf struct buf sealed = BUF_INIT(NONCE_SIZE + ORDER_JSON_MAX + TAG_SIZE);
	uint8_t derived[PM_KEY_SIZE], plain[ORDER_JSON_MAX];
	size_t plain_len;
	uint8_t *in;
	bool ok;
	int r;

	/* One answer for everything that was not sealed with this key: an attacker learns nothing from it. */
	static const char refused[] = "it was not sealed for this pod";

	if (!uid_ok(uid) || base64_decode(text, len, &sealed) < 0 || sealed.len <= NONCE_SIZE + TAG_SIZE)
		return error_set(err, -EBADMSG, "%s", refused);
	r = derive(key, info, derived, err);
	if (r < 0)
		return r;
	in = (uint8_t *)sealed.data;
	plain_len = sealed.len - NONCE_SIZE - TAG_SIZE;
	ok = gcm_open(derived, in, uid, in + NONCE_SIZE, plain_len, plain);
	OPENSSL_cleanse(derived, sizeof(derived));
	r = ok && !memchr(plain, '\0', plain_len) ? buf_append(out, plain, plain_len) : -EBADMSG;
	OPENSSL_cleanse(plain, sizeof(plain));  /* an order holds the next migration's key */
	if (r == -EBADMSG)
		return error_set(err, r, "%s", refused);
	return r < 0 ? error_set(err, r, "no room for the opened order") : 0;
}

int order_open(const uint8_t key[PM_KEY_SIZE], const char *bringing_uid, const char *text, size_t len, struct buf *out, struct error *err)
{
	return open_sealed(key, order_info, bringing_uid, text, len, out, err);
}

int receipt_open(const uint8_t key[PM_KEY_SIZE], const char *migration_uid, const char *text, size_t len, struct error *err)
{
	cleanup_buf struct buf plain = BUF_INIT(ORDER_JSON_MAX);
	int r = open_sealed(key, receipt_info, migration_uid, text, len, &plain, err);

	if (r == 0 && (plain.len != sizeof(receipt_text) - 1 || memcmp(plain.data, receipt_text, plain.len)))
		r = error_set(err, -EBADMSG, "it is not a receipt");
	return r;
}
