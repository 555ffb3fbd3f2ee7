/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_NET_HTTP_REQUEST_H
#define SRC_NET_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_REQUEST_MAX 8192

struct http_request {
	bool head;                      /* HEAD: no body in the answer */
	char path[1024];                /* of printable ASCII, without query, not decoded */
	char query[1024];               /* "" when there is none */
};

/*
 * Parses the first len bytes of a connection (RFC 9112).  0: the head is not complete yet; 200: *ret is set; else the status to
 * answer with (400, 405, 414, 431, 505).
 */
int http_request_parse(const char *data, size_t len, struct http_request *ret);

const char *http_status_text(int status);

#endif
