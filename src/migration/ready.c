/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/ready.h"

#include <string.h>

#include "base/json.h"
#include "migration/names.h"

const cJSON *pod_condition(const cJSON *pod, const char *type)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, json_at(pod, "status/conditions")) {
		if (!strcmp(json_str_or(c, "type", ""), type))
			return c;
	}
	return NULL;
}

static bool is_true(const cJSON *pod, const char *type)
{
	return !strcmp(json_str_or(pod_condition(pod, type), "status", ""), "True");
}

bool pod_would_be_ready(const cJSON *pod)
{
	const cJSON *gate;

	cJSON_ArrayForEach(gate, json_at(pod, "spec/readinessGates")) {
		if (!is_true(pod, json_str_or(gate, "conditionType", "")))
			return false;
	}
	return is_true(pod, "ContainersReady");
}

bool pod_is_taken_out(const cJSON *pod)
{
	return !strcmp(json_str_or(pod_condition(pod, "Ready"), "reason", ""), PM_READY_MIGRATING);
}
