/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PASS_FD_H
#define RUNTIME_PASS_FD_H

/* One fd over a unix socket, with a byte (unix(7), SCM_RIGHTS). */

/* 0, or a negative errno. */
int pass_fd_send(int socket, int fd);
/* The fd (close-on-exec), the caller's from then on; -EBADMSG: the packet has none; -ECONNRESET: nobody is there any more; other errors of recvmsg. */
int pass_fd_receive(int socket);

#endif
