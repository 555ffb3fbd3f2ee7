/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "migration/keys.h"

#define UID_A "7b6c2b0e-2f0e-4b43-9d0e-0d5a1d6f2a11"
#define UID_B "7b6c2b0e-2f0e-4b43-9d0e-0d5a1d6f2a12"
#define ORDER "{\"action\":\"migrate\",\"epoch\":3,\"podIP\":\"10.1.2.3\"}"

static const uint8_t master[PM_KEY_SIZE] = "0123456789abcdef0123456789abcde";

static void derive_known(void **state)
{
	/* RFC 4231 test case 1 has a 20-byte key; this is the same construction, computed with `openssl dgst -sha256 -mac HMAC`.
	 */
	static const uint8_t key[32] = { 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
					 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b,
					 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b };
	static const uint8_t want[32] = { 0x19, 0x8a, 0x60, 0x7e, 0xb4, 0x4b, 0xfb, 0xc6, 0x99, 0x03, 0xa0,
					  0xf1, 0xcf, 0x2b, 0xbd, 0xc5, 0xba, 0x0a, 0xa3, 0xf3, 0xd9, 0xae,
					  0x3c, 0x1c, 0x7a, 0x3b, 0x16, 0x96, 0xa0, 0xb6, 0x8c, 0xf7 };
	uint8_t got[PM_KEY_SIZE];
	struct error err = { 0 };

	(void)state;
	assert_int_equal(key_derive(key, sizeof(key), "Hi There", got, &err), 0);
	assert_memory_equal(got, want, sizeof(want));
}

