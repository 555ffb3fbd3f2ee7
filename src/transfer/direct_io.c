/* SPDX-License-Identifier: Apache-2.0 */
#include "direct_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static int gone_is(int gone)
{
	return errno == ENOENT || errno == ESRCH ? gone : -errno;
}

int direct_io_open(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	path_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? gone_is(-ESRCH) : fd;
}

/* "pos:", "flags:" and two more, then as much as there is to tell: a line for each lock, for one (fs/proc/fd.c, seq_show). */
int direct_io_is(int fdinfo_fd, const char *number)
{
	cleanup_close int fd = openat(fdinfo_fd, number, O_RDONLY | O_CLOEXEC);
	char text[256];
	unsigned flags;
	const char *at;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0)
		return gone_is(0);
	text[n] = '\0';
	at = strstr(text, "flags:");
	return at && sscanf(at + strlen("flags:"), "%o", &flags) == 1 ? (flags & O_DIRECT) != 0 : -EBADMSG;
}
