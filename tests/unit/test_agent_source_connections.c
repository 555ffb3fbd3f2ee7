/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define freezer_pids played_pids
#define tcp_stream_leave played_leave
#include "agent/source_connections.c"

/* What is looked at of a frozen pod before it is thawed. */

static pid_t child;
static int sockets, others;

int played_pids(struct freezer *f, int i, pid_t *pids, int max)
{
	(void)f;
	(void)i;
	(void)max;
	pids[0] = child;
	return 1;
}

int played_leave(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	sockets += S_ISSOCK(st.st_mode);
	others += !S_ISSOCK(st.st_mode);
	return 0;
}

/* A close(2) of anything else may wait for whoever serves its file system. */
static void only_sockets_are_taken_over(void **state)
{
	struct source *s = calloc(1, sizeof(*s));
	int ready[2];
	char byte;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		syscall(SYS_close_range, 3u, (unsigned)ready[1] - 1, 0u);
		syscall(SYS_close_range, (unsigned)ready[1] + 1, ~0u, 0u);
		if (socket(AF_INET, SOCK_STREAM, 0) < 0 || socket(AF_INET6, SOCK_STREAM, 0) < 0 || open("/proc/self/status", O_RDONLY) < 0 || open("/dev/null", O_RDWR) < 0 ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	s->n = 1;
	source_leave_connections(s);
	/* Its standard streams may be sockets, too. */
	assert_true(sockets >= 2);
	assert_int_equal(others, 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(only_sockets_are_taken_over) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
