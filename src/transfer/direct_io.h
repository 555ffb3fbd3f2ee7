/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_DIRECT_IO_H
#define SRC_TRANSFER_DIRECT_IO_H

#include <sys/types.h>

/* What devices write to by O_DIRECT, memory and files, changes unseen: whoever asks for it must not be told "no" when nobody knows. */

/* An open folder /proc/PID/NAME ("fd", "fdinfo"); -ESRCH: the process has ended; another negative errno: it cannot be told. */
int direct_io_open(pid_t pid, const char *name);
/* Of the open file of this number, in such a folder fdinfo: 1: it is open with O_DIRECT; 0: it is not, or closed by now; negative errno: it cannot be told. */
int direct_io_is(int fdinfo_fd, const char *number);

#endif
