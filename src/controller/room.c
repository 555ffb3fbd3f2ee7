/* SPDX-License-Identifier: Apache-2.0 */
#include "room.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/quantity.h"
#include "view.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static double asked_by(const cJSON *container, const char *resource)
{
	double v = 0;

	return quantity_parse(json_str(json_at(container, "resources/requests"), resource), &v) == 0 ? v : 0;
}

static double asked_for(const cJSON *pod, const char *resource)
{
	const cJSON *e;
	double sum = 0;

	cJSON_ArrayForEach(e, json_at(pod, "spec/containers"))
		sum += asked_by(e, resource);
	cJSON_ArrayForEach(e, json_at(pod, "spec/initContainers"))
		if (view_is_sidecar(e))
			sum += asked_by(e, resource);
	return sum;
}

bool room_fits(const cJSON *pod, const cJSON *node, char *out, size_t size)
{
	static const char *const resources[] = { "cpu", "memory", "ephemeral-storage" };
	const cJSON *allocatable = json_at(node, "status/allocatable"), *a;

	for (size_t i = 0; i < COUNT(resources); i++) {
		double has, asked = asked_for(pod, resources[i]);

		a = cJSON_GetObjectItemCaseSensitive(allocatable, resources[i]);
		if (asked <= 0 || !cJSON_IsString(a) || quantity_parse(a->valuestring, &has) < 0 || asked <= has)
			continue;
		snprintf(out, size, "the pod asks for %.15g %s, node %s has %s for all pods", asked, resources[i], view_name(node), a->valuestring);
		return false;
	}
	return true;
}

const char *room_pressure(const cJSON *node)
{
	static const char *const types[] = { "DiskPressure", "MemoryPressure", "PIDPressure" };
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(node, "status/conditions"))
		for (size_t i = 0; i < COUNT(types); i++)
			if (!strcmp(json_str_or(e, "type", ""), types[i]) && !strcmp(json_str_or(e, "status", ""), "True"))
				return types[i];
	return NULL;
}
