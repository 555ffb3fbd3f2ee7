/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "container/cgroup_mount.h"

static void options_are_told_apart(void **state)
{
	unsigned int all = 0;

	(void)state;
	assert_int_equal(cgroup_options_mask(""), 0);
	assert_int_equal(cgroup_options_mask("rw"), 0);
	assert_int_equal(cgroup_options_mask("rw,nsdelegatex,xnsdelegate,Nsdelegate"), 0);
	for (const char *const *o = (const char *const[]){ "nsdelegate", "memory_recursiveprot", "favordynmods", NULL }; *o; o++) {
		unsigned int one = cgroup_options_mask(*o);

		assert_int_equal(__builtin_popcount(one), 1);
		assert_int_equal(all & one, 0);
		all |= one;
	}
	assert_int_equal(cgroup_options_mask("rw,favordynmods,nsdelegate,memory_recursiveprot"), all);
	assert_int_equal(cgroup_options_mask(",,favordynmods,,nsdelegate,memory_recursiveprot,"), all);
}

static void mounts_are_found_in_mountinfo(void **state)
{
	static const char systemd[] =
		"35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot";
	unsigned int mask = 0;
	char path[64], small[8];

	(void)state;
	assert_true(cgroup_mount_parse(systemd, path, sizeof(path), &mask));
	assert_string_equal(path, "/sys/fs/cgroup");
	assert_int_equal(mask, cgroup_options_mask("nsdelegate,memory_recursiveprot"));
	assert_true(cgroup_mount_parse("40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 none rw", path, sizeof(path), &mask));
	assert_string_equal(path, "/sys/fs/cgroup/unified");
	assert_int_equal(mask, 0);
	assert_false(cgroup_mount_parse("36 30 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", path, sizeof(path), &mask));
	assert_false(cgroup_mount_parse("36 30 0:33 / /with\\040blank rw - cgroup2 cgroup2 rw", path, sizeof(path), &mask));
	assert_false(cgroup_mount_parse(systemd, small, sizeof(small), &mask));
	assert_false(cgroup_mount_parse("", path, sizeof(path), &mask));
	assert_false(cgroup_mount_parse(" - cgroup2 ", path, sizeof(path), &mask));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_told_apart),
		cmocka_unit_test(mounts_are_found_in_mountinfo),
	};

	return cmocka_run_group_tests_name("container cgroup options", tests, NULL, NULL);
}
