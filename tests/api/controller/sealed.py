# SPDX-License-Identifier: Apache-2.0
"""Orders and receipts as docs/protocol.md describes them, made without the product's code: base64(nonce, AES-256-GCM, tag) under HKDF-SHA256 of the migration's key,
which is HMAC-SHA256 of the controller's master key over the migration's UID."""
import base64
import ctypes
import ctypes.util
import hashlib
import hmac
import os

CRYPTO = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
CRYPTO.EVP_CIPHER_CTX_new.restype = CRYPTO.EVP_aes_256_gcm.restype = ctypes.c_void_p
GET_TAG, SET_TAG, TAG = 0x10, 0x11, 16          # openssl/evp.h


def key_of(kube, uid):
    secret = kube.get("/api/v1/namespaces/podmigration-system/secrets/podmigration-master-key")
    return hmac.new(base64.b64decode(secret["data"]["key"]), uid.encode(), hashlib.sha256).digest()


def derived(key, info):
    """RFC 5869 without salt, one block of output."""
    return hmac.new(hmac.new(bytes(32), key, hashlib.sha256).digest(), info.encode() + b"\x01", hashlib.sha256).digest()


class Gcm:
    def __init__(self, begin, key, nonce, aad):
        self.ctx, self.n, self.begin = ctypes.c_void_p(CRYPTO.EVP_CIPHER_CTX_new()), ctypes.c_int(), begin
        self.must(getattr(CRYPTO, f"EVP_{begin}Init_ex")(self.ctx, ctypes.c_void_p(CRYPTO.EVP_aes_256_gcm()), None, key, nonce))
        self.must(self.update(None, aad))

    def must(self, ok):
        if ok != 1:
            raise ValueError("AES-256-GCM: not sealed with this key for this migration")

    def update(self, out, data):
        return getattr(CRYPTO, f"EVP_{self.begin}Update")(self.ctx, out, ctypes.byref(self.n), data, len(data))

    def run(self, data, tag=None):
        out, last = ctypes.create_string_buffer(len(data) + TAG), ctypes.create_string_buffer(TAG)
        self.must(self.update(out, data))
        if tag:
            self.must(CRYPTO.EVP_CIPHER_CTX_ctrl(self.ctx, SET_TAG, TAG, tag))
        self.must(getattr(CRYPTO, f"EVP_{self.begin}Final_ex")(self.ctx, last, ctypes.byref(self.n)))
        if not tag:
            self.must(CRYPTO.EVP_CIPHER_CTX_ctrl(self.ctx, GET_TAG, TAG, last))
        CRYPTO.EVP_CIPHER_CTX_free(self.ctx)
        return out.raw[:len(data)] + (b"" if tag else last.raw)


def seal(key, kind, uid, text):
    nonce = os.urandom(12)
    return base64.b64encode(nonce + Gcm("Encrypt", derived(key, f"podmigration {kind} v1"), nonce, uid.encode()).run(text.encode())).decode()


def unseal(key, kind, uid, sealed):
    raw = base64.b64decode(sealed)
    return Gcm("Decrypt", derived(key, f"podmigration {kind} v1"), raw[:12], uid.encode()).run(raw[12:-TAG], raw[-TAG:]).decode()
