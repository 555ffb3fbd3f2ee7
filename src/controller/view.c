/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/names.h"
#include "migration/ready.h"
#include "migration/reason.h"
#include "names.h"

#define DAY_US (24ll * 3600 * 1000000)

int64_t time_parse_us(const char *s)
{
	struct tm tm = { 0 };
	int64_t frac = 0, scale = 100000;
	int n = 0;

	if (!s || sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6)
		return 0;
	s += n;
	if (*s == '.')
		for (s++; *s >= '0' && *s <= '9'; s++, scale /= 10)
			frac += (*s - '0') * scale;
	if (strcmp(s, "Z"))
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	return (int64_t)timegm(&tm) * 1000000 + frac;
}

int64_t view_time_us(const cJSON *o, const char *path)
{
	return time_parse_us(json_str(o, path));
}

const char *view_name(const cJSON *o)
{
	return json_str_or(o, "metadata/name", "");
}

const char *view_namespace(const cJSON *o)
{
	return json_str_or(o, "metadata/namespace", "");
}

const char *view_uid(const cJSON *o)
{
	return json_str_or(o, "metadata/uid", "");
}

static const char *entry(const cJSON *map, const char *key)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(map, key);

	return cJSON_IsString(v) ? v->valuestring : "";
}

const char *view_annotation(const cJSON *o, const char *key)
{
	return entry(json_at(o, "metadata/annotations"), key);
}

const char *view_label(const cJSON *o, const char *key)
{
	return entry(json_at(o, "metadata/labels"), key);
}

bool view_deleting(const cJSON *o)
{
	return json_str(o, "metadata/deletionTimestamp") != NULL;
}

enum phase view_phase(const cJSON *m)
{
	return phase_from_name(json_str(m, "status/phase"));
}

enum decision view_decision(const cJSON *m)
{
	const char *d = json_str_or(m, "status/decision", "");

	return !strcmp(d, "Commit") ? DECISION_COMMIT : !strcmp(d, "Abort") ? DECISION_ABORT : DECISION_NONE;
}

enum source_state view_source_state(const cJSON *m)
{
	return source_state_from_name(json_str(m, "status/source/state"));
}

int64_t view_phase_time_us(const cJSON *m, enum phase p)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(m, "status/phaseTransitionTimestamps")) {
		if (!strcmp(json_str_or(e, "phase", ""), phase_name(p)))
			return view_time_us(e, "time");
	}
	return 0;
}

bool view_has_finalizer(const cJSON *m)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(m, "metadata/finalizers")) {
		if (cJSON_IsString(e) && !strcmp(e->valuestring, PM_FINALIZER))
			return true;
	}
	return false;
}

int64_t view_timeout_us(const cJSON *m)
{
	int64_t us;

	/* The API server has filled in the default and checked the bounds. */
	return duration_parse(json_str(m, "spec/timeout"), DAY_US, &us) == 0 ? us : 600 * 1000000ll;
}

bool view_freeze_timeout_us(const cJSON *m, int64_t *ret_us)
{
	return duration_parse(json_str(m, "spec/freezeTimeout"), DAY_US, ret_us) == 0;
}

bool view_ttl_us(const cJSON *m, int64_t *ret_us)
{
	return duration_parse(json_str(m, "spec/ttlAfterFinished"), 366 * DAY_US, ret_us) == 0;
}

bool view_source_error(const cJSON *m, int *ret_reason, const char **ret_message)
{
	const char *reason = json_str(m, "status/source/error/reason");

	if (!reason)
		return false;
	*ret_reason = reason_from_name(reason);
	*ret_message = json_str_or(m, "status/source/error/message", "");
	return true;
}

bool view_receipt(const cJSON *m)
{
	return json_str(m, "status/destinationPod/receiptTime") != NULL;
}

bool view_rehearses(const cJSON *m)
{
	return json_bool(m, "spec/dryRun") && !strcmp(json_str_or(m, "spec/dryRunScope", ""), "Destination");
}

