/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application of these tests.  Counts milliseconds in memory and in /data/count, and says "tick N" on standard output ten times a second.
 *   app DIR      SIGTERM: ends with status 7;  SIGUSR1: says "usr1"
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t term, usr1;

static void on_term(int s)
{
	(void)s;
	term = 1;
}

static void on_usr1(int s)
{
	(void)s;
	usr1 = 1;
}

int main(int argc, char **argv)
{
	const struct timespec ms = { 0, 1000000 };
	char path[256];
	uint64_t n = 0;
	int fd;

	if (argc != 2)
		return 2;
	signal(SIGTERM, on_term);
	signal(SIGUSR1, on_usr1);
	snprintf(path, sizeof(path), "%s/count", argv[1]);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return 3;
	for (;; n++) {
		if (pwrite(fd, &n, sizeof(n), 0) != sizeof(n))
			return 4;
		if (n % 100 == 0)
			dprintf(1, "tick %llu\n", (unsigned long long)n);
		if (usr1)
			dprintf(1, "usr1\n");
		usr1 = 0;
		if (term)
			return 7;
		nanosleep(&ms, NULL);
	}
}
