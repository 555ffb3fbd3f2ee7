/* SPDX-License-Identifier: Apache-2.0 */
#include "handover.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "migration/names.h"
#include "names.h"
#include "view.h"

#define WITHHELD_MAX (256 << 10)        /* of all annotations together (Kubernetes) */

const cJSON *handover_owner(const cJSON *pod)
{
	const cJSON *o;

	cJSON_ArrayForEach(o, json_at(pod, "metadata/ownerReferences")) {
		if (json_bool(o, "controller"))
			return o;
	}
	return NULL;
}

char *handover_withhold(const cJSON *source)
{
	const cJSON *owner = handover_owner(source), *labels = json_at(source, "metadata/labels");
	cleanup_json cJSON *o = NULL;
	cJSON *l;

	if (!owner)
		return NULL;
	o = cJSON_CreateObject();
	cJSON_AddItemToObject(o, "owner", cJSON_Duplicate(owner, 1));
	/* Whoever blocks the owner's deletion needs rights on the owner; we have none. */
	cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(o, "owner"), "blockOwnerDeletion");
	l = cJSON_IsObject(labels) ? cJSON_Duplicate(labels, 1) : cJSON_CreateObject();
	cJSON_DeleteItemFromObjectCaseSensitive(l, PM_LABEL_MIGRATION);
	cJSON_AddItemToObject(o, "labels", l);
	return cJSON_PrintUnformatted(o);
}

/* Admission has told the destination where it is (plugin PodTopologyLabels); what the source was told is not true there. */
static void keep_place(cJSON *labels, const cJSON *destination)
{
	static const char *const keys[] = { "topology.kubernetes.io/zone", "topology.kubernetes.io/region" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (view_label(destination, keys[i])[0])
			cJSON_DeleteItemFromObjectCaseSensitive(labels, keys[i]);
}

int handover_patch(const cJSON *destination, cJSON **ret, struct error *err)
{
	const char *text = view_annotation(destination, ANN_WITHHELD);
	const cJSON *owners = json_at(destination, "metadata/ownerReferences");
	cleanup_json cJSON *withheld = NULL;
	cJSON *patch, *meta, *list, *labels;
	int r = json_parse(text, strlen(text), WITHHELD_MAX, &withheld, err);

	if (r < 0)
		return r;
	if (!json_str(withheld, "owner/uid") || !cJSON_IsObject(json_at(withheld, "labels")))
		return error_set(err, -EINVAL, "annotation " ANN_WITHHELD " of pod %s is damaged", view_name(destination));
	patch = cJSON_CreateObject();
	meta = cJSON_AddObjectToObject(patch, "metadata");
	cJSON_AddStringToObject(meta, "uid", view_uid(destination));
	cJSON_AddStringToObject(meta, "resourceVersion", json_str_or(destination, "metadata/resourceVersion", ""));
	labels = cJSON_Duplicate(json_at(withheld, "labels"), 1);
	keep_place(labels, destination);
	cJSON_AddItemToObject(meta, "labels", labels);
	list = cJSON_IsArray(owners) ? cJSON_Duplicate(owners, 1) : cJSON_CreateArray();
	cJSON_AddItemToArray(list, cJSON_Duplicate(json_at(withheld, "owner"), 1));
	cJSON_AddItemToObject(meta, "ownerReferences", list);
	cJSON_AddNullToObject(cJSON_AddObjectToObject(meta, "annotations"), ANN_WITHHELD);
	*ret = patch;
	return 0;
}
