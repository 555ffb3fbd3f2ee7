/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "runtime/json_scan.h"

static int scan(const char *text, struct span *ret)
{
	return json_scan(text, strlen(text), ret);
}

static void what_is_json_and_what_is_not(void **state)
{
	static const char *const good[] = { "{}", " [ ] ", "0", "-1.5e+10", "\"\"", "null", "{\"a\":[1,{\"b\":true}],\"c\":\"\\u00e9\\\\\"}\n", "\"\\ud83d\\ude00\"" };
	static const char *const bad[] = {
		"", " ", "{", "}", "[1,]", "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "01", "1.", ".5", "+1", "-", "1e", "tru", "truee", "\"", "\"\\x\"",
		"\"\\u12g4\"", "\"\\u123", "\"\n\"", "[1 2]", "{} {}", "[1}", "{\"a\":1]", "'a'", "nul", "\"\\",
	};
	struct span s;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(scan(good[i], &s), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(scan(bad[i], &s), -EINVAL);
	assert_int_equal(json_scan(NULL, 0, &s), -EINVAL);
	assert_int_equal(json_scan("1\0", 2, &s), -EINVAL);
	/* The length is the limit, not a NUL behind it. */
	assert_int_equal(json_scan("{}x", 2, &s), 0);
}

static void nesting_is_bounded(void **state)
{
	char text[2 * JSON_SCAN_DEPTH_MAX + 16];
	struct span s;

	(void)state;
	for (size_t depth = JSON_SCAN_DEPTH_MAX; depth <= JSON_SCAN_DEPTH_MAX + 2; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(json_scan(text, 2 * depth, &s), depth <= JSON_SCAN_DEPTH_MAX + 1 ? 0 : -EINVAL);
	}
}

static void members_are_found(void **state)
{
	static const char text[] = "{ \"a\" : { \"b.c\" : \"x\", \"b\" : [ \"p\", 2, {} ] } , \"n\" : -42, \"n2\":9223372036854775807, \"n3\":9223372036854775808,"
				   "\"f\":1.5, \"twice\":1, \"twice\":2, \"\\u0061b\":true, \"empty\":\"\" }";
	struct span o, v, at, name;
	char out[8];
	int64_t n;

	(void)state;
	assert_int_equal(scan(text, &o), 0);
	assert_true(json_find(o, "a.b", &v) && json_is(v, "["));
	at = json_members(v);
	assert_true(json_next(&at, &name, &v) && json_equals(v, "p") && name.p == name.end);
	assert_true(json_next(&at, NULL, &v) && json_is(v, "2") && v.end - v.p == 1);
	assert_true(json_next(&at, NULL, &v) && v.end - v.p == 2);
	assert_false(json_next(&at, NULL, &v));
	assert_true(json_find(o, "a", &v) && json_member(v, "b.c", &v) && json_equals(v, "x"));
	assert_true(json_find(o, "ab", &v) && json_is(v, "true"));
	assert_false(json_find(o, "a.b.c", &v));
	assert_false(json_find(o, "nothing", &v));
	assert_int_equal(json_number_at(o, "n", -100, 100, &n), 0);
	assert_int_equal(n, -42);
	assert_int_equal(json_number_at(o, "n", 0, 100, &n), -EINVAL);
	assert_int_equal(json_number_at(o, "n3", 0, INT64_MAX, &n), -EINVAL);
	assert_int_equal(json_number_at(o, "f", 0, 100, &n), -EINVAL);
	assert_int_equal(json_number_at(o, "x", 0, 100, &n), -ENOENT);
	assert_int_equal(json_number_at(o, "twice", 0, 100, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(json_copy_at(o, "empty", out, sizeof(out)), 0);
	assert_string_equal(out, "");
	assert_int_equal(json_copy_at(o, "n", out, sizeof(out)), -EINVAL);
}

static void strings_are_unescaped(void **state)
{
	static const struct {
		const char *text, *value;
		int r;
	} cases[] = {
		{ "\"a\\u0026b\"", "a&b", 0 },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t", 0 },
		{ "\"\\u00e9\\u20ac\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 0 },
		{ "\"\\ud83d\"", "\xef\xbf\xbd", 0 },
		{ "\"\\ud83dx\"", "\xef\xbf\xbdx", 0 },
		{ "\"\\ude00\"", "\xef\xbf\xbd", 0 },
		{ "\"\\u0000\"", NULL, -EINVAL },
		{ "\"0123456789012345678901234567890\"", "0123456789012345678901234567890", 0 },
		{ "\"01234567890123456789012345678901\"", NULL, -ENAMETOOLONG },
		{ "12", NULL, -EINVAL },
	};
	char out[32];
	struct span s;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(scan(cases[i].text, &s), 0);
		assert_int_equal(json_copy(s, out, sizeof(out)), cases[i].r);
		if (cases[i].value)
			assert_string_equal(out, cases[i].value);
	}
}

static void what_is_written_can_be_read(void **state)
{
	static const char nasty[] = "a\"b\\c\n\t\x01/\xc3\xa9";
	struct buf b = BUF_INIT(256);
	char out[64];
	struct span o;

	(void)state;
	assert_int_equal(buf_puts(&b, "{"), 0);
	assert_int_equal(json_put_member(&b, "x", "1"), 0);
	assert_int_equal(json_put_member(&b, nasty, nasty), 0);
	assert_int_equal(buf_puts(&b, "}"), 0);
	assert_int_equal(json_scan(b.data, b.len, &o), 0);
	assert_true(json_member(o, nasty, &o));
	assert_int_equal(json_copy(o, out, sizeof(out)), 0);
	assert_string_equal(out, nasty);
	buf_free(&b);
}

/* Everything the walk can reach lies inside the text; a value's own text is JSON again. */
static void walk(struct span value, const char *from, const char *to, int depth)
{
	struct span at = json_members(value), name, v, again;
	char text[64];

	assert_true(value.p >= from && value.end <= to && value.p < value.end);
	assert_int_equal(json_scan(value.p, (size_t)(value.end - value.p), &again), 0);
	json_copy(value, text, sizeof(text));
	while (depth < 8 && json_next(&at, &name, &v))
		walk(v, from, to, depth + 1);
}

/* Damaged texts, each in memory of exactly its size so that the sanitizers see one byte too many; cJSON accepts what we accept. */
static void damaged_texts_do_no_harm(void **state)
{
	static const char seed[] = "{\"mounts\":[{\"destination\":\"/a\\/b\",\"options\":[\"ro\",\"x\"]},null,-1.5e3],\"l\":{\"n\":true,\"m\":\"ab\\\\c\"}}";
	static const char pieces[] = "{}[]\",:\\u0e1-.tfn x";
	unsigned rnd = 12345, accepted = 0;

	(void)state;
	for (int i = 0; i < 60000; i++) {
		size_t len = sizeof(seed) - 1;
		char *text;
		struct span s;

		rnd = rnd * 1103515245u + 12345u;
		if (rnd >> 20 & 1)
			len -= (rnd >> 8) % len;
		text = malloc(len);
		assert_non_null(text);
		memcpy(text, seed, len);
		for (unsigned k = rnd >> 28 & 3; k > 0; k--) {
			rnd = rnd * 1103515245u + 12345u;
			text[(rnd >> 8) % len] = pieces[(rnd >> 16) % (sizeof(pieces) - 1)];
		}
		if (json_scan(text, len, &s) == 0) {
			/* Halves of surrogate pairs are Go's way (U+FFFD), an error to cJSON. */
			cJSON *o = memmem(text, len, "\\u", 2) ? cJSON_CreateNull() : cJSON_ParseWithLength(text, len);

			accepted++;
			walk(s, text, text + len, 0);
			assert_non_null(o);
			cJSON_Delete(o);
		}
		free(text);
	}
	assert_true(accepted > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_json_and_what_is_not),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(members_are_found),
		cmocka_unit_test(strings_are_unescaped),
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(damaged_texts_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
