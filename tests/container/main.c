/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container layer against real runc, CRIU, cgroups and containerd.  Runs as root on a node (or in a root with runc and CRIU):
 *   container_test DIR                          without containerd
 *   container_test DIR SOCKET POD_UID NAME      and containerd's view of a real pod whose container NAME counts in its file /tmp/count
 */
#include <stdarg.h>
#include <stdio.h>

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

int check_summary(void)
{
	printf("%d passed, %d failed\n", passed, failed);
	return failed || !passed;
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 5) {
		fprintf(stderr, "usage: container_test DIR [SOCKET POD_UID NAME]\n");
		return 2;
	}
	suite_freezer(argv[1]);
	suite_criu();
	suite_dump(argv[1]);
	suite_abort(argv[1]);
	suite_refusals(argv[1]);
	if (argc == 5)
		suite_pod(argv[2], argv[3], argv[4]);
	return check_summary();
}
