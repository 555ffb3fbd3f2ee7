/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that is loaded into CRIU before its others (LD_PRELOAD, ld.so(8)) when it restores into a user namespace that is there already; include/runtime/joiner.h says why.
 * It runs in CRIU of any node, so it needs nothing of a C library but what all of them have.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "openat.h"
#include "runtime/joiner.h"

typedef long (*syscall_fn)(long, ...);

static syscall_fn real_syscall(void)
{
	static syscall_fn found;

	if (!found)
		*(void **)&found = dlsym(RTLD_NEXT, "syscall");
	/* Not loaded before the others, but later (the tests do). */
	if (!found)
		*(void **)&found = dlsym(RTLD_DEFAULT, "syscall");
	return found;
}

/* Memory that a task shares with whom it makes (MAP_SHARED): the kernel writes each pidfd into the maker's, and both must know of it. */
struct told {
	int watch;                      /* a pidfd of the one in between, in its table of files as well as CRIU's (CLONE_FILES); -1: none yet */
	int pidfd;                      /* the same of the new task; or a negative errno */
};

/* In a process of its own, since nobody comes back out of a namespace.  In the new task 0 comes back, as from the call itself; else the process ends, and has told. */
static long clone_inside(syscall_fn call, const struct clone_args *args, size_t size, int userns, struct told *told)
{
	struct clone_args inside = *args;
	long pid = -1;

	inside.flags = (inside.flags & ~(__u64)CLONE_NEWUSER) | CLONE_PIDFD;
	inside.pidfd = (__u64)(uintptr_t)&told->pidfd;
	if (setns(userns, CLONE_NEWUSER) == 0)
		pid = call(SYS_clone3, &inside, size);
	if (pid == 0)
		return 0;
	if (pid < 0)
		told->pidfd = -errno;
	_exit(0);
}

/* The process's number as /proc, and so CRIU, has it: who made it may lie in the pod's process namespace, and was told another.  "Pid:\t17" (proc_pid_fdinfo(5)); -EIO: none. */
static long pid_of(int pidfd)
{
	char path[40] = "/proc/self/fdinfo/", text[512], digits[12];
	size_t at = strlen(path), n = 0;
	const char *p;
	ssize_t len;
	long pid = 0;
	int fd;

	do
		digits[n++] = (char)('0' + pidfd % 10);
	while ((pidfd /= 10) > 0);
	while (n > 0)
		path[at++] = digits[--n];
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[len < 0 ? 0 : len] = '\0';
	p = strstr(text, "\nPid:\t");
	for (p = p ? p + 6 : ""; *p >= '0' && *p <= '9'; p++)
		pid = pid * 10 + (*p - '0');
	return pid > 0 ? pid : -EIO;
}

/* In CRIU, and in the new task, which has a copy of the table of files as it was when it was made. */
static long end_join(int userns, struct told *told, long result)
{
	close(userns);
	if (told->watch >= 0)
		close(told->watch);
	munmap(told, sizeof(*told));
	if (result < 0)
		errno = (int)-result;
	return result < 0 ? -1 : result;
}

/* The one in between has the same parent as CRIU gives the task (CLONE_PARENT), and is seen by nobody. */
static long join(syscall_fn call, const struct clone_args *args, size_t size, const char *path)
{
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct clone_args between = { .flags = CLONE_PARENT | CLONE_FILES | CLONE_PIDFD };
	long pid = -1;
	int userns;

	if (told == MAP_FAILED)
		return -1;
	*told = (struct told){ -1, -EIO };
	between.pidfd = (__u64)(uintptr_t)&told->watch;
	userns = open(path, O_RDONLY | O_CLOEXEC);
	if (userns >= 0)
		pid = call(SYS_clone3, &between, sizeof(between));
	if (pid == 0) {
		clone_inside(call, args, size, userns, told);
		return end_join(userns, told, 0);
	}
	if (pid < 0)
		return end_join(userns, told, -errno);
	/* Its end, also when somebody kills it. */
	while (poll(&(struct pollfd){ told->watch, POLLIN, 0 }, 1, -1) < 0 && errno == EINTR)
		;
	pid = told->pidfd < 0 ? told->pidfd : pid_of(told->pidfd);
	if (told->pidfd >= 0)
		close(told->pidfd);
	return end_join(userns, told, pid);
}

/* The C library's from here on, as far as CRIU is concerned. */

__attribute__((visibility("default"))) long syscall(long number, ...)
{
	const char *path = getenv(JOINER_ENV);
	syscall_fn call = real_syscall();
	long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_clone3 && path && (size_t)a[1] >= CLONE_ARGS_SIZE_VER1 && (size_t)a[1] <= sizeof(struct clone_args)) {
		struct clone_args args = { 0 };

		memcpy(&args, (const void *)a[0], (size_t)a[1]);
		if ((args.flags & CLONE_NEWUSER) && (args.flags & CLONE_PARENT) && !(args.flags & CLONE_VM))
			return join(call, &args, sizeof(args), path);
	}
	return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* Its maps are written already, by whoever made it, and a second time nobody may. */
static bool is_map(const char *path, int flags)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return (flags & O_ACCMODE) == O_RDWR && getenv(JOINER_ENV) && (strcmp(name, "uid_map") == 0 || strcmp(name, "gid_map") == 0);
}

static int open_instead(int dir, const char *path, int flags, mode_t mode)
{
	return (int)real_syscall()(SYS_openat, dir, is_map(path, flags) ? "/dev/null" : path, flags, mode);
}