bool view_source_is_remote(const cJSON *m)
{
	return json_str_or(m, "status/sourcePod/cluster", "")[0] != '\0';
}

bool view_claims(const cJSON *m)
{
	return !json_bool(m, "spec/dryRun") || (view_rehearses(m) && view_source_is_remote(m));
}

const cJSON *view_condition(const cJSON *o, const char *type)
{
	return pod_condition(o, type);
}

static bool is_restarted(const cJSON *status)
{
	int64_t n = 0;

	json_int(status, "restartCount", 0, 1 << 30, &n);
	return n > 0;
}

/* As it was recorded with the commit; "" by agents of an older version. */
static const char *restored_id(const cJSON *m, const char *name)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(m, "status/destination/containers")) {
		if (!strcmp(json_str_or(e, "name", ""), name))
			return json_str_or(e, "id", "");
	}
	return "";
}

/* containerID of a container's status or of one of its states: "containerd://ID". */
static bool is_container(const cJSON *o, const char *id)
{
	const char *own = json_str_or(o, "containerID", ""), *colon = strstr(own, "://");

	return id[0] && colon && !strcmp(colon + 3, id);
}

/* A start that the OCI runtime has refused: nothing of it ran (containerd: internal/cri/server/container_start.go, errorStartReason). */
static bool never_began(const cJSON *terminated)
{
	return !strcmp(json_str_or(terminated, "reason", ""), "StartError");
}

/* The container that runs, or else the last that did.  One of which nothing is known but that it was made again counts as started. */
static bool is_cold(const cJSON *s, const char *id)
{
	const cJSON *last = json_at(s, "state/terminated");

	if (!is_restarted(s))
		return false;
	if (json_at(s, "state/running"))
		return !is_container(s, id);
	if (!last || never_began(last))
		last = json_at(s, "lastState/terminated");
	return !is_container(last, id) && !never_began(last);
}

const char *view_cold_container(const cJSON *m, const cJSON *pod)
{
	static const char *const lists[] = { "status/containerStatuses", "status/initContainerStatuses" };
	const cJSON *s;

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		cJSON_ArrayForEach(s, json_at(pod, lists[i])) {
			const char *name = json_str_or(s, "name", "?");

			if (is_cold(s, restored_id(m, name)))
				return name;
		}
	return NULL;
}

bool view_pod_ended(const cJSON *pod)
{
	const char *phase = json_str_or(pod, "status/phase", "");

	return !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
}

const cJSON *view_container_status(const cJSON *pod, const char *list, const char *name)
{
	const char *path = strcmp(list, "initContainers") ? "status/containerStatuses" : "status/initContainerStatuses";
	const cJSON *s;

	cJSON_ArrayForEach(s, json_at(pod, path)) {
		if (!strcmp(json_str_or(s, "name", ""), name))
			return s;
	}
	return NULL;
}

bool view_is_sidecar(const cJSON *init_container)
{
	return !strcmp(json_str_or(init_container, "restartPolicy", ""), "Always");
}

bool view_pod_all_running(const cJSON *pod)
{
	const cJSON *c;
	int n = 0;

	cJSON_ArrayForEach(c, json_at(pod, "spec/containers")) {
		n++;
		if (!json_at(view_container_status(pod, "containers", json_str_or(c, "name", "")), "state/running"))
			return false;
	}
	cJSON_ArrayForEach(c, json_at(pod, "spec/initContainers")) {
		if (view_is_sidecar(c) && !json_at(view_container_status(pod, "initContainers", json_str_or(c, "name", "")), "state/running"))
			return false;
	}
	return n > 0;
}

const char *view_node_cluster(const cJSON *node)
{
	return strcmp(view_label(node, LIQO_LABEL_TYPE), LIQO_TYPE_VIRTUAL_NODE) ? "" : view_label(node, LIQO_LABEL_CLUSTER);
}
