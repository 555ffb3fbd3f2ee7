/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "agent/destination_limit.c"
#include "agent/host_path.c"

/* A container's memory against the limits of its group and those above it. */

static char root[] = "/tmp/pm-limit-XXXXXX";
static struct agent_options options = { .host_root = root };

static void put(const char *path, const char *text)
{
	char full[512], dir[512];

	snprintf(full, sizeof(full), "%s/sys/fs/cgroup%s", root, path);
	snprintf(dir, sizeof(dir), "%s", full);
	*strrchr(dir, '/') = '\0';
	assert_int_equal(dir_make(AT_FDCWD, dir, 0700, NULL), 0);
	assert_int_equal(file_write(AT_FDCWD, full, text, strlen(text), 0600, false, NULL), 0);
}

static int checked(const char *cgroup, uint64_t pages)
{
	struct destination *d = calloc(1, sizeof(*d));
	struct destination_container *c = &d->containers[0];
	struct fill_head head = { FILL_MAGIC, 1, pages };
	int list = memfd_create("list", MFD_CLOEXEC), r;
	struct error err = { 0 };

	d->o = &options;
	c->d = d;
	snprintf(c->info.cgroup, sizeof(c->info.cgroup), "%s", cgroup);
	assert_int_equal(pwrite(list, &head, sizeof(head), 0), sizeof(head));
	r = destination_check_limit(c, list, &err);
	assert_true(r == 0 || err.reason == REASON_RestoreFailed);
	close(list);
	free(d);
	return r;
}

static void the_smallest_limit_counts(void **state)
{
	(void)state;
	put("/memory/pods/pod1/c1/memory.limit_in_bytes", "9223372036854771712\n");
	put("/memory/pods/pod1/memory.limit_in_bytes", "4194304\n");
	put("/memory/pods/memory.limit_in_bytes", "8388608\n");
	assert_int_equal(checked("/pods/pod1/c1", 1024), 0);
	assert_int_equal(checked("/pods/pod1/c1", 1025), -ENOMEM);
	assert_int_equal(checked("/pods/pod2/c1", 2048), 0);
	assert_int_equal(checked("/pods/pod2/c1", 2049), -ENOMEM);
}

static void version_two(void **state)
{
	(void)state;
	put("/two/pod/memory.max", "max\n");
	assert_int_equal(checked("/two/pod", 1 << 30), 0);
	put("/two/memory.max", "4096\n");
	assert_int_equal(checked("/two/pod", 1), 0);
	assert_int_equal(checked("/two/pod", 2), -ENOMEM);
}

/* A pod's slice lies in that of its class, and that in kubepods.slice (systemd.slice(5)). */
static void the_systemd_driver(void **state)
{
	static const char name[] = "kubepods-burstable-podU.slice:cri-containerd:c1";

	(void)state;
	put("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU.slice/cri-containerd-c1.scope/memory.max", "max\n");
	assert_int_equal(checked(name, 1 << 30), 0);
	put("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU.slice/memory.max", "8192\n");
	assert_int_equal(checked(name, 2), 0);
	assert_int_equal(checked(name, 3), -ENOMEM);
	put("/memory/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU.slice/cri-containerd-c1.scope/memory.limit_in_bytes", "4096\n");
	assert_int_equal(checked(name, 1), 0);
	assert_int_equal(checked(name, 2), -ENOMEM);
}

static void what_cannot_be_read_is_no_limit(void **state)
{
	(void)state;
	assert_int_equal(checked("/nothing/there", 1 << 30), 0);
	assert_int_equal(checked("pod.slice:cri:c1", 1 << 30), 0);
	assert_int_equal(checked("pod:cri:c1", 1 << 30), 0);
	assert_int_equal(checked("", 1 << 30), 0);
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_limit_counts),
		cmocka_unit_test(version_two),
		cmocka_unit_test(the_systemd_driver),
		cmocka_unit_test(what_cannot_be_read_is_no_limit),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
