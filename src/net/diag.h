/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DIAG_H
#define NET_DIAG_H

#include <linux/inet_diag.h>

/* sock_diag(7), in the network namespace of the calling thread. */

int diag_open(void);            /* a socket that gives up after a second, or a negative errno */
int diag_ask(int fd, unsigned short type, unsigned short flags, const struct inet_diag_req_v2 *body);
int diag_answer(int fd);        /* to one that asked for NLM_F_ACK: 0 or a negative errno */

/* Calls visit for each TCP socket of both families in one of these states (a bit each); stops when it returns less than 0. */
int diag_tcp(int fd, unsigned states, int (*visit)(void *ctx, const struct inet_diag_msg *m), void *ctx);

/* The same in one go through the kernel's table of connections, which is that of the whole node: two milliseconds for 262,144 places, nearly all of them empty. */
int diag_tcp_connected(int fd, unsigned states, int (*visit)(void *ctx, const struct inet_diag_msg *m), void *ctx);

/* The same for UDP and UDP-Lite sockets, in whatever state. */
int diag_udp(int fd, int (*visit)(void *ctx, const struct inet_diag_msg *m), void *ctx);

#endif
