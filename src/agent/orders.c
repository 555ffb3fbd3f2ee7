/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/keys.h"

#define ORDER_MAX 16384

/* Which migration: the name of a worker and of its journal. */
static bool names_migration(const cJSON *order)
{
	const char *uid = json_str_or(order, "migration", "");

	return name_is_safe(uid) && strlen(uid) < 64;
}

int order_read(const struct agent_options *o, const struct monitor_info *pod, cJSON **ret, struct error *err)
{
	cleanup_buf struct buf sealed = BUF_INIT(ORDER_MAX), text = BUF_INIT(ORDER_MAX);
	uint8_t key[PM_KEY_SIZE];
	char path[4096];
	int64_t deadline;
	int r;

	if (!pod->order_dir[0] || agent_host_path(o, path, sizeof(path), "%s/order", pod->order_dir) < 0)
		return error_set(err, -ENOENT, "the pod has no order volume");
	r = file_read(AT_FDCWD, path, &sealed, err);
	if (r < 0)
		return r;
	if (sealed.len == 0)
		return error_set(err, -ENOENT, "no order");
	r = monitor_key(o, pod, key, err);
	if (r < 0)
		return r;
	r = order_open(key, pod->migration, sealed.data, sealed.len, &text, err);
	explicit_bzero(key, sizeof(key));
	if (r == 0)
		r = json_parse(text.data, text.len, ORDER_MAX, ret, err);
	if (text.data)
		explicit_bzero(text.data, text.len);
	if (r == 0 && !names_migration(*ret)) {
		cJSON_Delete(*ret);
		*ret = NULL;
		return error_set(err, -EBADMSG, "the order names no migration");
	}
	if (r == 0 && json_int(*ret, "deadline", 0, 1ll << 40, &deadline) == 0 && deadline < clock_real_us() / 1000000) {
		cJSON_Delete(*ret);
		*ret = NULL;
		return error_set(err, -ETIME, "the order is over its deadline");
	}
	return r;
}

/*
 * Whoever may read Secrets in the pod's namespace can seal an order of his own.  So it says only where the pod goes; which pod goes is the one it was found at,
 * and nothing else of a worker's line can be said by it.
 */
cJSON *order_line(const cJSON *order, const struct monitor_info *pod)
{
	static const char *const taken[] = { "migration", "namespace", "name", "epoch", "strategy", "podIP", "port", "key" };
	cJSON *line = cJSON_CreateObject();

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		const cJSON *v = json_at(order, taken[i]);

		if (cJSON_IsString(v) || cJSON_IsNumber(v))
			cJSON_AddItemToObject(line, taken[i], cJSON_Duplicate(v, 0));
	}
	cJSON_AddBoolToObject(line, "remote", 1);
	cJSON_AddStringToObject(line, "podUID", pod->pod_uid);
	cJSON_AddStringToObject(line, "podName", pod->pod_name);
	return line;
}