static void derive_differs(void **state)
{
	uint8_t a[PM_KEY_SIZE], b[PM_KEY_SIZE], again[PM_KEY_SIZE], other[PM_KEY_SIZE] = { 1 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(key_derive(master, sizeof(master), UID_A, a, &err), 0);
	assert_int_equal(key_derive(master, sizeof(master), UID_B, b, &err), 0);
	assert_int_equal(key_derive(master, sizeof(master), UID_A, again, &err), 0);
	assert_memory_equal(a, again, sizeof(a));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(key_derive(other, sizeof(other), UID_A, b, &err), 0);
	assert_memory_not_equal(a, b, sizeof(a));
}

static void derive_refuses(void **state)
{
	uint8_t out[PM_KEY_SIZE];
	struct error err = { 0 };
	char big[200];

	(void)state;
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(key_derive(master, 31, UID_A, out, &err), -EINVAL);
	assert_int_equal(key_derive(NULL, 0, UID_A, out, &err), -EINVAL);
	assert_int_equal(key_derive(master, sizeof(master), "", out, &err), -EINVAL);
	assert_int_equal(key_derive(master, sizeof(master), NULL, out, &err), -EINVAL);
	assert_int_equal(key_derive(master, sizeof(master), big, out, &err), -EINVAL);
	assert_true(strlen(err.message) > 0);
}

static void round_trip(void **state)
{
	cleanup_buf struct buf text = BUF_INIT(65536), second = BUF_INIT(65536), plain = BUF_INIT(65536);
	struct error err = { 0 };

	(void)state;
	assert_int_equal(order_seal(master, UID_A, ORDER, &text, &err), 0);
	assert_int_equal(order_open(master, UID_A, text.data, text.len, &plain, &err), 0);
	assert_string_equal(plain.data, ORDER);
	/* A nonce of its own each time. */
	assert_int_equal(order_seal(master, UID_A, ORDER, &second, &err), 0);
	assert_string_not_equal(text.data, second.data);
	assert_null(strstr(text.data, "migrate"));
}

/* Nobody can make one of another, nor of an order. */
static void receipts(void **state)
{
	cleanup_buf struct buf receipt = BUF_INIT(4096), order = BUF_INIT(4096), plain = BUF_INIT(4096);
	static const uint8_t other[PM_KEY_SIZE] = { 2 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(receipt_seal(master, UID_A, &receipt, &err), 0);
	assert_int_equal(receipt_open(master, UID_A, receipt.data, receipt.len, &err), 0);
	assert_int_equal(receipt_open(other, UID_A, receipt.data, receipt.len, &err), -EBADMSG);
	assert_int_equal(receipt_open(master, UID_B, receipt.data, receipt.len, &err), -EBADMSG);
	assert_int_equal(receipt_open(master, UID_A, receipt.data, receipt.len - 4, &err), -EBADMSG);
	assert_int_equal(receipt_open(master, UID_A, "", 0, &err), -EBADMSG);
	assert_int_equal(order_open(master, UID_A, receipt.data, receipt.len, &plain, &err), -EBADMSG);
	assert_int_equal(order_seal(master, UID_A, "{\"receipt\":\"running\"}", &order, &err), 0);
	assert_int_equal(receipt_open(master, UID_A, order.data, order.len, &err), -EBADMSG);
}

static void large_orders(void **state)
{
	cleanup_buf struct buf text = BUF_INIT(65536), plain = BUF_INIT(65536), small = BUF_INIT(16);
	struct error err = { 0 };
	char *json = calloc(1, 16384 + 2);

	(void)state;
	memset(json, 'x', 16384);
	assert_int_equal(order_seal(master, UID_A, json, &text, &err), 0);
	assert_int_equal(order_open(master, UID_A, text.data, text.len, &plain, &err), 0);
	assert_int_equal(plain.len, 16384);
	assert_memory_equal(plain.data, json, 16384);
	assert_int_equal(order_open(master, UID_A, text.data, text.len, &small, &err), -ENOSPC);
	json[16384] = 'x';
	assert_int_equal(order_seal(master, UID_A, json, &text, &err), -EINVAL);
	assert_int_equal(order_seal(master, UID_A, "", &text, &err), -EINVAL);
	assert_int_equal(order_seal(master, "", ORDER, &text, &err), -EINVAL);
	assert_int_equal(order_seal(master, UID_A, ORDER, &small, &err), -ENOSPC);
	free(json);
}

static void wrong_key_or_pod(void **state)
{
	cleanup_buf struct buf text = BUF_INIT(65536), plain = BUF_INIT(65536);
	uint8_t other[PM_KEY_SIZE];
	struct error err = { 0 };

	(void)state;
	assert_int_equal(order_seal(master, UID_A, ORDER, &text, &err), 0);
	for (size_t i = 0; i < sizeof(other); i++) {
		memcpy(other, master, sizeof(other));
		other[i] ^= 1;
		assert_int_equal(order_open(other, UID_A, text.data, text.len, &plain, &err), -EBADMSG);
	}
	assert_int_equal(order_open(master, UID_B, text.data, text.len, &plain, &err), -EBADMSG);
	assert_int_equal(order_open(master, "", text.data, text.len, &plain, &err), -EBADMSG);
	assert_int_equal(plain.len, 0);
}

/* Every bit of the sealed bytes, every character of the text, every length. */
static void tampering(void **state)
{
	cleanup_buf struct buf text = BUF_INIT(65536), raw = BUF_INIT(65536), plain = BUF_INIT(65536);
	struct error err = { 0 };

	(void)state;
	assert_int_equal(order_seal(master, UID_A, ORDER, &text, &err), 0);
	assert_int_equal(base64_decode(text.data, text.len, &raw), 0);
	for (size_t bit = 0; bit < raw.len * 8; bit++) {
		cleanup_buf struct buf bad = BUF_INIT(65536);

		raw.data[bit / 8] = (char)(raw.data[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(base64_encode(raw.data, raw.len, &bad), 0);
		assert_int_equal(order_open(master, UID_A, bad.data, bad.len, &plain, &err), -EBADMSG);
		raw.data[bit / 8] = (char)(raw.data[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		text.data[i] = '!';
		assert_int_equal(order_open(master, UID_A, text.data, text.len, &plain, &err), -EBADMSG);
		text.data[i] = c;
		assert_int_equal(order_open(master, UID_A, text.data, i, &plain, &err), -EBADMSG);
	}
	assert_int_equal(plain.len, 0);
	assert_int_equal(order_open(master, UID_A, text.data, text.len, &plain, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(derive_known), cmocka_unit_test(derive_differs),   cmocka_unit_test(derive_refuses),
		cmocka_unit_test(round_trip),   cmocka_unit_test(large_orders),     cmocka_unit_test(wrong_key_or_pod),
		cmocka_unit_test(tampering),    cmocka_unit_test(receipts),
	};

	return cmocka_run_group_tests_name("migration_keys", tests, NULL, NULL);
}
