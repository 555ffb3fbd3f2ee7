/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_INJECT_H
#define SRC_TRANSFER_INJECT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define USER_MODE_ONLY 1                /* UFFD_USER_MODE_ONLY: allowed to every user (kernel 5.11) */

/*
 * Makes a userfaultfd for the memory of another process, which knows nothing of it: one of its threads is stopped (ptrace), made to call userfaultfd(2) and
 * close(2), and goes on where it was; in between the fd is taken over (pidfd_getfd).  *ret_fd is the caller's; *ret_stopped_us: how long the thread stood.
 * -ENOTSUP with a reason: CRIU cannot take an image of it either; -EOPNOTSUPP (not this architecture, or not this process), -ETIMEDOUT (it could not be stopped), -ETIME (it did not
 * come back from the system call: it hinders us), -ESRCH, other negative errno: nothing was changed.
 * Whoever calls must not be killed within the stop (some 100 us): the thread would go on with foreign registers.  x86-64 only.
 */
int inject_userfaultfd(pid_t pid, int *ret_fd, int64_t *ret_stopped_us, struct error *err);

#endif
