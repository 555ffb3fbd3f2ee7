/* SPDX-License-Identifier: Apache-2.0 */
/* Holds an io_uring, which CRIU cannot dump, and counts, so that its going on can be seen: `NAME tick N` about each second. */
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct io_uring_params p = { 0 };
	const char *name = getenv("NAME") ? getenv("NAME") : "uring";
	long fd = syscall(SYS_io_uring_setup, 4, &p);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fd < 0)
		perror("io_uring_setup");
	for (unsigned long n = 0;; n++) {
		printf("%s tick %lu ring=%ld\n", name, n, fd);
		sleep(1);
	}
}
