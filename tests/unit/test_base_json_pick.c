/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/json_pick.h"
#include "base/json_skip.h"

static const struct json_want inner[] = { WANT("b"), WANT_END };
static const struct json_want some[] = { WANT_OF("a", inner), WANT("k.x/y"), WANT_END };
static const struct json_want most[] = { UNWANTED("no"), WANT_OF("a", inner), WANT("*"), WANT_END };

static void what_is_wanted(void **state)
{
	static const struct {
		const struct json_want *want;
		const char *text, *left;        /* NULL: no JSON */
	} rows[] = {
		{ some, "{}", "{}" },
		{ some, "{\"c\":1}", "{}" },
		{ some, "{\"a\":1,\"c\":[2,{\"a\":3}],\"k.x/y\":{\"c\":[]}}", "{\"a\":1,\"k.x/y\":{\"c\":[]}}" },
		{ some, "{\"c\":1,\"a\":{\"b\":{\"c\":1},\"c\":2,\"bb\":3},\"ab\":4,\"A\":5,\"\":6}", "{\"a\":{\"b\":{\"c\":1}}}" },
		/* Of an array's elements the same is wanted as of it. */
		{ some, "[{\"a\":[{\"c\":1},{\"b\":2,\"c\":3},4,[{\"b\":5}],{}]},{\"c\":1},null]", "[{\"a\":[{},{\"b\":2},4,[{\"b\":5}],{}]},{},null]" },
		{ some, " { \"c\" : 1 , \"a\" : { \"b\" : 2 } } ", "{\"a\":{\"b\":2 }}" },
		{ some, "\"a\"", "\"a\"" },
		{ some, "{\"c\":\"\\\\\",\"a\":{\"b\":\"]}\\\"\"}}", "{\"a\":{\"b\":\"]}\\\"\"}}" },
		/* As the text stands: an escape is not undone. */
		{ some, "{\"\\u0061\":1}", "{}" },
		{ some, "{\"a\":{\"b\":1},\"a\":{\"b\":2}}", "{\"a\":{\"b\":1},\"a\":{\"b\":2}}" },
		{ most, "{\"no\":[{\"x\":[[]],\"y\":\"]}\\\"]\"}],\"a\":{\"b\":1,\"no\":2},\"c\":{\"no\":3}}", "{\"a\":{\"b\":1},\"c\":{\"no\":3}}" },
		{ most, "{\"not\":1,\"n\":2,\"*\":3}", "{\"not\":1,\"n\":2,\"*\":3}" },
		/* What is left out is checked too. */
		{ some, "", NULL }, { some, "{", NULL }, { some, "[", NULL }, { some, "{\"c\":nul}", NULL }, { some, "{\"c\":\"\n\"}", NULL }, { some, "{\"c\":\"\\x\"}", NULL },
		{ some, "{\"c\":1,}", NULL }, { some, "{\"c\" 1}", NULL }, { some, "{\"c\":[1}", NULL }, { some, "{\"a\":{\"b\":1}", NULL }, { some, "{\"a\":{\"b\":1]}", NULL },
		{ some, "{\"c\":1} x", NULL }, { some, "[1,]", NULL }, { some, "{\"a\":[{]}", NULL }, { some, "{\"c\":\"", NULL }, { some, "{\"a", NULL }, { some, "{\"a\":", NULL },
	};
	struct buf out = BUF_INIT(4096);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		/* Of exactly this size, so that a byte behind it would be noticed. */
		size_t len = strlen(rows[i].text);
		char *text = malloc(len + !len);

		assert_non_null(text);
		memcpy(text, rows[i].text, len);
		assert_int_equal(json_pick(text, len, rows[i].want, &out), rows[i].left ? 0 : -EINVAL);
		assert_string_equal(out.data, rows[i].left ? rows[i].left : "");
		free(text);
	}
	assert_int_equal(json_pick("{\"a\":1}\0", 8, some, &out), -EINVAL);
	buf_free(&out);
}

static void what_is_too_large(void **state)
{
	char text[2 * JSON_SKIP_DEPTH_MAX + 16];
	struct buf out = BUF_INIT(sizeof(text)), small = BUF_INIT(8);

	(void)state;
	assert_int_equal(json_pick("{\"c\":123}", 9, some, &small), -ENOSPC);
	assert_int_equal(json_pick("{\"c\":12}", 8, some, &small), 0);
	for (size_t depth = JSON_SKIP_DEPTH_MAX; depth <= JSON_SKIP_DEPTH_MAX + 2; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(json_pick(text, 2 * depth, some, &out), depth <= JSON_SKIP_DEPTH_MAX + 1 ? 0 : -EINVAL);
	}
	buf_free(&out);
	buf_free(&small);
}

/* Strings of every length, with what ends or spoils them at every place: they are read eight characters at a time. */
static void every_place_in_a_string(void **state)
{
	static const struct {
		const char *put;
		bool good;
	} rows[] = { { "x", true }, { "\x7f", true }, { "\x80", true }, { "\xff", true }, { " ", true }, { "!", true }, { "#", true }, { "[", true }, { "]", true }, { "\\\"", true },
		     { "\\u00e9", true }, { "\x1f", false }, { "\x01", false }, { "\n", false }, { "\\x", false }, { "\\u00g9", false }, { "\"", false } };

	(void)state;
	for (size_t len = 0; len < 40; len++)
		for (size_t at = 0; at <= len; at++)
			for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
				char text[64];
				struct span c = { text, NULL };

				memset(text, 'a', sizeof(text));
				text[0] = '"';
				memcpy(text + 1 + at, rows[i].put, strlen(rows[i].put));
				text[1 + at + strlen(rows[i].put) + (len - at)] = '"';
				c.end = text + len + 2 + strlen(rows[i].put);
				assert_int_equal(json_skip_string(&c) && c.p == c.end, rows[i].good);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_wanted), cmocka_unit_test(what_is_too_large), cmocka_unit_test(every_place_in_a_string) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
