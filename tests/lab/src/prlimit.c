/* A crutch of the lab, not of the product: preloaded (by /etc/ld.so.preload in
 * the lab machines' root) where the host lacks CAP_SYS_RESOURCE.
 *
 * CRIU reads the resource limits of every process it dumps with prlimit64(pid,
 * ..). The kernel lets a process read another user's limits that way only with
 * CAP_SYS_RESOURCE, so on such a host no container that runs as another user
 * than root could be dumped, though it can on an ordinary node. The same
 * numbers stand in /proc/PID/limits, readable with ptrace rights, which CRIU
 * has. So: when a pure read fails with EPERM, answer it from there. Setting
 * limits is left alone, and so is everything when the kernel says yes.
 *
 * CRIU makes the call through libc's generic syscall(2) function, other
 * programs through prlimit(3); both are covered. x86-64 only. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the shim passes system calls on by hand and knows only x86-64"
#endif

/* How /proc/PID/limits (fs/proc/base.c) calls each RLIMIT_ number. */
static const char *const limit_name[] = {
	"Max cpu time",      "Max file size",        "Max data size",
	"Max stack size",    "Max core file size",   "Max resident set",
	"Max processes",     "Max open files",       "Max locked memory",
	"Max address space", "Max file locks",       "Max pending signals",
	"Max msgqueue size", "Max nice priority",    "Max realtime priority",
	"Max realtime timeout",
};
#define LIMITS (sizeof(limit_name) / sizeof(limit_name[0]))
#define NAME_WIDTH 26 /* the values begin in this column */

/* The bare system call: libc's own syscall() is what this library replaces. */
static long bare(long nr, const long a[6])
{
	register long r10 __asm__("r10") = a[3];
	register long r8 __asm__("r8") = a[4];
	register long r9 __asm__("r9") = a[5];
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static rlim_t value_of(const char *text)
{
	return strcmp(text, "unlimited") ? strtoull(text, NULL, 10) : RLIM_INFINITY;
}

static int read_limits_file(pid_t pid, unsigned int which, struct rlimit *ret)
{
	char path[64], line[256], soft[32], hard[32];
	size_t len = strlen(limit_name[which]);
	int found = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (!found && fgets(line, sizeof(line), f)) {
		/* the table is padded with blanks to NAME_WIDTH */
		if (strncmp(line, limit_name[which], len) || line[len] != ' ' || strlen(line) <= NAME_WIDTH)
			continue;
		if (sscanf(line + NAME_WIDTH, "%31s %31s", soft, hard) != 2)
			continue;
		ret->rlim_cur = value_of(soft);
		ret->rlim_max = value_of(hard);
		found = 1;
	}
	fclose(f);
	return found;
}

/* As the kernel answers: 0, or a negative errno. */
static long get_or_set(pid_t pid, unsigned int which, const struct rlimit *new, struct rlimit *old)
{
	const long a[6] = { pid, which, (long)new, (long)old, 0, 0 };
	long ret = bare(SYS_prlimit64, a);

	if (ret != -EPERM || new || !old || which >= LIMITS)
		return ret;
	return read_limits_file(pid, which, old) ? 0 : ret;
}

static int as_libc(long ret)
{
	if (ret >= 0)
		return 0;
	errno = (int)-ret;
	return -1;
}

int prlimit(pid_t pid, enum __rlimit_resource which, const struct rlimit *new, struct rlimit *old)
{
	return as_libc(get_or_set(pid, which, new, old));
}

int prlimit64(pid_t pid, enum __rlimit_resource which, const struct rlimit64 *new, struct rlimit64 *old)
{
	/* rlimit and rlimit64 are the same on x86-64 */
	return as_libc(get_or_set(pid, which, (const struct rlimit *)new, (struct rlimit *)old));
}

long syscall(long nr, ...)
{
	long a[6], ret;
	va_list args;

	va_start(args, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	ret = nr == SYS_prlimit64 ?
		      get_or_set((pid_t)a[0], (unsigned int)a[1], (const struct rlimit *)a[2], (struct rlimit *)a[3]) :
		      bare(nr, a);
	if (ret < 0 && ret >= -4095) {
		errno = (int)-ret;
		return -1;
	}
	return ret;
}
