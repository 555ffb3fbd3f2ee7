/* SPDX-License-Identifier: Apache-2.0 */
#include "grpc.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

/*
 * gRPC over HTTP/2 (grpc.io, PROTOCOL-HTTP2): the body of request and answer is a 5-byte prefix (compressed flag, big-endian u32
 * length) and the message.  The outcome is the header grpc-status, in the trailers after a message, or in the header block itself
 * when there is none.
 */
#define PREFIX_LEN 5
#define REQUEST_MAX (64 * 1024)
#define CALL_TIMEOUT_MS 10000L
#define CONNECT_TIMEOUT_MS 3000L

struct grpc {
	CURL *curl;
	struct curl_slist *headers;
};

struct answer {
	struct buf *body;
	bool too_large;
	int status;
	char message[512];
};

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
	struct answer *a = ctx;

	if (buf_append(a->body, data, size * n) < 0) {
		a->too_large = true;
		return 0;
	}
	return size * n;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* grpc-message is percent-encoded UTF-8; what is not, stays as it is. */
static void decode_message(const char *s, size_t len, char *out, size_t size)
{
	size_t o = 0;

	for (size_t i = 0; i < len && o + 1 < size; i++) {
		bool coded = s[i] == '%' && i + 2 < len && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0;

		out[o++] = coded ? (char)(hex(s[i + 1]) * 16 + hex(s[i + 2])) : s[i];
		i += coded ? 2 : 0;
	}
	out[o] = '\0';
}

static int decode_status(const char *s, size_t len)
{
	if (len < 1 || len > 2)
		return -1;
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return -1;
	return len == 1 ? s[0] - '0' : (s[0] - '0') * 10 + s[1] - '0';
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	static const char status_name[] = "grpc-status:", message_name[] = "grpc-message:";
	struct answer *a = ctx;
	size_t len = size * n, skip;
	bool status = len > sizeof(status_name) && !strncasecmp(data, status_name, sizeof(status_name) - 1);
	bool message = len > sizeof(message_name) && !strncasecmp(data, message_name, sizeof(message_name) - 1);

	if (!status && !message)
		return len;
	skip = status ? sizeof(status_name) - 1 : sizeof(message_name) - 1;
	while (skip < len && data[skip] == ' ')
		skip++;
	while (len > skip && (data[len - 1] == '\r' || data[len - 1] == '\n'))
		len--;
	if (status)
		a->status = decode_status(data + skip, len - skip);
	else
		decode_message(data + skip, len - skip, a->message, sizeof(a->message));
	return size * n;
}

void grpc_close(struct grpc *g)
{
	if (!g)
		return;
	curl_easy_cleanup(g->curl);
	curl_slist_free_all(g->headers);
	free(g);
}

static int add_header(struct grpc *g, const char *line)
{
	struct curl_slist *l = curl_slist_append(g->headers, line);

	if (!l)
		return -ENOMEM;
	g->headers = l;
	return 0;
}

/*
 * A connection per call: libcurl before 8.0 breaks the second call of a connection with HTTP/2 prior knowledge; a unix socket
 * costs next to nothing.
 */
static int set_options(struct grpc *g, const char *socket)
{
	CURL *c = g->curl;

	if (curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, socket) || curl_easy_setopt(c, CURLOPT_HTTPHEADER, g->headers) ||
	    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE) ||
	    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http") || curl_easy_setopt(c, CURLOPT_PROXY, "") ||
	    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) || curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) ||
	    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) || curl_easy_setopt(c, CURLOPT_POST, 1L) ||
	    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, CALL_TIMEOUT_MS) ||
	    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) ||
	    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) || curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header))
		return -EINVAL;
	return 0;
}

