/* SPDX-License-Identifier: Apache-2.0 */
#include "orders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "migration/keys.h"

#define ORDER_MAX 16384
#define PODS_MAX 1024

/* Which migration: the name of a worker and of its journal. */
static bool names_migration(const cJSON *order)
{
	const char *uid = json_str_or(order, "migration", "");

	return name_is_safe(uid) && strlen(uid) < 64;
}

static int read_any(const struct agent_options *o, const struct monitor_info *pod, cJSON **ret, struct error *err)
{
	cleanup_buf struct buf sealed = BUF_INIT(ORDER_MAX), text = BUF_INIT(ORDER_MAX);
	uint8_t key[PM_KEY_SIZE];
	char path[4096];
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
	return r;
}

int order_read(const struct agent_options *o, const struct monitor_info *pod, cJSON **ret, struct error *err)
{
	cleanup_json cJSON *order = NULL;
	int64_t deadline;
	int r = read_any(o, pod, &order, err);

	if (r < 0)
		return r;
	if (!names_migration(order))
		return error_set(err, -EBADMSG, "the order names no migration");
	if (json_int(order, "deadline", 0, 1ll << 40, &deadline) == 0 && deadline < clock_real_us() / 1000000)
		return error_set(err, -ETIME, "the order of migration %s is over its deadline, by %s's clock: it came too late, or that clock is ahead", json_str(order, "migration"), o->node ? o->node : "this node");
	*ret = take_ptr(order);
	return 0;
}

int order_of_pod(const struct agent_options *o, const char *pod_uid, const char *migration, cJSON **ret, struct error *err)
{
	struct monitor_info *all = calloc(PODS_MAX, sizeof(*all));
	int n = all ? monitors_list(o, all, PODS_MAX, err) : error_set(err, -ENOMEM, "out of memory"), r = -ENOENT;

	for (int i = 0; i < n && r < 0; i++) {
		cleanup_json cJSON *order = NULL;

		if (strcmp(all[i].pod_uid, pod_uid) || !all[i].order_dir[0] || read_any(o, &all[i], &order, NULL) < 0 ||
		    strcmp(json_str_or(order, "migration", ""), migration))
			continue;
		*ret = take_ptr(order);
		r = 0;
	}
	free(all);
	return n < 0 ? n : r < 0 ? error_set(err, r, "no order for this migration is on the node") : 0;
}

bool order_is_commit(const struct agent_options *o, const struct monitor_info *pod)
{
	cleanup_json cJSON *order = NULL;
	struct error err = { 0 };
	int r = read_any(o, pod, &order, &err);

	if (r < 0 && r != -ENOENT)
		log_warning("an order was refused", LOG_S("pod", pod->pod_name), LOG_S("err", err.message));
	return r == 0 && !strcmp(json_str_or(order, "action", ""), "commit") && !strcmp(json_str_or(order, "migration", ""), pod->migration);
}

bool order_begins(const cJSON *order)
{
	const char *action = json_str_or(order, "action", "");

	return !strcmp(action, "migrate") || !strcmp(action, ORDER_ASKS);
}

/*
 * Whoever may read Secrets in the pod's namespace can seal an order of his own.  So it says only where the pod goes; which pod goes is the one it was found at,
 * and nothing else of a worker's line can be said by it.
 */
cJSON *order_line(const cJSON *order, const struct monitor_info *pod)
{
	static const char *const taken[] = { "migration", "namespace", "name", "epoch", "strategy", "maxRounds", "maxDowntimeMicros", "autoConverge", "bandwidth", "podIP", "port", "key" };
	int64_t deadline;
	cJSON *line = cJSON_CreateObject();

	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		const cJSON *v = json_at(order, taken[i]);

		if (cJSON_IsString(v) || cJSON_IsNumber(v) || cJSON_IsBool(v))
			cJSON_AddItemToObject(line, taken[i], cJSON_Duplicate(v, 0));
	}
	/* As at home (daemon.c, home_line): what is left, and a minute. */
	if (json_int(order, "deadline", 0, 1ll << 40, &deadline) == 0 && deadline + 60 > clock_real_us() / 1000000)
		cJSON_AddNumberToObject(line, "timeoutSeconds", (double)(deadline + 60 - clock_real_us() / 1000000));
	cJSON_AddBoolToObject(line, "dryRun", !strcmp(json_str_or(order, "action", ""), ORDER_ASKS));
	cJSON_AddBoolToObject(line, "remote", 1);
	cJSON_AddStringToObject(line, "podUID", pod->pod_uid);
	cJSON_AddStringToObject(line, "podName", pod->pod_name);
	return line;
}
