/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_PROCESS_HUGE_H
#define SRC_CONTAINER_PROCESS_HUGE_H

#include <stdbool.h>
#include <sys/types.h>

#define HUGE_DEVICES_MAX 32

/* The file systems (hugetlbfs), by their devices, whose files are huge pages: what a process has from mmap(MAP_HUGETLB), memfd_create(MFD_HUGETLB) and shmget(SHM_HUGETLB) is a file there, too. */
struct huge_devices {
	dev_t dev[HUGE_DEVICES_MAX];
	int n;
};

/* The kernel's own, one for each size, and those that are mounted where the process (proc_fd: /proc/PID) is.  None where the kernel has no huge pages. */
void huge_devices_find(int proc_fd, struct huge_devices *ret);
bool huge_devices_has(const struct huge_devices *h, dev_t dev);

/* The device of a line of /proc/PID/maps; 0: of memory that is no file's. */
dev_t process_maps_device(const char *line);

#endif
