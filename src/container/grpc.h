/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_GRPC_H
#define SRC_CONTAINER_GRPC_H

#include "base/buf.h"
#include "base/error.h"

/*
 * Unary gRPC calls over a unix socket: HTTP/2 with prior knowledge by libcurl.  One thread at a time.
 */
struct grpc;

/* gRPC's own status numbers, as far as callers tell them apart. */
#define GRPC_OK 0
#define GRPC_NOT_FOUND 5

int grpc_open(const char *socket, const char *const *headers, struct grpc **ret, struct error *err);
void grpc_close(struct grpc *g);

/*
 * Calls "pkg.Service/Method" with the message in request; the answer's message is in reply afterwards (bounded by reply->max). 0,
 * or negative errno; *ret_status (may be NULL) is gRPC's status when the server answered with one (GRPC_OK on success), -1 when
 * not.
 */
int grpc_call(struct grpc *g, const char *method, const void *request, size_t len, struct buf *reply, int *ret_status,
	      struct error *err);

#endif
