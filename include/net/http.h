/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * A small HTTP/1.1 server for probes and metrics: GET and HEAD only, one thread, bounded requests (8 KiB), bounded connections
 * (16), 5 s per request, 1 s when all places are taken and others wait, Connection: close.
 */
struct http_server;

/*
 * path without query ("" when there is none), both as they came, printable ASCII of at most 1023 bytes. Writes the body (at most
 * 1 MiB; empty: the status' text), returns the status (200, 404, 503 ..).  Runs on the server's thread: others wait meanwhile.
 */
typedef int (*http_handler)(void *ctx, const char *path, const char *query, struct buf *body, const char **ret_content_type);

/* On all addresses; port 0: any, *ret_port tells. stop waits for a handler that runs. */
int http_server_start(uint16_t port, http_handler handler, void *ctx, struct http_server **ret, uint16_t *ret_port,
		      struct error *err);
void http_server_stop(struct http_server *s);

#endif
