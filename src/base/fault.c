/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#ifdef PM_FAULTS

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

/* The node's folder, also as the agent sees it; and the only place where a controller, which sees no node and may write nowhere else, can be told. */
static const char *const folders[] = { "/proc/1/root/run/podmigration/faults", "/dev/shm/podmigration-faults" };

static int open_folder(void)
{
	int fd = -1;

	for (size_t i = 0; fd < 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
		fd = open(folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd;
}

/* Opens a named pipe, waiting for its other end; signals do not end that. */
static int open_pipe(int dir, const char *name, const char *what, int flags)
{
	char path[600];
	int fd;

	if (path_format(path, sizeof(path), "%s.%s", name, what) < 0)
		return -1;
	do
		fd = openat(dir, path, flags | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static void say(int fd, const char *point, const char *key)
{
	char line[600];
	int n = snprintf(line, sizeof(line), "%d %s %s\n", getpid(), point, key);

	if (fd >= 0 && n > 0 && n < (int)sizeof(line) && write_full(fd, line, (size_t)n) < 0)
		return;
}

static void stop(int dir, const char *name, const char *point, const char *key)
{
	cleanup_close int here = open_pipe(dir, name, "here", O_WRONLY), go = -1;
	char word;

	say(here, point, key);
	go = open_pipe(dir, name, "go", O_RDONLY);
	if (go >= 0)
		read_full(go, &word, 1);
}

void fault_point(const char *point, const char *key)
{
	cleanup_close int dir = open_folder(), passed = -1;
	int saved = errno;
	char name[512];

	if (dir < 0 || !key || path_format(name, sizeof(name), "%s@%s", point, key) < 0)
		return;
	passed = openat(dir, "passed", O_WRONLY | O_APPEND | O_CLOEXEC);
	say(passed, point, key);
	if (unlinkat(dir, name, 0) == 0)
		stop(dir, name, point, key);
	errno = saved;
}

void fault_state(const char *machine, const char *state, const char *key)
{
	char point[128];

	if (path_format(point, sizeof(point), "%s.%s", machine, state) == 0)
		fault_point(point, key);
}

int64_t fault_clock_us(void)
{
	cleanup_close int dir = open_folder(), fd = dir < 0 ? -1 : openat(dir, "clock", O_RDONLY | O_CLOEXEC);
	char text[32] = "";

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return 0;
	return strtol(text, NULL, 10) * 1000000ll;
}

#endif
