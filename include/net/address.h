/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <arpa/inet.h>
#include <sys/types.h>

#include "base/error.h"

/* Addresses that sockets are bound to by name.  A moved pod has another address, and CRIU cannot bind them there unless the old one exists. */
#define ADDRESSES_MAX 16

struct address {
	char text[INET6_ADDRSTRLEN];
};

/*
 * Addresses of listening TCP and of UDP sockets in a network namespace, each once, at most ADDRESSES_MAX; without those every pod has
 * (loopback, unspecified) or that mean something only on one link.  Returns how many, or a negative errno.
 */
int addresses_bound(int netns_fd, struct address ret[ADDRESSES_MAX], struct error *err);

/* Is this text an address that addresses_bound() might have told? */
int address_check(const char *text);

/* Makes the address exist in a network namespace, on its lo; nothing to do when it is there on any interface. */
int address_add(int netns_fd, const char *text, struct error *err);

#endif
