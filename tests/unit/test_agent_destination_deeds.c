/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "agent/destination_deeds.c"

/* What a source in another cluster has found, and what this node has: both are told, the source's first. */

static int joined(const char *hello, int r, int reason, const char *ours, struct error *ret)
{
	struct destination *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->hello = cJSON_Parse(hello);
	assert_non_null(d->hello);
	if (r < 0)
		error_reason(&d->err, r, reason, "%s", ours);
	r = add_found(d, r);
	*ret = d->err;
	cJSON_Delete(d->hello);
	free(d);
	return r;
}

#define FOUND "{\"found\":{\"reason\":\"IOUringInUse\",\"message\":\"container web: process 7\"}}"

static void both_are_told(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(joined(FOUND, -ENOTSUP, REASON_CgroupIncompatible, "cgroup v1", &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_IOUringInUse);
	assert_string_equal(err.message, "container web: process 7; CgroupIncompatible: cgroup v1");
	assert_int_equal(joined(FOUND, 0, 0, "", &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_IOUringInUse);
	assert_string_equal(err.message, "container web: process 7");
}

static void who_has_found_nothing_says_nothing(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(joined("{}", 0, 0, "", &err), 0);
	assert_string_equal(err.message, "");
	assert_int_equal(joined("{}", -ENOTSUP, REASON_NoSpace, "full", &err), -ENOTSUP);
	assert_string_equal(err.message, "full");
	assert_int_equal(joined("{\"found\":[1]}", 0, 0, "", &err), 0);
	/* Not the form that it should have: it is no welcome all the same. */
	assert_int_equal(joined("{\"found\":{\"message\":5}}", 0, 0, "", &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_InternalError);
}

/* However much it is, ours has its place. */
static void a_long_list_leaves_room(void **state)
{
	char hello[4096], list[3000];
	struct error err;

	(void)state;
	memset(list, 'x', sizeof(list) - 1);
	list[sizeof(list) - 1] = '\0';
	snprintf(hello, sizeof(hello), "{\"found\":{\"reason\":\"UnsupportedFile\",\"message\":\"%s\"}}", list);
	assert_int_equal(joined(hello, -ENOTSUP, REASON_NoSpace, "full", &err), -ENOTSUP);
	assert_non_null(strstr(err.message, "x; NoSpace: full"));
	assert_int_equal(joined(hello, 0, 0, "", &err), -ENOTSUP);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_are_told), cmocka_unit_test(who_has_found_nothing_says_nothing), cmocka_unit_test(a_long_list_leaves_room),
	};

	return cmocka_run_group_tests_name("what the destination does", tests, NULL, NULL);
}
