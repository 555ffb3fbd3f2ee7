/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of a stream over a unix socket: `peer listen PATH` or `peer connect PATH`.  With the ends in two containers of a pod (PATH in an
 * emptyDir), each holds half a connection to a process outside, which CRIU cannot dump.  Both count once a second and pass it on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int open_end(const char *how, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		return -1;
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (!strcmp(how, "listen")) {
		unlink(path);
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
			return -1;
		return accept(fd, NULL, NULL);
	}
	/* The other container may not have come to its listen yet. */
	while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		if (errno != ENOENT && errno != ECONNREFUSED)
			return -1;
		usleep(50000);
	}
	return fd;
}

int main(int argc, char **argv)
{
	const char *name = getenv("NAME") ? getenv("NAME") : "peer";
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	fd = argc == 3 ? open_end(argv[1], argv[2]) : -1;
	if (fd < 0) {
		perror("peer");
		return 1;
	}
	for (unsigned long n = 0;; n++) {
		if (write(fd, "x", 1) != 1)
			return 3;
		printf("%s tick %lu connected\n", name, n);
		sleep(1);
	}
}
