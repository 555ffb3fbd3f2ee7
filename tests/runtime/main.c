/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podmigration-runtime with real runc and CRIU, driven as containerd's shim and the agent drive it.  Runs as root on a node, in a mount namespace where
 * /run/podmigration, /var/lib/podmigration and /var/lib/kubelet are its own:
 *   runtime_test RUNTIME NETNS [SUITE]
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "check.h"

static int passed, failed;

bool check(bool ok, const char *fmt, ...)
{
	va_list ap;

	printf("%s - ", ok ? "ok" : "not ok");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	passed += ok;
	failed += !ok;
	return ok;
}

static const struct {
	const char *name;
	void (*run)(struct setup *s);
} suites[] = {
	{ "wait", suite_wait }, { "restore", suite_restore }, { "abort", suite_abort }, { "once", suite_once }, { "bad", suite_bad },
};

int main(int argc, char **argv)
{
	struct setup s = { 0 };

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: runtime_test RUNTIME NETNS [SUITE]\n");
		return 2;
	}
	s.runtime = argv[1];
	s.netns = argv[2];
	snprintf(s.base, sizeof(s.base), "/run/runtime-test");
	snprintf(s.root, sizeof(s.root), "/run/runtime-test/root");
	snprintf(s.images, sizeof(s.images), RUN "/test/images");
	tree_remove(AT_FDCWD, s.base, NULL);
	if (dir_make(AT_FDCWD, s.base, 0700, NULL) < 0 || dir_make(AT_FDCWD, s.images, 0700, NULL) < 0)
		return 2;
	shim_init();
	suite_pass(&s);
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (argc == 3 || !strcmp(argv[3], suites[i].name))
			suites[i].run(&s);
	tree_remove(AT_FDCWD, s.base, NULL);
	printf("%d passed, %d failed\n", passed, failed);
	return failed || !passed;
}
