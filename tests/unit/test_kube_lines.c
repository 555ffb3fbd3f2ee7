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

#include "kube/backoff.h"
#include "kube/client.h"
#include "kube/lines.h"

/* The lines seen, joined by '|'. */
static int join(void *ctx, const char *line, size_t len)
{
	char *out = ctx;

	snprintf(out + strlen(out), 256 - strlen(out), "%.*s|", (int)len, line);
	return len == 4 && !memcmp(line, "stop", 4) ? -ECANCELED : 0;
}

#define TEXT "{\"a\":1}\n\n{\"b\":\"\xe2\x98\x83\"}\nx\nlast"
#define LINES "{\"a\":1}|{\"b\":\"\xe2\x98\x83\"}|x|last|"

/* Cut into three pieces at every pair of places. */
static void every_split(void **state)
{
	size_t n = strlen(TEXT);

	(void)state;
	for (size_t i = 0; i <= n; i++)
		for (size_t j = i; j <= n; j++) {
			struct lines l = LINES_INIT(64);
			char out[256] = "";

			assert_int_equal(lines_feed(&l, TEXT, i, join, out), 0);
			assert_int_equal(lines_feed(&l, TEXT + i, j - i, join, out), 0);
			assert_int_equal(lines_feed(&l, TEXT + j, n - j, join, out), 0);
			assert_int_equal(lines_end(&l, join, out), 0);
			assert_string_equal(out, LINES);
			lines_reset(&l);
		}
}

static void too_long(void **state)
{
	char out[256] = "";
	struct lines l = LINES_INIT(8);

	(void)state;
	assert_int_equal(lines_feed(&l, "12345678\n", 9, join, out), 0);
	assert_int_equal(lines_feed(&l, "123456789\n", 10, join, out), -EMSGSIZE);
	assert_int_equal(lines_feed(&l, "1234", 4, join, out), 0);
	assert_int_equal(lines_feed(&l, "56789", 5, join, out), -EMSGSIZE);
	assert_string_equal(out, "12345678|");
	lines_reset(&l);
}

static void handler_stops(void **state)
{
	char out[256] = "";
	struct lines l = LINES_INIT(64);

	(void)state;
	assert_int_equal(lines_feed(&l, "a\nstop\nb\n", 9, join, out), -ECANCELED);
	assert_string_equal(out, "a|stop|");
	lines_reset(&l);
}

static void paths(void **state)
{
	static const struct {
		const char *gv, *ns, *plural, *name, *sub, *want;       /* want NULL: refused */
	} t[] = {
		{ "v1", "x", "pods", "y", NULL, "/api/v1/namespaces/x/pods/y" },
		{ "v1", "x", "pods", "y.z-1", "status", "/api/v1/namespaces/x/pods/y.z-1/status" },
		{ "v1", NULL, "nodes", NULL, NULL, "/api/v1/nodes" },
		{ "podmigration.dev/v1alpha1", "n", "podmigrations", NULL, NULL, "/apis/podmigration.dev/v1alpha1/namespaces/n/podmigrations" },
		{ "v1", "x", "pods", "../secrets", NULL, NULL },
		{ "v1", "x", "pods", "a?b", NULL, NULL },
		{ "v1", "x", "pods", "", NULL, NULL },
		{ "v1", "x", "pods", "Y", NULL, NULL },
		{ "v1", "x", "pods", "a..b", NULL, NULL },
		{ "v1", "x", "pods", "a.", NULL, NULL },
		{ "v1", "x", "pods", "-a", NULL, NULL },
		{ "v1", "x.y", "pods", "a", NULL, NULL },
		{ "v1", "x", "pods", NULL, "status", NULL },
		{ "v1", "x", "pods/y", NULL, NULL, NULL },
		{ "a/b/c", "x", "pods", NULL, NULL, NULL },
		{ "../v1", "x", "pods", NULL, NULL, NULL },
	};
	char out[256], small[10];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int r = kube_path(out, sizeof(out), t[i].gv, t[i].ns, t[i].plural, t[i].name, t[i].sub);

		assert_int_equal(r, t[i].want ? 0 : -EINVAL);
		if (t[i].want)
			assert_string_equal(out, t[i].want);
	}
	assert_int_equal(kube_path(small, sizeof(small), "v1", "x", "pods", NULL, NULL), -EINVAL);
}

static void backoff(void **state)
{
	static const int64_t base[] = { 800, 1600, 3200, 6400, 12800, 15000, 15000, 15000 };
	struct backoff lo = { 0 }, hi = { 0 };
	int64_t now = 1000000;

	(void)state;
	for (size_t i = 0; i < sizeof(base) / sizeof(base[0]); i++) {
		assert_int_equal(backoff_next_ms(&lo, now, 0), base[i]);
		assert_int_equal(backoff_next_ms(&hi, now, (uint32_t)base[i] - 1), 2 * base[i] - 1);
	}
	/* Two minutes after the last wait ended it begins anew. */
	assert_int_equal(backoff_next_ms(&lo, now + 15000000 + BACKOFF_QUIET_US, 0), 15000);
	assert_int_equal(backoff_next_ms(&lo, now + 2 * (15000000 + BACKOFF_QUIET_US) + 1000000, 0), 800);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_split), cmocka_unit_test(too_long), cmocka_unit_test(handler_stops),
		cmocka_unit_test(paths),       cmocka_unit_test(backoff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
