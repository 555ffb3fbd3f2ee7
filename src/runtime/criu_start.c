/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "runtime/joiner.h"
#include "pass_fd.h"
#include "relay.h"
#include "runtime.h"

#define EXIT_NO_CRIU 127        /* as of a shell */

/* runc starts `criu swrk FD` (its libcontainer/criu_linux.go), FD being a socket to itself. */
static int join(const char *dir, int fd)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = RELAY_SOCKET };
	cleanup_close int monitor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ours = -1;
	cleanup_close int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	/* From inside the folder, since a socket's path ends at 107 bytes. */
	if (monitor < 0 || before < 0 || chdir(dir) < 0 || connect(monitor, (struct sockaddr *)&to, sizeof(to)) < 0 || fchdir(before) < 0)
		return -errno;
	if (pass_fd_send(monitor, fd) < 0)
		return -EPIPE;
	ours = pass_fd_receive(monitor);
	return ours < 0 ? ours : dup2(ours, fd) == fd ? 0 : -errno;
}

static bool is_me(const struct stat *me, const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == me->st_dev && st.st_ino == me->st_ino;
}

/* Into a user namespace that is there already (joiner.h): the library lies beside this program. */
static int load_joiner(void)
{
	char dir[1024], library[1100];
	int r = program_dir(dir, sizeof(dir));

	if (r < 0)
		return r;
	if (path_format(library, sizeof(library), "%s/%s", dir, JOINER_LIBRARY) < 0 || access(library, R_OK) < 0)
		return -ENOENT;
	return setenv("LD_PRELOAD", library, 1);
}

/* The next CRIU in PATH after this program. */
static int become_criu(char **argv)
{
	const char *p = getenv("PATH");
	char path[4096];
	struct stat me;

	if (!p || stat("/proc/self/exe", &me) < 0)
		return EXIT_NO_CRIU;
	for (; *p; p += strspn(p, ":")) {
		int len = (int)strcspn(p, ":");

		if (*p == '/' && path_format(path, sizeof(path), "%.*s/%s", len, p, RELAY_PROGRAM) == 0 && !is_me(&me, path))
			execv(path, argv);
		p += len;
	}
	return EXIT_NO_CRIU;
}

int criu_main(int argc, char **argv)
{
	const char *dir = getenv(RELAY_ENV);
	long fd = argc == 3 && !strcmp(argv[1], "swrk") ? strtol(argv[2], NULL, 10) : -1;

	/* Without the monitor it must not be done: runc sees its socket closed. */
	if (dir && fd > 2 && fd < 1024 && join(dir, (int)fd) < 0)
		return EXIT_FAILURE;
	if (dir && getenv(JOINER_ENV) && load_joiner() < 0)
		return EXIT_FAILURE;
	return become_criu(argv);
}
