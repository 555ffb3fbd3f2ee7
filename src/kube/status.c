/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"

#define MESSAGE_MAX 1500
#define RAW_MAX 300

/* The reason says more than the HTTP status, and an aggregated server may send only it: it is looked up first. */
static const struct {
	long status;
	const char *reason;
	int code;
} code_table[] = {
	{ 409, "AlreadyExists", -EEXIST },
	{ 410, "Expired", -ESTALE },
	{ 410, "Gone", -ESTALE },
	{ 400, NULL, -EINVAL },
	{ 401, NULL, -EACCES },
	{ 403, NULL, -EACCES },
	{ 404, NULL, -ENOENT },
	{ 406, NULL, -EINVAL },
	{ 409, NULL, -EAGAIN },
	{ 410, NULL, -ESTALE },
	{ 413, NULL, -EINVAL },
	{ 415, NULL, -EINVAL },
	{ 422, NULL, -EINVAL },
	{ 429, NULL, -EBUSY },
	{ 504, NULL, -ETIMEDOUT },
};

static bool has_cause(const cJSON *o, const char *reason)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, json_at(o, "details/causes"))
		if (!strcmp(json_str_or(c, "reason", ""), reason))
			return true;
	return false;
}

static int code_of(long status, const cJSON *o)
{
	const char *reason = json_str_or(o, "reason", "");

	/* After a failover this server's etcd may be behind ours: a place to go on from that does not exist there. */
	if (has_cause(o, "ResourceVersionTooLarge"))
		return -ESTALE;
	for (size_t i = 0; i < sizeof(code_table) / sizeof(code_table[0]); i++)
		if (code_table[i].reason ? !strcmp(code_table[i].reason, reason) : code_table[i].status == status)
			return code_table[i].code;
	return -EIO;
}

/* "message (field: cause; field: cause)", leaving out causes that the message holds already. */
static void describe(const cJSON *o, const char *raw, struct buf *out)
{
	const char *message = json_str(o, "message");
	const cJSON *c;
	int n = 0;

	if (!message) {
		buf_printf(out, "%.*s", RAW_MAX, raw && *raw ? raw : "no message");
		return;
	}
	buf_printf(out, "%.*s", MESSAGE_MAX - 500, message);
	cJSON_ArrayForEach(c, json_at(o, "details/causes"))
	{
		const char *text = json_str_or(c, "message", ""), *field = json_str_or(c, "field", "");

		if (!*text || strstr(message, text))
			continue;
		if (buf_printf(out, "%s%.100s%s%.200s", n++ ? "; " : " (", field, *field ? ": " : "", text) < 0)
			break;
	}
	if (n)
		buf_puts(out, ")");
}

int kube_status_error(long http_status, const cJSON *o, const char *raw, const char *what, struct error *err)
{
	struct buf text = BUF_INIT(MESSAGE_MAX);
	int code = code_of(http_status, o);

	describe(o, raw, &text);
	error_set(err, code, "%s: HTTP %ld: %s", what, http_status, text.data ? text.data : "");
	buf_free(&text);
	return code;
}
