/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/mounts_below.h"

static char root[] = "/tmp/pm-below-XXXXXX";

static void at(const char *name, char *out, size_t size)
{
	assert_int_equal(path_format(out, size, "%s/%s", root, name), 0);
}

/* As CRIU does it: a tmpfs, and in it others. */
static void mount_on(const char *name)
{
	char path[128];

	at(name, path, sizeof(path));
	assert_int_equal(dir_make(AT_FDCWD, path, 0700, NULL), 0);
	assert_int_equal(mount("tmpfs", path, "tmpfs", 0, NULL), 0);
}

/* In the mount table of this process. */
static int count_mounts(pid_t pid, const char *name)
{
	struct buf b = BUF_INIT(4 << 20);
	char path[128], file[64], *p;
	int n = 0;

	at(name, path, sizeof(path));
	snprintf(file, sizeof(file), "/proc/%d/mountinfo", (int)pid);
	assert_int_equal(file_read(AT_FDCWD, file, &b, NULL), 0);
	for (p = b.data; (p = strstr(p, path)); p++)
		n++;
	buf_free(&b);
	return n;
}

static void mount_all(void)
{
	mount_on("one/work/yard");
	mount_on("one/work/yard/freezer");
	mount_on("one/work/yard/freezer");
	mount_on("one/work/yard/pids");
	mount_on("one-more");
	mount_on("two/work/yard");
}

static void check(pid_t pid)
{
	struct error err = { 0 };
	char folder[128];

	at("one", folder, sizeof(folder));
	assert_int_equal(count_mounts(pid, "one/"), 4);
	assert_int_equal(mounts_below_detach(pid == getpid() ? 0 : pid, folder, &err), 0);
	assert_int_equal(count_mounts(pid, "one/"), 0);
	assert_int_equal(count_mounts(pid, "one-more"), 1);
	assert_int_equal(count_mounts(pid, "two"), 1);
	/* Nothing is left to be done. */
	assert_int_equal(mounts_below_detach(pid == getpid() ? 0 : pid, folder, &err), 0);
}

static void all_below_the_folder_and_nothing_else(void **state)
{
	char path[128];

	(void)state;
	mount_all();
	check(getpid());
	at("one-more", path, sizeof(path));
	assert_int_equal(umount(path), 0);
	at("two/work/yard", path, sizeof(path));
	assert_int_equal(umount(path), 0);
	at("one", path, sizeof(path));
	assert_int_equal(tree_remove(AT_FDCWD, path, NULL), 0);
}

/* The agent sees the node through /proc, from a mount namespace of its own. */
static void on_a_node_with_mounts_of_its_own(void **state)
{
	int ready[2];
	pid_t node;
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	node = fork();
	if (node == 0) {
		if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
			_exit(1);
		mount_all();
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	assert_int_equal(count_mounts(getpid(), "one"), 0);
	check(node);
	kill(node, SIGKILL);
	waitpid(node, NULL, 0);
	/* This process is where it was. */
	assert_int_equal(access(root, F_OK), 0);
}

static void a_node_that_is_not_there_is_an_error(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_true(mounts_below_detach(4194303, root, &err) < 0);
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
		cmocka_unit_test(all_below_the_folder_and_nothing_else),
		cmocka_unit_test(on_a_node_with_mounts_of_its_own),
		cmocka_unit_test(a_node_that_is_not_there_is_an_error),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
