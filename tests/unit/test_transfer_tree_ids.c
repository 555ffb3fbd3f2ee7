/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "transfer/tree_ids.h"

static const struct id_range range = { .uid = 100000, .gid = 200000, .count = 65536 };

static void ids_go_in_and_out(void **state)
{
	const struct id_range none = { 0 };

	(void)state;
	assert_int_equal(id_inside(&range, range.uid, 101000), 1000);
	assert_int_equal(id_inside(&range, range.uid, 165535), 65535);
	assert_int_equal(id_outside(&range, range.gid, 3000), 203000);
	/* The node's own stay unknown to the container, at both nodes. */
	assert_int_equal(id_inside(&range, range.uid, 0), ID_UNKNOWN);
	assert_int_equal(id_inside(&range, range.uid, 165536), ID_UNKNOWN);
	assert_int_equal(id_outside(&range, range.uid, ID_UNKNOWN), 0);
	assert_true(id_fits(&range, 0) && id_fits(&range, 65535) && id_fits(&range, ID_UNKNOWN));
	assert_false(id_fits(&range, 65536));
	assert_false(id_fits(&range, UINT32_MAX));
	assert_true(id_fits(&none, 65536) && id_fits(NULL, 65536));
	assert_int_equal(id_inside(&none, 0, 1000), 1000);
	assert_int_equal(id_outside(NULL, 0, 1000), 1000);
}

/* vfs_ns_cap_data: magic, two pairs, the user who is root; little endian. */
static void a_capability_names_the_namespace_s_root(void **state)
{
	uint8_t value[24] = { 1, 0, 0, 3, 0, 4 }, two[20] = { 1, 0, 0, 2, 0, 4 };
	const uint8_t root[4] = { 0xa0, 0x86, 0x01, 0 };
	uint8_t before[20];

	(void)state;
	memcpy(value + 20, root, 4);
	tree_ids_value(&range, TREE_IDS_INSIDE, "security.capability", value, sizeof(value));
	assert_memory_equal(value + 20, ((const uint8_t[4]){ 0 }), 4);
	tree_ids_value(&range, TREE_IDS_OUTSIDE, "security.capability", value, sizeof(value));
	assert_memory_equal(value + 20, root, 4);
	assert_int_equal(value[5], 4);
	memcpy(before, two, sizeof(two));
	tree_ids_value(&range, TREE_IDS_OUTSIDE, "security.capability", two, sizeof(two));
	assert_memory_equal(two, before, sizeof(two));
}

static void nobody_s_capability_does_not_become_the_node_s(void **state)
{
	uint8_t value[24] = { 1, 0, 0, 3, 0, 4 };
	const uint8_t unknown[4] = { 0xfe, 0xff, 0xff, 0xff }, beyond[4] = { 0, 0, 1, 0 };

	(void)state;
	/* The node's root, at the source: not carried; and what a source of before carries. */
	assert_int_equal(tree_ids_value(&range, TREE_IDS_INSIDE, "security.capability", value, sizeof(value)), 1);
	memcpy(value + 20, unknown, 4);
	assert_int_equal(tree_ids_value(&range, TREE_IDS_OUTSIDE, "security.capability", value, sizeof(value)), 1);
	memcpy(value + 20, beyond, 4);
	assert_int_equal(tree_ids_value(&range, TREE_IDS_OUTSIDE, "security.capability", value, sizeof(value)), -ERANGE);
	/* Where there is no namespace, all is as it is. */
	assert_int_equal(tree_ids_value(NULL, TREE_IDS_OUTSIDE, "security.capability", value, sizeof(value)), 0);
	assert_memory_equal(value + 20, beyond, 4);
}

static void an_acl_of_other_ids_is_refused(void **state)
{
	uint8_t v[] = { 2, 0, 0, 0, 2, 0, 6, 0, 0, 0, 1, 0 };
	const uint8_t unknown[4] = { 0xfe, 0xff, 0xff, 0xff };

	(void)state;
	assert_int_equal(tree_ids_value(&range, TREE_IDS_OUTSIDE, "system.posix_acl_default", v, sizeof(v)), -ERANGE);
	memcpy(v + 8, unknown, 4);
	assert_int_equal(tree_ids_value(&range, TREE_IDS_OUTSIDE, "system.posix_acl_default", v, sizeof(v)), 0);
	assert_memory_equal(v + 8, ((const uint8_t[4]){ 0 }), 4);
}

/* posix_acl_xattr: version 2; entries of tag, permissions, id: the owner (no id), user 1000, group 5. */
static void an_acl_names_users_and_groups(void **state)
{
	const uint8_t inside[] = { 2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 6, 0, 0xe8, 0x03, 0, 0, 8, 0, 4, 0, 5, 0, 0, 0 };
	uint8_t v[sizeof(inside)];

	(void)state;
	memcpy(v, inside, sizeof(v));
	tree_ids_value(&range, TREE_IDS_OUTSIDE, "system.posix_acl_access", v, sizeof(v));
	assert_memory_equal(v + 4, inside + 4, 8);
	assert_memory_equal(v + 16, ((const uint8_t[]){ 0x88, 0x8a, 0x01, 0 }), 4);     /* 101000 */
	assert_memory_equal(v + 24, ((const uint8_t[]){ 0x45, 0x0d, 0x03, 0 }), 4);     /* 200005 */
	tree_ids_value(&range, TREE_IDS_INSIDE, "system.posix_acl_access", v, sizeof(v));
	assert_memory_equal(v, inside, sizeof(v));
	/* A value that is cut off, and one of the program's own. */
	tree_ids_value(&range, TREE_IDS_OUTSIDE, "system.posix_acl_default", v, 7);
	tree_ids_value(&range, TREE_IDS_OUTSIDE, "user.x", v, sizeof(v));
	assert_memory_equal(v, inside, sizeof(v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_go_in_and_out),
		cmocka_unit_test(a_capability_names_the_namespace_s_root),
		cmocka_unit_test(an_acl_names_users_and_groups),
		cmocka_unit_test(nobody_s_capability_does_not_become_the_node_s),
		cmocka_unit_test(an_acl_of_other_ids_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
