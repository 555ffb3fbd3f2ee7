/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_DUMP_HOLD_H
#define SRC_CONTAINER_DUMP_HOLD_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Waits until no thread of these processes is traced (ptrace(2)) any more.  For processes that can neither begin a thread nor be traced anew: CRIU, once it is told to end, lets go of one after the other,
 * having put the freezer back before the first (criu/seize.c, pstree_switch_state).  0: nobody is held, or who was has ended; 1: one of the two fds (-1: none) can be read before that; -ETIMEDOUT at deadline_us (clock_mono_us); or another
 * negative errno.
 */
int dump_hold_wait(const pid_t *pids, int n, const int fds[2], int64_t deadline_us);
/* One of these processes that is traced now, 0: none is; who is not may be a moment later. */
pid_t dump_held(const pid_t *pids, int n);

#endif
