/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "migration/names.h"
#include "plugin.h"

static void add(cJSON *o, const char *key, const char *value)
{
	if (value)
		cJSON_AddStringToObject(o, key, value);
}

/* The API server checks it all and says in words what is wrong: nothing is checked here a second time. */
cJSON *request_object(const struct request *r)
{
	cJSON *o = cJSON_CreateObject(), *meta, *spec, *destination;
	char prefix[NAME_SIZE];

	cJSON_AddStringToObject(o, "apiVersion", PM_GROUP "/" PM_VERSION);
	cJSON_AddStringToObject(o, "kind", "PodMigration");
	meta = cJSON_AddObjectToObject(o, "metadata");
	if (r->name) {
		add(meta, "name", r->name);
	} else {
		/* The API server cuts a prefix that leaves no room for its five letters. */
		snprintf(prefix, sizeof(prefix), "%.200s-", r->pod);
		add(meta, "generateName", prefix);
	}
	spec = cJSON_AddObjectToObject(o, "spec");
	add(spec, "podName", r->pod);
	destination = cJSON_AddObjectToObject(spec, "destination");
	add(destination, "liqoCluster", r->to_cluster);
	add(destination, "nodeName", r->to_node);
	add(spec, "strategy", r->strategy);
	add(spec, "bandwidth", r->bandwidth);
	add(spec, "timeout", r->timeout);
	add(spec, "freezeTimeout", r->freeze_timeout);
	add(spec, "ttlAfterFinished", r->ttl);
	if (r->converge)
		cJSON_AddBoolToObject(cJSON_AddObjectToObject(spec, "preCopy"), "allowAutoConverge", 1);
	if (r->dry_run)
		cJSON_AddBoolToObject(spec, "dryRun", 1);
	add(spec, "dryRunScope", r->dry_run_scope);
	return o;
}
