/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RESET_H
#define NET_RESET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Ends all TCP sockets of a network namespace, listening ones first: every peer gets a reset at once, and whoever connects is refused.  For the pod that has moved away:
 * its frozen sockets would let peers wait until their own patience ends.  Returns how many, or a negative errno: -EOPNOTSUPP where the kernel lacks
 * CONFIG_INET_DIAG_DESTROY.  *ret_listened: one of them listened.
 */
int tcp_reset_all(int netns_fd, bool *ret_listened, struct error *err);

/* How many resets the network namespace of process pid has sent in its life (OutRsts of /proc/PID/net/snmp, IPv4 and IPv6): one for each connection that is refused.  Negative errno. */
int tcp_resets_sent(pid_t pid, uint64_t *ret, struct error *err);

#endif
