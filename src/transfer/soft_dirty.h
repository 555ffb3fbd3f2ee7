/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_SOFT_DIRTY_H
#define SRC_TRANSFER_SOFT_DIRTY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * The kernel's soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst; CONFIG_MEM_SOFT_DIRTY), for kernels before 6.7: cleared for one process, a page has bit 55 in
 * /proc/PID/pagemap from the first write on.  Clearing is not asking: what is written between a look and the next clearing would be lost while the process runs, so bits are cleared once, before
 * anything is read, and gather from then on.
 */
struct soft_dirty {
	int pidfd;
	int map_fd;                     /* /proc/PID/pagemap, which reads as empty when the program has been replaced (exec) */
};

/*
 * Whether this kernel has such bits and shows us in which frames pages are (asked at our own memory).  From then on this process holds the huge zero page, if there is one: its frames are nobody else's as
 * long as it lives.  -EOPNOTSUPP and why not.
 */
int soft_dirty_check(struct error *err);
/* Clears the bits of this process; *ret_us: how long it could map nothing and wait for no page meanwhile, microseconds.  Other bits, and the process, are not touched. */
int soft_dirty_begin(pid_t pid, struct soft_dirty *ret, int64_t *ret_us, struct error *err);
void soft_dirty_end(struct soft_dirty *s);
/* NULL, or why the process of this number is not the one whose bits were cleared. */
const char *soft_dirty_over(const struct soft_dirty *s);
/* Whether an open file of this name is one that a program has to use such bits itself: Boehm's collector keeps both open (os_dep.c). */
bool soft_dirty_file(const char *target);
/* Whether clearing the bits of one clears those of the other: vfork(2), clone(2) with CLONE_VM.  Also when nobody can tell. */
bool soft_dirty_shared(pid_t a, pid_t b);

#endif
