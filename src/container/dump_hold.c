/* SPDX-License-Identifier: Apache-2.0 */
#include "dump_hold.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

/* Nobody is told when a tracer lets go (kernel/ptrace.c, ptrace_detach): it is looked, shortly after one another at first. */
#define PAUSE_FIRST_US 100
#define PAUSE_MAX_US 1000

#define MARK "\nTracerPid:\t"
#define STATUS_MAX 4096         /* the line is among the first ten (fs/proc/array.c, task_state) */

/* 1, 0 (also of one that has ended), or negative errno. */
static int is_traced(int tasks_fd, const char *tid)
{
	char path[300], text[STATUS_MAX];
	cleanup_close int fd = -1;
	const char *at;
	ssize_t n;

	path_format(path, sizeof(path), "%s/status", tid);
	fd = openat(tasks_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return errno == ESRCH ? 0 : -errno;
	text[n] = '\0';
	at = strstr(text, MARK);
	return at ? at[sizeof(MARK) - 1] != '0' : -EBADMSG;
}

/* 1: an fd can be read; 0: the pause is over. */
static int pause_for(const int fds[2], int64_t left_us, int64_t *pause_us)
{
	int64_t us = *pause_us < left_us ? *pause_us : left_us;
	struct timespec t = { us / 1000000, (long)(us % 1000000) * 1000 };
	struct pollfd p[2] = { { fds[0], POLLIN, 0 }, { fds[1], POLLIN, 0 } };

	*pause_us = *pause_us * 2 > PAUSE_MAX_US ? PAUSE_MAX_US : *pause_us * 2;
	return ppoll(p, 2, &t, NULL) > 0;
}

static int wait_thread(int tasks_fd, const char *tid, const int fds[2], int64_t deadline_us)
{
	int64_t pause_us = PAUSE_FIRST_US;
	int r;

	while ((r = is_traced(tasks_fd, tid)) > 0) {
		int64_t left = deadline_us - clock_mono_us();

		if (left <= 0)
			return -ETIMEDOUT;
		if (pause_for(fds, left, &pause_us))
			return 1;
	}
	return r;
}

static int wait_process(pid_t pid, const int fds[2], int64_t deadline_us)
{
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;
	char path[64];
	int r = 0;

	path_format(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return errno == ENOENT || errno == ESRCH ? 0 : -errno;
	while (r == 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			r = wait_thread(dirfd(d), e->d_name, fds, deadline_us);
	return r;
}

int dump_hold_wait(const pid_t *pids, int n, const int fds[2], int64_t deadline_us)
{
	int r = 0;

	for (int i = 0; r == 0 && i < n; i++)
		r = wait_process(pids[i], fds, deadline_us);
	return r;
}

pid_t dump_held(const pid_t *pids, int n)
{
	cleanup_close int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[16];

	for (int i = 0; proc >= 0 && i < n; i++) {
		path_format(name, sizeof(name), "%d", pids[i]);
		if (is_traced(proc, name) > 0)
			return pids[i];
	}
	return 0;
}