int grpc_open(const char *socket, const char *const *headers, struct grpc **ret, struct error *err)
{
	/* "Expect:" with no value keeps libcurl from waiting for a 100 Continue that gRPC servers never send. */
	static const char *const own[] = { "content-type: application/grpc", "te: trailers",
					   "Expect:", "user-agent: podmigration" };
	struct grpc *g = calloc(1, sizeof(*g));
	int r = g ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < sizeof(own) / sizeof(own[0]); i++)
		r = add_header(g, own[i]);
	for (; r == 0 && headers && *headers; headers++)
		r = add_header(g, *headers);
	if (r == 0 && !(g->curl = curl_easy_init()))
		r = -ENOMEM;
	if (r == 0)
		r = set_options(g, socket);
	if (r < 0) {
		grpc_close(g);
		return error_set(err, r, "set up a gRPC client for %s failed", socket);
	}
	*ret = g;
	return 0;
}

/* Takes the prefix off; exactly one whole, uncompressed message must be there. */
static int unframe(struct buf *b, const char *method, struct error *err)
{
	const unsigned char *p = (const unsigned char *)b->data;
	size_t len;

	if (b->len < PREFIX_LEN)
		return error_set(err, -EBADMSG, "%s: the answer holds no message", method);
	len = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	if (p[0] != 0 || len != b->len - PREFIX_LEN)
		return error_set(err, -EBADMSG, "%s: the answer is compressed or cut off", method);
	buf_consume(b, PREFIX_LEN);
	return 0;
}

static int check_answer(struct grpc *g, const char *method, CURLcode code, const struct answer *a, struct error *err)
{
	long http = 0;

	if (a->too_large)
		return error_set(err, -EFBIG, "%s: the answer is larger than %zu bytes", method, a->body->max);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return error_set(err, -ETIMEDOUT, "%s: no answer in %ld s", method, CALL_TIMEOUT_MS / 1000);
	if (code != CURLE_OK)
		return error_set(err, -ECONNREFUSED, "%s: %s", method, curl_easy_strerror(code));
	curl_easy_getinfo(g->curl, CURLINFO_RESPONSE_CODE, &http);
	if (http != 200 || a->status < 0)
		return error_set(err, -EBADMSG, "%s: not a gRPC answer (HTTP status %ld)", method, http);
	if (a->status != GRPC_OK)
		return error_set(err, a->status == GRPC_NOT_FOUND ? -ENOENT : -EIO, "%s: %s (gRPC status %d)", method, a->message,
				 a->status);
	return 0;
}

int grpc_call(struct grpc *g, const char *method, const void *request, size_t len, struct buf *reply, int *ret_status,
	      struct error *err)
{
	cleanup_buf struct buf body = BUF_INIT(REQUEST_MAX + PREFIX_LEN);
	const unsigned char prefix[PREFIX_LEN] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
						   (uint8_t)len };
	struct answer a = { .body = reply, .status = -1 };
	char url[256];
	int r;

	buf_reset(reply);
	if (len > REQUEST_MAX || (size_t)snprintf(url, sizeof(url), "http://localhost/%s", method) >= sizeof(url))
		return error_set(err, -EFBIG, "%s: the request is too large", method);
	if (buf_append(&body, prefix, sizeof(prefix)) < 0 || buf_append(&body, request, len) < 0)
		return error_set(err, -ENOMEM, "%s: out of memory", method);
	if (curl_easy_setopt(g->curl, CURLOPT_URL, url) || curl_easy_setopt(g->curl, CURLOPT_POSTFIELDS, body.data) ||
	    curl_easy_setopt(g->curl, CURLOPT_POSTFIELDSIZE, (long)body.len) ||
	    curl_easy_setopt(g->curl, CURLOPT_WRITEDATA, &a) || curl_easy_setopt(g->curl, CURLOPT_HEADERDATA, &a))
		return error_set(err, -ENOMEM, "%s: out of memory", method);
	r = check_answer(g, method, curl_easy_perform(g->curl), &a, err);
	if (ret_status)
		*ret_status = a.status;
	return r < 0 ? r : unframe(reply, method, err);
}
