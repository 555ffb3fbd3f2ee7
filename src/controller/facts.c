/* SPDX-License-Identifier: Apache-2.0 */
#include "facts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "names.h"
#include "preflight.h"
#include "view.h"

/* What an answer means for the facts. */
static bool is_unreadable(int r)
{
	return r == -EACCES || r == -EINVAL;    /* no right to read it, or this server does not know the question */
}

/* GET of one object into facts[key]; null when there is none; left out when it may not be read. */
static int read_one(struct worker *w, cJSON *facts, const char *key, const char *gv, const char *ns, const char *plural, const char *name,
		    struct error *err)
{
	char path[1024];
	cJSON *o = NULL;
	int r = path_of(path, gv, ns, plural, name, NULL, err);

	if (r == 0)
		r = kube_get(w->client, path, &o, err);
	if (r == 0)
		cJSON_AddItemToObject(facts, key, o);
	else if (r == -ENOENT)
		cJSON_AddNullToObject(facts, key);
	else if (!is_unreadable(r))
		return r;
	return 0;
}

/* Lists plural with a label into *ret_items (the caller's); -ENOENT when the API is not there. */
static int read_list(struct worker *w, const char *gv, const char *plural, const char *selector, cJSON **ret_items, struct error *err)
{
	char path[1024], query[1400];
	cJSON *list = NULL;
	int r = path_of(path, gv, NULL, plural, NULL, NULL, err);

	if (r < 0)
		return r;
	snprintf(query, sizeof(query), "%s?labelSelector=%s", path, selector);
	r = kube_get(w->client, query, &list, err);
	if (r < 0)
		return r;
	*ret_items = cJSON_DetachItemFromObjectCaseSensitive(list, "items");
	cJSON_Delete(list);
	if (!cJSON_IsArray(*ret_items)) {
		cJSON_Delete(*ret_items);
		*ret_items = cJSON_CreateArray();
	}
	return 0;
}

/* Candidate nodes: the named one, or all virtual nodes of the cluster. */
static int read_nodes(struct worker *w, const cJSON *migration, cJSON *facts, struct error *err)
{
	const char *cluster = json_str(migration, "spec/destination/liqoCluster"), *name = json_str(migration, "spec/destination/nodeName");
	char selector[256];
	cJSON *nodes = NULL, *one;
	int r;

	if (cluster) {
		/* Both values are DNS labels, checked by the CRD: nothing to escape but '='. */
		snprintf(selector, sizeof(selector), LIQO_LABEL_TYPE "%%3D" LIQO_TYPE_VIRTUAL_NODE ",%s%%3D%.63s", LIQO_LABEL_CLUSTER, cluster);
		r = read_list(w, "v1", "nodes", selector, &nodes, err);
		if (r < 0)
			return r;
	} else {
		nodes = cJSON_CreateArray();
		r = read_one(w, facts, "node", "v1", NULL, "nodes", name, err);
		one = cJSON_DetachItemFromObjectCaseSensitive(facts, "node");
		if (cJSON_IsObject(one))
			cJSON_AddItemToArray(nodes, one);
		else
			cJSON_Delete(one);
	}
	cJSON_AddItemToObject(facts, "nodes", nodes);
	return r;
}

static int read_liqo(struct worker *w, const char *ns, const char *cluster, cJSON *facts, struct error *err)
{
	char selector[256];
	cJSON *maps = NULL;
	int r;

	snprintf(selector, sizeof(selector), "%s%%3D%.63s", LIQO_LABEL_CLUSTER, cluster);
	r = read_list(w, LIQO_OFFLOADING_API, "namespacemaps", selector, &maps, err);
	if (r == 0)
		cJSON_AddItemToObject(facts, "namespaceMaps", maps);
	else if (r != -ENOENT && !is_unreadable(r))
		return r;
	r = read_one(w, facts, "offloading", LIQO_OFFLOADING_API, ns, "namespaceoffloadings", "offloading", err);
	return r == 0 ? read_one(w, facts, "foreignCluster", LIQO_CORE_API, NULL, "foreignclusters", cluster, err) : r;
}

static int read_destination(struct worker *w, const cJSON *migration, cJSON *facts, struct error *err)
{
	const cJSON *node;
	int r = read_nodes(w, migration, facts, err);

	if (r < 0)
		return r;
	node = preflight_choose_node(json_at(facts, "nodes"), json_str_or(migration, "spec/destination/liqoCluster", ""));
	if (!node)
		return 0;
	if (view_node_cluster(node)[0])
		return read_liqo(w, view_namespace(migration), view_node_cluster(node), facts, err);
	return read_one(w, facts, "runtimeClass", "node.k8s.io/v1", NULL, "runtimeclasses", PM_RUNTIME_CLASS, err);
}

int facts_read(struct worker *w, const cJSON *migration, cJSON **ret, struct error *err)
{
	cJSON *facts = cJSON_CreateObject();
	const char *node;
	char other[STORE_KEY_SIZE];
	int r = read_one(w, facts, "pod", "v1", view_namespace(migration), "pods", json_str_or(migration, "spec/podName", ""), err);

	node = json_str(facts, "pod/spec/nodeName");
	if (r == 0 && node)
		r = read_one(w, facts, "sourceNode", "v1", NULL, "nodes", node, err);
	if (r == 0 && store_other_claim(w->c->store, migration, json_at(facts, "pod"), other))
		cJSON_AddStringToObject(facts, "otherMigration", other);
	if (r == 0)
		r = read_destination(w, migration, facts, err);
	if (r < 0) {
		cJSON_Delete(facts);
		return r;
	}
	*ret = facts;
	return 0;
}
