/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_LOOPBACK_H
#define NET_LOOPBACK_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/error.h"

/*
 * TCP connections both ends of which are in one network namespace: over loopback, or over an address that the namespace has itself.  One network namespace is a pod, and a pod moves
 * as a whole: these can be taken along.
 */
struct tcp_end {
	struct in6_addr local, remote;          /* IPv4 as ::ffff:a.b.c.d */
	uint16_t local_port, remote_port;
	uint32_t inode;
};

struct tcp_pair {
	struct tcp_end a, b;
};

#define TCP_PAIRS_MAX 4096

/*
 * Each pair once, both ends held by a process (what waits in a listener's queue is not) and connected.  *ret: the caller's to free.  Returns how many, or a negative errno; -E2BIG:
 * more than TCP_PAIRS_MAX, or more sockets than are looked at.
 */
int tcp_pairs(int netns_fd, struct tcp_pair **ret, struct error *err);

/* Nothing passes the namespace's lo any more: what is sent there is lost, as on a cable that was pulled.  Addresses and routes stay. */
int loopback_cut(int netns_fd, struct error *err);
/* As it was before; nothing to do when it was not cut. */
int loopback_mend(int netns_fd, struct error *err);

#endif
