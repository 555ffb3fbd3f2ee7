/* SPDX-License-Identifier: Apache-2.0 */
/* What an API server sends on a watch.  First byte: how the stream is cut into pieces, whether it is a list, and whether a part of each object is all that is wanted. */
#include "fuzz.h"

#include <errno.h>

#include "base/json.h"
#include "kube/lines.h"
#include "kube/watch_state.h"

static unsigned upserts, deletes;

static void on_upsert(void *ctx, const cJSON *o)
{
	(void)ctx;
	must(json_str(o, "metadata/name") != NULL);
	upserts++;
}

static void on_delete(void *ctx, const cJSON *o)
{
	(void)ctx;
	must(cJSON_IsObject(o));
	deletes++;
}

static int on_line(void *ctx, const char *line, size_t len)
{
	struct error err;
	int r = watch_state_line(ctx, line, len, &err);

	return r == -EBADMSG ? 0 : r;
}

static void stream(struct watch_state *s, const char *text, size_t len, size_t piece)
{
	struct lines l = LINES_INIT(4096);
	int r = 0;

	while (len && r == 0) {
		size_t n = len < piece ? len : piece;

		r = lines_feed(&l, text, n, on_line, s);
		must(l.part.len <= 4096);
		text += n;
		len -= n;
	}
	if (r == 0)
		lines_end(&l, on_line, s);
	lines_reset(&l);
}

static void list(struct watch_state *s, const char *text, size_t len)
{
	char token[64] = "";
	cJSON *page = NULL;
	struct error err;

	if (watch_state_parse_page(s, text, len, 1u << 20, &page, &err) == 0)
		watch_state_page(s, page, token, sizeof(token), &err);
	must(memchr(token, '\0', sizeof(token)) != NULL);
	cJSON_Delete(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct json_want metadata[] = { WANT("name"), WANT("namespace"), WANT("uid"), WANT("resourceVersion"), WANT_END };
	static const struct json_want want[] = { WANT("apiVersion"), WANT("kind"), WANT_OF("metadata", metadata), WANT_END };
	struct kube_watch_spec spec = { .path = "/x", .name = "fuzz", .on_upsert = on_upsert, .on_delete = on_delete };
	struct watch_state s;
	struct error err;

	if (size == 0)
		return 0;
	spec.want = data[0] & 128 ? want : NULL;
	must(watch_state_init(&s, &spec, &err) == 0);
	watch_state_begin(&s, data[0] & 1);
	if (data[0] & 2)
		list(&s, (const char *)data + 1, size - 1);
	else
		stream(&s, (const char *)data + 1, size - 1, 1u + (data[0] >> 2 & 31));
	must(memchr(s.rv, '\0', sizeof(s.rv)) && memchr(s.kind, '\0', sizeof(s.kind)));
	watch_state_free(&s);
	return 0;
}
