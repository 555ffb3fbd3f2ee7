/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library that is loaded into CRIU before its others (LD_PRELOAD, ld.so(8)); include/container/blinkers.h says what for.  It runs in CRIU of any node, so it needs nothing
 * of a C library but what all of them have.  Whatever goes wrong here ends in the kernel's own answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "container/blinkers.h"

/* PAGEMAP_SCAN, kernel 6.7 (Documentation/admin-guide/mm/pagemap.rst). */
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan)
#define RANGES_AT_ONCE 64

/* Whose page map an fd is: "/proc/PID/pagemap"; 0: none's. */
static uint64_t pid_of(int fd)
{
	char path[32] = "/proc/self/fd/", target[64], digits[12];
	size_t at = strlen(path), n = 0;
	uint64_t pid = 0;
	const char *p;
	ssize_t len;

	if (fd < 0)
		return 0;
	do
		digits[n++] = (char)('0' + fd % 10);
	while ((fd /= 10) > 0);
	while (n > 0)
		path[at++] = digits[--n];
	len = readlink(path, target, sizeof(target) - 1);
	if (len <= 0)
		return 0;
	target[len] = '\0';
	if (strncmp(target, "/proc/", 6) != 0)
		return 0;
	for (p = target + 6; *p >= '0' && *p <= '9'; p++)
		pid = pid * 10 + (uint64_t)(*p - '0');
	return strcmp(p, "/pagemap") == 0 ? pid : 0;
}

static bool in_list(int list, uint64_t pid, const struct scan *s)
{
	struct blinkers_range some[RANGES_AT_ONCE];
	ssize_t n;

	while ((n = read(list, some, sizeof(some))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(some[0]); i++)
			if (some[i].pid == pid && some[i].start <= s->start && s->end <= some[i].end)
				return true;
	return false;
}

static bool is_hidden(int fd, const struct scan *s)
{
	const char *path = getenv(BLINKERS_ENV);
	int saved = errno, list;
	bool found = false;
	uint64_t pid;

	if (!path || s->size < sizeof(*s) || s->flags || s->end <= s->start || s->end - s->start < BLINKERS_MIN)
		return false;
	pid = pid_of(fd);
	list = pid ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (list >= 0) {
		found = in_list(list, pid, s);
		close(list);
	}
	errno = saved;
	return found;
}

/* The C library's, as far as CRIU is concerned. */
__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	struct scan *s;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	s = arg;
	if (request == SCAN_IOCTL && s && is_hidden(fd, s)) {
		s->walk_end = s->end;
		return 0;
	}
	return (int)syscall(SYS_ioctl, fd, request, arg);
}
