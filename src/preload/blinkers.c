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
#include "openat.h"

/* PAGEMAP_SCAN, kernel 6.7 (Documentation/admin-guide/mm/pagemap.rst). */
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan)
#define RANGES_AT_ONCE 64

/* Less than the lines of one mapping in smaps have; and what all of them may have. */
#define SMAPS_AT_ONCE 512
#define SMAPS_MAX (4u << 20)

/* MFD_CLOEXEC | MFD_NOEXEC_SEAL, kernel 6.3: PAGEMAP_SCAN, without which the list is of no use, is younger. */
#define SEALED_MEMFD 9u

/* Whose file of this name an fd is: "/proc/PID/pagemap"; 0: none's. */
static uint64_t pid_of(int fd, const char *name)
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
	return *p == '/' && strcmp(p + 1, name) == 0 ? pid : 0;
}

/* Is a range of this process that holds this one on the list? */
static bool in_list(uint64_t pid, uint64_t start, uint64_t end)
{
	const char *path = getenv(BLINKERS_ENV);
	int list = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	struct blinkers_range some[RANGES_AT_ONCE];
	bool found = false;
	ssize_t n;

	while (list >= 0 && !found && (n = read(list, some, sizeof(some))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(some[0]); i++)
			found |= some[i].pid == pid && some[i].start <= start && end <= some[i].end;
	if (list >= 0)
		close(list);
	return found;
}

static bool is_hidden(int fd, const struct scan *s)
{
	int saved = errno;
	bool found;
	uint64_t pid;

	if (s->size < sizeof(*s) || s->flags || s->end <= s->start || s->end - s->start < BLINKERS_MIN)
		return false;
	pid = pid_of(fd, "pagemap");
	found = pid && in_list(pid, s->start, s->end);
	errno = saved;
	return found;
}

static bool copy_slowly(int from, int to)
{
	char some[SMAPS_AT_ONCE];
	size_t all = 0;
	ssize_t n;

	while ((n = read(from, some, sizeof(some))) > 0)
		if ((all += (size_t)n) > SMAPS_MAX || write(to, some, (size_t)n) != n)
			return false;
	return n == 0 && lseek(to, 0, SEEK_SET) == 0;
}

/* What who made the list has written of this process's smaps: a file beside the list.  -1: nothing. */
static int written_smaps(uint64_t pid)
{
	const char *list = getenv(BLINKERS_ENV);
	size_t len = list ? strlen(list) : 0, n = 0;
	char path[600], digits[24];

	while (len > 0 && list[len - 1] != '/')
		len--;
	if (len == 0 || len + sizeof(BLINKERS_SMAPS) + sizeof(digits) > sizeof(path))
		return -1;
	memcpy(path, list, len);
	memcpy(path + len, BLINKERS_SMAPS, sizeof(BLINKERS_SMAPS) - 1);
	len += sizeof(BLINKERS_SMAPS) - 1;
	do
		digits[n++] = (char)('0' + pid % 10);
	while ((pid /= 10) > 0);
	while (n > 0)
		path[len++] = digits[--n];
	path[len] = '\0';
	return (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
}

/*
 * Where nobody has written it: what smaps says of a mapping costs a walk through all of it, some 20 ms for each GiB.  The kernel puts as many mappings as fit into a page of text, and forgets the one that does
 * not fit any more when it has walked through it, to do so again for the next read (fs/seq_file.c).  Who asks for less than one mapping's text gets each walked through once.
 */
static int read_smaps(int fd)
{
	int copy = (int)syscall(SYS_memfd_create, "smaps", SEALED_MEMFD);

	if (copy >= 0 && copy_slowly(fd, copy))
		return copy;
	if (copy >= 0)
		close(copy);
	lseek(fd, 0, SEEK_SET);
	return -1;
}

static int smaps_of(int fd)
{
	int other, saved = errno;
	uint64_t pid = pid_of(fd, "smaps");

	/* Every range of this process holds the empty one. */
	if (!pid || !in_list(pid, UINT64_MAX, 0))
		return fd;
	other = written_smaps(pid);
	if (other < 0)
		other = read_smaps(fd);
	if (other >= 0)
		close(fd);
	errno = saved;
	return other >= 0 ? other : fd;
}

/* The C library's from here on, as far as CRIU is concerned. */

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

static int open_instead(int dir, const char *path, int flags, mode_t mode)
{
	int fd = (int)syscall(SYS_openat, dir, path, flags, mode);

	return fd >= 0 && (flags & ~(O_CLOEXEC | O_LARGEFILE)) == O_RDONLY && strcmp(path, "smaps") == 0 ? smaps_of(fd) : fd;
}
