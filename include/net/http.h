/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * A small HTTP/1.1 server for probes and metrics: GET and HEAD only, one thread, bounded requests (8 KiB), bounded connections (16), 5 s per request,
 * Connection: close.
 */
struct http_server;

/* path without query. Writes the body, returns the status (200, 404, 503 ..).  Runs on the server's thread. */
typedef int (*http_handler)(void *ctx, const char *path, const char *query, struct buf *body, const char **ret_content_type);

int http_server_start(uint16_t port, http_handler handler, void *ctx, struct http_server **ret, uint16_t *ret_port, struct error *err);
void http_server_stop(struct http_server *s);

#endif
