/* SPDX-License-Identifier: Apache-2.0 */
/* The small parsers; the first byte chooses: an HTTP request, a sealed order, a JSON text, base64, a duration. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/keys.h"
#include "net/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void json(const char *text, size_t len)
{
	struct error err;
	struct buf out = BUF_INIT(1u << 20), again = BUF_INIT(1u << 20);
	cJSON *o = NULL, *p = NULL;

	/* What was printed must be read as the same again. */
	if (json_parse(text, len, 65536, &o, &err) == 0 && json_print(o, &out) == 0) {
		if (json_parse(out.data, out.len, 1u << 20, &p, &err) == 0 && json_print(p, &again) == 0 && strcmp(out.data, again.data) != 0)
			abort();
		json_str(o, "a/0/~1b");
	}
	cJSON_Delete(o);
	cJSON_Delete(p);
	buf_free(&out);
	buf_free(&again);
}

static void base64(const char *text, size_t len)
{
	struct buf raw = BUF_INIT(65536), back = BUF_INIT(65536);

	/* Only one text means these bytes. */
	if (base64_decode(text, len, &raw) == 0 && base64_encode(raw.data, raw.len, &back) == 0 &&
	    (back.len != len || (len && memcmp(back.data, text, len) != 0)))
		abort();
	buf_free(&raw);
	buf_free(&back);
}

static void order(const char *text, size_t len)
{
	static const uint8_t key[PM_KEY_SIZE] = { 1, 2, 3 };
	struct buf out = BUF_INIT(65536);
	struct error err;

	/* Nobody guesses a tag. */
	if (order_open(key, "uid", text, len, &out, &err) == 0)
		abort();
	buf_free(&out);
}

static void http(const char *text, size_t len)
{
	struct http_request r;

	if (http_request_parse(text, len, &r) == 200 && (r.path[0] != '/' || strchr(r.path, '?') || strlen(r.query) > 1023))
		abort();
}

static void duration(const char *text, size_t len)
{
	char s[64];
	int64_t us;

	if (len >= sizeof(s))
		return;
	memcpy(s, text, len);
	s[len] = '\0';
	if (duration_parse(s, 3600000000ll, &us) == 0 && (us < 0 || us > 3600000000ll))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const parsers[])(const char *, size_t) = { http, order, json, base64, duration };

	if (size)
		parsers[data[0] % 5]((const char *)data + 1, size - 1);
	return 0;
}
