/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_PROCESS_INFO_H
#define CONTAINER_PROCESS_INFO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "migration/obstacles.h"

/* What /proc tells of a process (hostPID is assumed: pids are the node's). */

/* The innermost pid (last NSpid of /proc/PID/status): the number CRIU's image files carry. */
int process_ns_pid(pid_t pid, pid_t *ret, struct error *err);

/* Has it memory that must stay in memory (mlock(2))?  Also true when nobody can tell. */
bool process_locks_memory(pid_t pid);

/* Bit n - 1 is set for each signal n that waits for the process, or for its first thread (SigPnd, ShdPnd of /proc/PID/status). */
int process_pending_signals(pid_t pid, uint64_t *ret, struct error *err);

/* Is process pid the process first, or a child of it, or of those? A process that has ended is taken for one. */
bool process_descends(pid_t pid, pid_t first);

/*
 * Looks for what CRIU 4.2 cannot dump in one process: io_uring, perf_event, userfaultfd, kvm, fuse and GPU device files,
 * memfd_secret, huge pages, unsupported socket families and protocols, terminals.  Adds all that it finds, each with a sentence (process, fd, what to do).  0, or negative when it could not look:
 * -ENOENT, -ESRCH: the process has ended.
 */
int process_find_obstacles(pid_t pid, struct obstacles *out, struct error *err);

#endif
