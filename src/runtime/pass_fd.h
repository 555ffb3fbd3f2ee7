/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PASS_FD_H
#define RUNTIME_PASS_FD_H

#include <sys/types.h>

/* Fds over a unix socket (unix(7), SCM_RIGHTS). */
#define PASS_FDS_MAX 3

/* One fd, with a byte.  0, or a negative errno. */
int pass_fd_send(int socket, int fd);
/* The fd (close-on-exec), the caller's from then on; -EBADMSG: the packet has none; -ECONNRESET: nobody is there any more; other errors of recvmsg. */
int pass_fd_receive(int socket);

/*
 * As recvmsg with flags: *ret_len is what it returns.  Returns how many fds (close-on-exec, the caller's) came along, which are the first of fds; at most max, itself at most
 * PASS_FDS_MAX: those that are too many, the kernel closes.
 */
int pass_fds_receive(int socket, void *data, size_t size, int flags, int *fds, int max, ssize_t *ret_len);

#endif
