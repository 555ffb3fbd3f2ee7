/* SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/quantity.h"
#include "migration/keys.h"
#include "names.h"
#include "view.h"

#define ORDER_MAX 16384

static const char *const action_names[] = { [ORDER_MIGRATE] = "migrate", [ORDER_ABORT] = "abort", [ORDER_COMMIT] = "commit", [ORDER_ASK] = "ask" };

const char *order_action_name(enum order_action a)
{
	return action_names[a];
}

static int add_route(cJSON *order, const cJSON *migration, const uint8_t key[PM_KEY_SIZE], int64_t now_us)
{
	cleanup_buf struct buf text = BUF_INIT(128);
	int64_t since = view_phase_time_us(migration, PHASE_Preparing), rounds, downtime_us, bandwidth;

	if (base64_encode(key, PM_KEY_SIZE, &text) < 0)
		return -ENOMEM;
	cJSON_AddStringToObject(order, "namespace", view_namespace(migration));
	cJSON_AddStringToObject(order, "name", view_name(migration));
	cJSON_AddStringToObject(order, "strategy", json_str_or(migration, "spec/strategy", ""));
	if (json_int(migration, "spec/preCopy/maxRounds", 1, 1000, &rounds) == 0)
		cJSON_AddNumberToObject(order, "maxRounds", (double)rounds);
	if (duration_parse(json_str_or(migration, "spec/preCopy/maxDowntime", ""), 3600000000, &downtime_us) == 0)
		cJSON_AddNumberToObject(order, "maxDowntimeMicros", (double)downtime_us);
	if (json_bool(migration, "spec/preCopy/allowAutoConverge"))
		cJSON_AddBoolToObject(order, "autoConverge", 1);
	if (quantity_bytes(json_str(migration, "spec/bandwidth"), &bandwidth) == 0)
		cJSON_AddNumberToObject(order, "bandwidth", (double)bandwidth);
	cJSON_AddStringToObject(order, "podIP", json_str_or(migration, "status/destinationPod/podIP", ""));
	cJSON_AddNumberToObject(order, "port", PM_STREAM_PORT);
	cJSON_AddStringToObject(order, "key", text.data);
	/* Seconds since the epoch: an order that comes late finds nobody to talk to. */
	cJSON_AddNumberToObject(order, "deadline", (double)(((since ? since : now_us) + view_timeout_us(migration)) / 1000000));
	explicit_bzero(text.data, text.len);
	return 0;
}

static int order_json(const cJSON *migration, enum order_action action, const uint8_t key[PM_KEY_SIZE], int64_t now_us, struct buf *out)
{
	cleanup_json cJSON *o = cJSON_CreateObject();
	int64_t epoch = 0;
	int r = 0;

	json_int(migration, "status/epoch", 0, INT64_MAX, &epoch);
	cJSON_AddStringToObject(o, "action", order_action_name(action));
	cJSON_AddStringToObject(o, "migration", view_uid(migration));
	cJSON_AddNumberToObject(o, "epoch", (double)epoch);
	if (action == ORDER_MIGRATE || action == ORDER_ASK)
		r = add_route(o, migration, key, now_us);
	return r == 0 ? json_print(o, out) : r;
}

bool order_is_ours(const cJSON *migration, const cJSON *pod)
{
	const char *text = pod ? view_annotation(pod, ANN_ORDERED) : "", *uid = view_uid(migration);
	size_t n = strlen(uid);

	return n > 0 && !strncmp(text, uid, n) && text[n] == ' ';
}

/* "ORDER NOTE": an order that an earlier migration has left, to abort perhaps, and that its agent may not have heard yet. */
static void keep_before(const cJSON *migration, const cJSON *pod, cJSON *meta, cJSON *annotations)
{
	cleanup_buf struct buf text = BUF_INIT(ORDER_MAX + 512);
	const char *order = view_annotation(pod, PM_ANN_ORDER);

	cJSON_AddStringToObject(meta, "resourceVersion", json_str_or(pod, "metadata/resourceVersion", ""));
	if (order_is_ours(migration, pod) || !order[0] || buf_puts(&text, order) < 0 || buf_puts(&text, " ") < 0 || buf_puts(&text, view_annotation(pod, ANN_ORDERED)) < 0)
		return;
	cJSON_AddStringToObject(annotations, ANN_ORDER_BEFORE, text.data);
}

int order_patch(const cJSON *migration, const cJSON *pod, enum order_action action, const uint8_t bringing_key[PM_KEY_SIZE],
		const uint8_t key[PM_KEY_SIZE], int64_t now_us, cJSON **ret, struct error *err)
{
	cleanup_buf struct buf json = BUF_INIT(ORDER_MAX), sealed = BUF_INIT(ORDER_MAX);
	const char *bringing = view_annotation(pod, PM_ANN_MIGRATION);
	cJSON *patch, *meta, *annotations;
	char note[256], now[CLOCK_RFC3339_SIZE];
	int r = order_json(migration, action, key, now_us, &json);

	if (r < 0)
		return error_set(err, r, "the order cannot be written");
	r = order_seal(bringing_key, bringing, json.data, &sealed, err);
	explicit_bzero(json.data, json.len);
	if (r < 0)
		return r;
	clock_rfc3339(now_us, 0, now);
	snprintf(note, sizeof(note), "%s %s %s", view_uid(migration), order_action_name(action), now);
	patch = cJSON_CreateObject();
	meta = cJSON_AddObjectToObject(patch, "metadata");
	cJSON_AddStringToObject(meta, "uid", view_uid(pod));
	annotations = cJSON_AddObjectToObject(meta, "annotations");
	cJSON_AddStringToObject(annotations, PM_ANN_ORDER, sealed.data);
	cJSON_AddStringToObject(annotations, ANN_ORDERED, note);
	if (action == ORDER_ASK)
		keep_before(migration, pod, meta, annotations);
	*ret = patch;
	return 0;
}

static void put(cJSON *annotations, const char *name, const char *text, size_t len)
{
	cJSON *value = cJSON_AddStringToObject(annotations, name, text);

	if (value && len < strlen(text))
		value->valuestring[len] = '\0';
}

cJSON *order_withdraw_patch(const cJSON *pod)
{
	const char *before = view_annotation(pod, ANN_ORDER_BEFORE);
	size_t order = strcspn(before, " ");
	cJSON *patch = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(patch, "metadata"), *annotations;

	cJSON_AddStringToObject(meta, "uid", view_uid(pod));
	cJSON_AddStringToObject(meta, "resourceVersion", json_str_or(pod, "metadata/resourceVersion", ""));
	annotations = cJSON_AddObjectToObject(meta, "annotations");
	cJSON_AddNullToObject(annotations, ANN_ORDER_BEFORE);
	if (before[order]) {
		put(annotations, PM_ANN_ORDER, before, order);
		put(annotations, ANN_ORDERED, before + order + 1, strlen(before + order + 1));
	} else {
		cJSON_AddNullToObject(annotations, PM_ANN_ORDER);
		cJSON_AddNullToObject(annotations, ANN_ORDERED);
	}
	return patch;
}
