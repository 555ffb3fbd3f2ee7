/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_RESET_H
#define NET_RESET_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Ends all TCP sockets of a network namespace, listening ones first: every peer gets a reset at once, and whoever connects is refused.  For the pod that has moved away:
 * its frozen sockets would let peers wait until their own patience ends.  Returns how many, or a negative errno: -EOPNOTSUPP where the kernel lacks
 * CONFIG_INET_DIAG_DESTROY.  *ret_listened: one of them listened.
 */
int tcp_reset_all(int netns_fd, bool *ret_listened, struct error *err);

#endif
