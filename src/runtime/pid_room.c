/* SPDX-License-Identifier: Apache-2.0 */
#include "pid_room.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define LAST_PID "/proc/sys/kernel/ns_last_pid"
#define PID_MAX "/proc/sys/kernel/pid_max"
#define PID_MAX_EVERYWHERE 32768        /* the default of small nodes: a number beyond it could not be restored there when the pod is moved on */

/* Somewhere in the middle half: the application's numbers are mostly at the lower end, and those of an earlier move at another place. */
static long first_of(long max, const char *seed)
{
	return max / 4 + (long)(text_hash(TEXT_HASH, seed) % (uint64_t)(max / 2));
}

/* Both files speak of the namespace of the process that has opened or writes them (pid_namespaces(7)): we are in it. */
static int write_last(const char *seed)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	cleanup_close int fd = -1;
	char text[24];
	long max;

	if (file_read(AT_FDCWD, PID_MAX, &b, NULL) < 0)
		return EIO;
	max = strtol(b.data, NULL, 10);
	if (max < 4 || max > INT32_MAX)
		return ERANGE;
	if (max > PID_MAX_EVERYWHERE)
		max = PID_MAX_EVERYWHERE;
	fd = open(LAST_PID, O_WRONLY | O_CLOEXEC);
	snprintf(text, sizeof(text), "%ld", first_of(max, seed));
	return fd < 0 ? errno : -write_full(fd, text, strlen(text));
}

static int exit_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

/* setns(2): only children come into a process namespace. */
static int enter_and_write(int ns, const char *seed)
{
	pid_t pid;

	if (setns(ns, CLONE_NEWPID) < 0)
		return errno;
	pid = fork();
	if (pid == 0)
		_exit(write_last(seed));
	return pid < 0 ? errno : exit_of(pid);
}

int pid_room_make(const char *path, const char *seed, struct error *err)
{
	cleanup_close int ns = open(path, O_RDONLY | O_CLOEXEC);
	pid_t pid;
	int e;

	if (ns < 0)
		return error_errno(err, "open the pod's process namespace %s", path);
	pid = fork();
	if (pid == 0)
		_exit(enter_and_write(ns, seed));
	e = pid < 0 ? errno : exit_of(pid);
	return e ? error_set(err, -e, "set " LAST_PID " in the pod's process namespace: %s", strerror(e)) : 0;
}
