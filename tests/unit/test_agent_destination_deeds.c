/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "agent/destination.h"
#include "agent/handshake.h"

void played_check(const struct agent_options *o, const cJSON *hello, const cJSON *here, struct obstacles *out);
int played_match(struct destination *d, struct error *err);
int played_parts(struct destination *d, struct obstacles *found, struct error *err);
int64_t test_clock(void);
#define node_check played_check
#define destination_match played_match
#define destination_open_parts played_parts
#define clock_mono_us test_clock
#include "agent/destination_deeds.c"
#undef clock_mono_us
#undef destination_open_parts
#undef destination_match
#undef node_check

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

/* The end of a migration is nothing that is found, and DryRun would be taken for the answer that nothing was. */
static void only_what_can_be_found_is_a_reason(void **state)
{
	static const char *const names[] = { "DryRun", "Cancelled", "TransferFailed", "None", "no such", "" };
	struct error err;
	char hello[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(hello, sizeof(hello), "{\"found\":{\"reason\":\"%s\",\"message\":\"m\"}}", names[i]);
		assert_int_equal(joined(hello, 0, 0, "", &err), -ENOTSUP);
		assert_int_equal(err.reason, REASON_InternalError);
		assert_string_equal(err.message, "m");
	}
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
	/* What we do not need is theirs. */
	assert_true(strlen(err.message) > sizeof(err.message) - 64);
	assert_int_equal(joined(hello, 0, 0, "", &err), -ENOTSUP);
	assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

static struct {
	bool differs;                   /* the nodes */
	int missing, parts;             /* containers; what their images came to */
	int parts_opened;
	int64_t now_us;
} world;

int64_t test_clock(void)
{
	return world.now_us += 5000000;
}

void played_check(const struct agent_options *o, const cJSON *hello, const cJSON *here, struct obstacles *out)
{
	(void)o;
	(void)hello;
	(void)here;
	if (world.differs)
		obstacles_add(out, REASON_CgroupIncompatible, "cgroup v1");
}

int played_match(struct destination *d, struct error *err)
{
	(void)d;
	(void)err;
	return world.missing;
}

int played_parts(struct destination *d, struct obstacles *found, struct error *err)
{
	(void)d;
	(void)found;
	world.parts_opened++;
	return world.parts < 0 ? error_reason(err, world.parts, REASON_NoSpace, "full") : 0;
}

static int compared(bool differs, int missing, int parts, struct error *ret)
{
	struct destination *d = calloc(1, sizeof(*d));
	int r;

	memset(&world, 0, sizeof(world));
	world.differs = differs;
	world.missing = missing;
	world.parts = parts;
	r = compare(d);
	*ret = d->err;
	free(d);
	return r;
}

/* It is told that a container did not start only when it had the time to. */
static void who_is_not_waited_for_is_not_said_to_be_missing(void **state)
{
	struct error err;

	(void)state;
	assert_int_equal(compared(false, 1, 0, &err), -ETIMEDOUT);
	assert_int_equal(err.reason, REASON_DestinationPodFailed);
	assert_true(world.now_us >= MONITORS_TIMEOUT_US);
	assert_int_equal(compared(true, 1, 0, &err), -ENOTSUP);
	assert_string_equal(err.message, "cgroup v1");
	assert_int_equal(world.parts_opened, 0);
	assert_true(world.now_us < MONITORS_TIMEOUT_US);
	assert_int_equal(compared(true, 0, -ENOSPC, &err), -ENOTSUP);
	assert_string_equal(err.message, "cgroup v1; NoSpace: full");
	assert_int_equal(compared(false, 0, 0, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_are_told), cmocka_unit_test(who_has_found_nothing_says_nothing), cmocka_unit_test(a_long_list_leaves_room),
		cmocka_unit_test(only_what_can_be_found_is_a_reason), cmocka_unit_test(who_is_not_waited_for_is_not_said_to_be_missing),
	};

	return cmocka_run_group_tests_name("what the destination does", tests, NULL, NULL);
}
