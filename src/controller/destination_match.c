/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "destination_pod.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const cJSON *at(const cJSON *o, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(o, key);
}

/* Absent is equal to absent, and to an empty object or array: the API server drops those, or does not. */
static bool equal(const cJSON *a, const cJSON *b)
{
	bool no_a = !a || ((cJSON_IsObject(a) || cJSON_IsArray(a)) && !a->child), no_b = !b || ((cJSON_IsObject(b) || cJSON_IsArray(b)) && !b->child);

	return no_a || no_b ? no_a == no_b : cJSON_Compare(a, b, 1);
}

static bool fields_match(const cJSON *built, const cJSON *made, const char *const *keys, size_t n, const char *what, char *why, size_t size)
{
	for (size_t i = 0; i < n; i++)
		if (!equal(at(built, keys[i]), at(made, keys[i]))) {
			snprintf(why, size, "%s has another %s", what, keys[i]);
			return false;
		}
	return true;
}

/* Nothing added, nothing taken away, in the same order: each container of the destination waits for one of the source. */
static bool containers_match(const cJSON *built, const cJSON *made, char *why, size_t size)
{
	static const char *const keys[] = { "image", "command", "args", "workingDir", "securityContext", "restartPolicy", "stdin", "tty" };
	const cJSON *b = built ? built->child : NULL, *m = made ? made->child : NULL;

	for (; b && m; b = b->next, m = m->next) {
		const char *name = json_str_or(b, "name", "?");
		char what[128];

		if (strcmp(name, json_str_or(m, "name", "?")))
			break;
		snprintf(what, sizeof(what), "container %.100s", name);
		if (!fields_match(b, m, keys, COUNT(keys), what, why, size))
			return false;
	}
	if (!b && !m)
		return true;
	snprintf(why, size, m ? "container %.100s was added" : "container %.100s is missing", json_str_or(m ? m : b, "name", "?"));
	return false;
}

static bool volumes_match(const cJSON *built, const cJSON *made, char *why, size_t size)
{
	const cJSON *b, *m;

	cJSON_ArrayForEach(b, built) {
		bool found = false;

		cJSON_ArrayForEach(m, made) {
			found |= !strcmp(json_str_or(m, "name", ""), json_str_or(b, "name", "?"));
		}
		if (!found) {
			snprintf(why, size, "volume %.100s is missing", json_str_or(b, "name", "?"));
			return false;
		}
	}
	return true;
}

bool destination_pod_matches(const cJSON *built, const cJSON *made, char *why, size_t size)
{
	static const char *const keys[] = { "nodeName", "hostname", "hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "securityContext",
					    "restartPolicy" };
	static const char *const runtime = "runtimeClassName";
	const cJSON *b = at(built, "spec"), *m = at(made, "spec");

	/* Where we name none, Liqo's admission may name its own, which only steers the pod. */
	if (at(b, "runtimeClassName") && !fields_match(b, m, &runtime, 1, "the pod", why, size))
		return false;
	return fields_match(b, m, keys, COUNT(keys), "the pod", why, size) &&
	       containers_match(at(b, "initContainers"), at(m, "initContainers"), why, size) &&
	       containers_match(at(b, "containers"), at(m, "containers"), why, size) && volumes_match(at(b, "volumes"), at(m, "volumes"), why, size);
}
