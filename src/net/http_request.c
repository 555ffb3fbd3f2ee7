/* SPDX-License-Identifier: Apache-2.0 */
#include "http_request.h"

#include <string.h>

const char *http_status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{ 200, "OK" },
		{ 400, "Bad Request" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 408, "Request Timeout" },
		{ 414, "URI Too Long" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Unknown";
}

/* Copies [from, to) as a string; false when it is too long or not printable ASCII without space. */
static int copy(const char *from, const char *to, char *out, size_t size)
{
	if ((size_t)(to - from) >= size)
		return 414;
	for (const char *p = from; p < to; p++)
		if (*p < 0x21 || *p > 0x7e)
			return 400;
	memcpy(out, from, (size_t)(to - from));
	out[to - from] = '\0';
	return 200;
}

static int parse_target(const char *from, const char *to, struct http_request *ret)
{
	const char *query, *end = to;
	int r;

	if (from == to || *from != '/')
		return 400;
	query = memchr(from, '?', (size_t)(to - from));
	if (query)
		end = query;
	r = copy(from, end, ret->path, sizeof(ret->path));
	return r != 200 || !query ? r : copy(query + 1, to, ret->query, sizeof(ret->query));
}

/* METHOD SP target SP HTTP/1.x */
static int parse_line(const char *line, const char *end, struct http_request *ret)
{
	const char *target = memchr(line, ' ', (size_t)(end - line));
	const char *version = target ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;
	size_t method_len;

	if (!version || target == line)
		return 400;
	if (end - version - 1 != 8 || memcmp(version + 1, "HTTP/", 5) != 0)
		return 400;
	if (memcmp(version + 1, "HTTP/1.", 7) != 0)
		return 505;
	method_len = (size_t)(target - line);
	ret->head = method_len == 4 && memcmp(line, "HEAD", 4) == 0;
	if (!ret->head && (method_len != 3 || memcmp(line, "GET", 3) != 0))
		return 405;
	return parse_target(target + 1, version, ret);
}

int http_request_parse(const char *data, size_t len, struct http_request *ret)
{
	const char *end = memmem(data, len, "\r\n\r\n", 4), *line_end;

	if (!end)
		return len >= HTTP_REQUEST_MAX ? 431 : 0;
	if (memchr(data, '\0', (size_t)(end - data)))
		return 400;
	memset(ret, 0, sizeof(*ret));
	line_end = memmem(data, len, "\r\n", 2);
	return parse_line(data, line_end, ret);
}
