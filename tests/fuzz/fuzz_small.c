/* SPDX-License-Identifier: Apache-2.0 */
/* The small parsers; the first byte chooses: an HTTP request, a sealed order, a JSON text (and what is picked out of it), base64, a duration. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/json_pick.h"
#include "migration/keys.h"
#include "net/http_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void pick(const char *text, size_t len);

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
	pick(text, len);
}

/* As text: cJSON_Compare takes an object in which a name stands twice for another one. */
static bool same(const cJSON *a, const cJSON *b)
{
	char *s = a ? cJSON_PrintUnformatted(a) : NULL, *t = b ? cJSON_PrintUnformatted(b) : NULL;
	bool r = s && t ? !strcmp(s, t) : s == t;

	cJSON_free(s);
	cJSON_free(t);
	return r;
}

/* Nothing grows, what is wanted is as it was, and nothing else is there. */
static void pick(const char *text, size_t len)
{
	static const struct json_want inner[] = { WANT("b"), WANT_END };
	static const struct json_want want[] = { WANT_OF("a", inner), WANT("c"), WANT_END }, all[] = { WANT("*"), WANT_END };
	struct buf out = BUF_INIT(65536);
	struct error err;
	cJSON *o = NULL, *p = NULL, *q = NULL;
	bool whole = json_parse(text, len, 65536, &o, &err) == 0;

	if (json_pick(text, len, want, &out) == 0) {
		if (out.len > len || strlen(out.data) != out.len || whole != (json_parse(out.data, out.len, 65536, &p, &err) == 0 && whole))
			abort();
		/* A name with escapes is not found in the text. */
		if (whole && !memchr(text, '\\', len) && (!same(json_at(o, "a/b"), json_at(p, "a/b")) || !same(json_at(o, "c"), json_at(p, "c")) || json_at(p, "d") || json_at(p, "a/c")))
			abort();
		if (json_pick(text, len, all, &out) < 0 || (whole && (json_parse(out.data, out.len, 65536, &q, &err) < 0 || !same(o, q))))
			abort();
	}
	cJSON_Delete(o);
	cJSON_Delete(p);
	cJSON_Delete(q);
	buf_free(&out);
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
