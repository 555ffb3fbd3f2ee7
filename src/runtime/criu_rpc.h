/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CRIU_RPC_H
#define RUNTIME_CRIU_RPC_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"

/*
 * The little of CRIU's RPC that the monitor reads and adds, in the protobuf encoding (CRIU's images/rpc.proto; https://protobuf.dev/programming-guides/encoding).
 * One packet of the socket is one message.
 */
#define CRIU_RPC_SCRIPT_SIZE 32

enum { CRIU_RPC_RESTORE = 2, CRIU_RPC_NOTIFY = 6 };     /* enum criu_req_type */

struct criu_rpc {
	int64_t type;                           /* enum criu_req_type */
	char script[CRIU_RPC_SCRIPT_SIZE];      /* of a notification: the stage that CRIU has come to; "": none, or a longer name */
	pid_t pid;                              /* with some stages: the restored init; 0: not told */
};

/* What CRIU says (criu_resp).  -EBADMSG: not such a message. */
int criu_rpc_read(const void *data, size_t len, struct criu_rpc *ret);

/*
 * Appends to a request (criu_req) that CRIU shall find the images and its work folder at these fds of the other end's process, shall stop at every
 * stage to be told to go on, and shall log warnings and errors only: the thousand lines that runc asks for cost milliseconds of the pause.  In this encoding the last value of a field counts, and messages that come twice are merged, so nothing has to be taken apart.
 * Errors: those of buf_append.
 */
int criu_rpc_add(struct buf *request, int images_fd, int work_fd);

/*
 * For each external mount of the request whose source ask knows it appends one of the same name with the path that ask gives instead; CRIU takes the last one of a name (criu/external.c, add_external).
 * Errors: -EBADMSG, those of buf_append.
 */
typedef const char *(*criu_rpc_ask)(void *ctx, const char *source, char *path, size_t size);
int criu_rpc_replace_mounts(struct buf *request, criu_rpc_ask ask, void *ctx);

#endif
