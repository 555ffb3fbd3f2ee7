/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TREE_PLACE_H
#define TESTS_TREE_PLACE_H

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* Tests of trees work below a tmpfs of their own, the working folder, in a private mount namespace; or below the folder that TEST_PLACE names (tests/filesystems.sh), empty and of another file system. */
static char tree_place[sizeof("/tmp/podmigration-tree-XXXXXX")];

static int set_up(void **state)
{
	const char *place = getenv("TEST_PLACE");

	(void)state;
	snprintf(tree_place, sizeof(tree_place), "/tmp/podmigration-tree-XXXXXX");
	if (geteuid() != 0 || !mkdtemp(tree_place) || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    (place ? mount(place, tree_place, NULL, MS_BIND, NULL) : mount("tmpfs", tree_place, "tmpfs", 0, "size=1g")) < 0 || chdir(tree_place) < 0) {
		print_message("needs root and mount namespaces: %s\n", strerror(errno));
		return -1;
	}
	umask(0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (chdir("/") < 0 || umount2(tree_place, MNT_DETACH) < 0)
		return -1;
	return rmdir(tree_place);
}

#endif
