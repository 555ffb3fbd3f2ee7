/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container layer against real runc, CRIU, cgroups and containerd.  Runs as root, on a node (HOST_PID 0) or, as the agent
 * does, beside it with the node's pid namespace (HOST_PID 1).  DIR: a folder of the node. container_test HOST_PID DIR without
 * containerd container_test HOST_PID DIR SOCKET POD_UID NAME     and containerd's view of a real pod whose container NAME runs
 * `app count /tmp ..`
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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
	struct place at = { 0 };

	if (argc != 3 && argc != 6) {
		fprintf(stderr, "usage: container_test HOST_PID DIR [SOCKET POD_UID NAME]\n");
		return 2;
	}
	at.host_pid = (pid_t)strtol(argv[1], NULL, 10);
	at.base = argv[2];
	if (at.host_pid > 0)
		snprintf(at.here, sizeof(at.here), "/proc/%d/root", at.host_pid);
	suite_freezer(&at);
	suite_fence(&at);
	suite_criu(&at);
	suite_dump(&at);
	suite_abort(&at);
	suite_refusals(&at);
	if (argc == 6)
		suite_pod(&at, argv[3], argv[4], argv[5]);
	return check_summary();
}
