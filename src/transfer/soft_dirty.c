/* SPDX-License-Identifier: Apache-2.0 */
#include "soft_dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "pagemap.h"

#define PAGE 4096u
#define HUGE (2u << 20)

#define NEITHER "this kernel has no asynchronous write protection (6.7), and "

static int open_of(pid_t pid, const char *name, int flags)
{
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return open(path, flags | O_CLOEXEC);
}

/* Read, not written: the kernel maps its huge page of zeros, and keeps it for each process that ever had it until that ends (mm/huge_memory.c, mm_get_huge_zero_page). */
static void hold_huge_zero_page(void)
{
	uint8_t *all = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile uint8_t *at;

	if (all == MAP_FAILED)
		return;
	at = (uint8_t *)(((uintptr_t)all + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
	if (madvise((void *)(uintptr_t)at, HUGE, MADV_HUGEPAGE) == 0)
		(void)at[0];
	munmap(all, 2 * HUGE);
}

/* What a new mapping's page looks like, just written to. */
static int own_page(struct page_run *ret, uint64_t *ret_frame, struct error *err)
{
	volatile uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t start = (uint64_t)(uintptr_t)page;
	struct pagemap *map = NULL;
	int r;

	if (page == MAP_FAILED)
		return error_set(err, -ENOMEM, "out of memory for a page");
	page[0] = 1;
	r = pagemap_open(getpid(), false, &map, err);
	if (r == 0) {
		pagemap_select(map, start, start + PAGE, SELECT_STATES, false);
		r = pagemap_next(map, ret, err);
	}
	if (r > 0)
		*ret_frame = pagemap_where(map, start) >> 1;
	pagemap_close(map);
	munmap((void *)(uintptr_t)page, PAGE);
	return r < 0 ? r : r == 0 ? error_set(err, -EOPNOTSUPP, "a page of our own is not in our page map") : 0;
}

int soft_dirty_check(struct error *err)
{
	struct page_run own = { 0 };
	uint64_t frame = 0;
	int r = own_page(&own, &frame, err);

	if (r < 0)
		return r;
	if (!own.written)
		return error_set(err, -EOPNOTSUPP, NEITHER "was built without soft-dirty bits (CONFIG_MEM_SOFT_DIRTY)");
	if (!frame)
		return error_set(err, -EOPNOTSUPP, NEITHER "does not show us where pages are (CAP_SYS_ADMIN), which its soft-dirty bits need");
	if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0) != 0)
		return error_set(err, -EOPNOTSUPP, NEITHER "does not tell which processes share their memory (kcmp(2)), which its soft-dirty bits need");
	hold_huge_zero_page();
	return 0;
}

const char *soft_dirty_over(const struct soft_dirty *s)
{
	struct pollfd p = { .fd = s->pidfd, .events = POLLIN };
	uint64_t entry;

	if (poll(&p, 1, 0) != 0)
		return "it has ended";
	return pread(s->map_fd, &entry, sizeof(entry), 0) == sizeof(entry) ? NULL : "it has become another program";
}

int soft_dirty_begin(pid_t pid, struct soft_dirty *ret, int64_t *ret_us, struct error *err)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), map_fd = -1, clear = -1;
	struct soft_dirty s;
	int64_t began;

	if (pidfd < 0)
		return error_errno(err, "process %d", (int)pid);
	map_fd = open_of(pid, "pagemap", O_RDONLY);
	clear = open_of(pid, "clear_refs", O_WRONLY);
	if (map_fd < 0 || clear < 0)
		return error_errno(err, "soft-dirty bits of process %d", (int)pid);
	s = (struct soft_dirty){ .pidfd = pidfd, .map_fd = map_fd };
	/* What was opened is its own only if it has not ended by now. */
	if (soft_dirty_over(&s))
		return error_set(err, -ESRCH, "process %d: %s", (int)pid, soft_dirty_over(&s));
	began = clock_mono_us();
	if (write(clear, "4", 1) != 1)
		return error_errno(err, "clear the soft-dirty bits of process %d", (int)pid);
	*ret_us = clock_mono_us() - began;
	*ret = (struct soft_dirty){ .pidfd = take_fd(&pidfd), .map_fd = take_fd(&map_fd) };
	return 0;
}

void soft_dirty_end(struct soft_dirty *s)
{
	cleanup_closep(&s->pidfd);
	cleanup_closep(&s->map_fd);
}

bool soft_dirty_file(const char *target)
{
	static const char *const names[] = { "/clear_refs", "/pagemap" };
	size_t len = strlen(target);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (len >= strlen(names[i]) && !strcmp(target + len - strlen(names[i]), names[i]))
			return true;
	return false;
}

bool soft_dirty_shared(pid_t a, pid_t b)
{
	long r = syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0);

	return r == 0 || (r < 0 && errno != ESRCH);
}
