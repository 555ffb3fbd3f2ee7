/* SPDX-License-Identifier: Apache-2.0 */
#include "process_huge.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4u
#endif
#define MFD_HUGE_SHIFT 26       /* linux/memfd.h: from here on the size, as its logarithm */
#define LOG_MIN 16              /* 64 KiB and 16 GiB, both of arm64: smaller and larger ones no machine has */
#define LOG_MAX 34
#define TABLE_MAX (1 << 20)

static void add(struct huge_devices *h, dev_t dev)
{
	if (h->n < HUGE_DEVICES_MAX && !huge_devices_has(h, dev))
		h->dev[h->n++] = dev;
}

/* Nobody tells which devices these are, but an empty file of each size is there, and takes no page. */
static void find_kernels(struct huge_devices *h)
{
	for (unsigned log = LOG_MIN; log <= LOG_MAX; log++) {
		cleanup_close int fd = memfd_create("size", MFD_CLOEXEC | MFD_HUGETLB | log << MFD_HUGE_SHIFT);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0)
			add(h, st.st_dev);
	}
}

/* proc(5): "645 586 0:218 / /mnt rw,relatime - hugetlbfs none rw,pagesize=2M" */
static void find_mounted(int proc_fd, struct huge_devices *h)
{
	cleanup_buf struct buf table = BUF_INIT(TABLE_MAX);

	if (file_read(proc_fd, "mountinfo", &table, NULL) < 0)
		return;
	for (char *line = table.data, *end; line && *line; line = end ? end + 1 : NULL) {
		unsigned major, minor;

		end = strchr(line, '\n');
		if (end)
			*end = '\0';
		if (strstr(line, " - hugetlbfs ") && sscanf(line, "%*d %*d %u:%u", &major, &minor) == 2)
			add(h, makedev(major, minor));
	}
}

void huge_devices_find(int proc_fd, struct huge_devices *ret)
{
	ret->n = 0;
	find_kernels(ret);
	find_mounted(proc_fd, ret);
}

bool huge_devices_has(const struct huge_devices *h, dev_t dev)
{
	for (int i = 0; i < h->n; i++)
		if (h->dev[i] == dev)
			return true;
	return false;
}

dev_t process_maps_device(const char *line)
{
	unsigned major, minor;

	return sscanf(line, "%*s %*s %*s %x:%x", &major, &minor) == 2 ? makedev(major, minor) : 0;
}
