/* SPDX-License-Identifier: Apache-2.0 */
/* An answer as libcurl hands it over: header lines, then pieces of the body.  Parts: a header line while the first byte of the part is 'h', else a piece. */
#include "container/grpc.c"

#include "fuzz.h"

#define REPLY_SIZE 4096

/* libcurl ends header lines with a NUL that it does not count. */
static void feed_header(struct answer *a, const uint8_t *p, size_t len)
{
	char *line = malloc(len + 1);

	must(line != NULL);
	memcpy(line, p, len);
	line[len] = '\0';
	on_header(line, 1, len, a);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf body = BUF_INIT(REPLY_SIZE);
	struct answer a = { .body = &body, .status = -1 };
	struct parts in = { data, size };
	struct error err;

	while (in.left) {
		const uint8_t *part;
		size_t len = parts_next(&in, &part);
		char *copy;

		if (len && part[0] == 'h') {
			feed_header(&a, part + 1, len - 1);
			continue;
		}
		copy = malloc(len + 1);
		must(copy != NULL);
		memcpy(copy, part, len);
		on_body(copy, 1, len, &a);
		free(copy);
	}
	must(memchr(a.message, '\0', sizeof(a.message)) && a.status >= -1 && a.status < 100 && body.len <= REPLY_SIZE);
	if (unframe(&body, "m", &err) == 0)
		must(body.len <= REPLY_SIZE - PREFIX_LEN);
	buf_free(&body);
	return 0;
}
