/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_NET_TCP_OPTIONS_H
#define SRC_NET_TCP_OPTIONS_H

/* What every connection of ours has (include/net/tls.h); silently nothing on a socket that is not TCP. */
void tcp_options(int fd);

#endif
