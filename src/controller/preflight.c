/* SPDX-License-Identifier: Apache-2.0 */
#include "preflight.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/quantity.h"
#include "migration/reason.h"
#include "names.h"
#include "room.h"
#include "view.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What a check sees. */
struct check {
	const cJSON *migration, *facts, *pod, *node;
	struct preflight *out;
};

static void __attribute__((format(printf, 3, 4))) found(const struct check *c, int reason, const char *fmt, ...)
{
	struct preflight *p = c->out;
	va_list ap;

	if (p->n == FINDINGS_MAX)
		return;
	p->findings[p->n].reason = reason;
	va_start(ap, fmt);
	vsnprintf(p->findings[p->n].text, sizeof(p->findings[p->n].text), fmt, ap);
	va_end(ap);
	p->n++;
}

/* --- the pod --- */

static void check_identity(const struct check *c)
{
	const char *want = json_str_or(c->migration, "spec/podUID", "");

	if (want[0] && strcmp(want, view_uid(c->pod)))
		found(c, REASON_PodReplaced, "pod %s has UID %s, not %s", view_name(c->pod), view_uid(c->pod), want);
}

static void check_not_deleting(const struct check *c)
{
	if (view_deleting(c->pod))
		found(c, REASON_PodTerminating, "pod %s is being deleted", view_name(c->pod));
}

static void check_running(const struct check *c)
{
	const char *phase = json_str_or(c->pod, "status/phase", "Pending");

	if (strcmp(phase, "Running"))
		found(c, REASON_PodNotRunning, "pod %s is %s", view_name(c->pod), phase);
	else if (!view_pod_all_running(c->pod))
		found(c, REASON_PodNotRunning, "not every container of pod %s runs", view_name(c->pod));
}

/* Who keeps a number of pods that are all alike takes one for the other (handover.h); others know theirs by name, by node, or by how they end. */
static bool can_hand_over(const cJSON *owner)
{
	return !strcmp(json_str_or(owner, "kind", ""), "ReplicaSet") && !strncmp(json_str_or(owner, "apiVersion", ""), "apps/", 5);
}

static void check_owner(const struct check *c)
{
	const cJSON *o;

	cJSON_ArrayForEach(o, json_at(c->pod, "metadata/ownerReferences")) {
		if (json_bool(o, "controller") && !can_hand_over(o))
			found(c, REASON_OwnedPod, "pod %s belongs to %s %s", view_name(c->pod), json_str_or(o, "kind", "?"), json_str_or(o, "name", "?"));
	}
}

static void check_not_static(const struct check *c)
{
	/* The kubelet marks its own manifests' pods so (pkg/kubelet/types/pod_update.go). */
	if (view_annotation(c->pod, "kubernetes.io/config.mirror")[0])
		found(c, REASON_StaticPod, "pod %s is a static pod of node %s", view_name(c->pod), json_str_or(c->pod, "spec/nodeName", "?"));
}

static void check_host_namespaces(const struct check *c)
{
	static const char *const fields[] = { "hostNetwork", "hostPID", "hostIPC" };

	for (size_t i = 0; i < COUNT(fields); i++)
		if (json_bool(json_at(c->pod, "spec"), fields[i]))
			found(c, REASON_HostNamespace, "the pod sets %s", fields[i]);
}

/* core/v1 StorageMedium: "HugePages", or with a size, "HugePages-2Mi". */
static void check_medium(const struct check *c, const cJSON *volume)
{
	const char *medium = json_str_or(volume, "emptyDir/medium", "");

	if (!strncmp(medium, "HugePages", strlen("HugePages")))
		found(c, REASON_UnsupportedVolume, "volume %s is an emptyDir of medium %s, and huge pages cannot be moved", json_str_or(volume, "name", "?"), medium);
}

static void check_volumes(const struct check *c)
{
	static const char *const movable[] = { "emptyDir", "configMap", "secret", "projected", "downwardAPI" };
	const cJSON *v, *source;

	cJSON_ArrayForEach(v, json_at(c->pod, "spec/volumes")) {
		bool ok = false;

		check_medium(c, v);

		/* Every field but name is a volume source. */
		cJSON_ArrayForEach(source, v) {
			for (size_t i = 0; i < COUNT(movable); i++)
				ok |= !strcmp(source->string, movable[i]);
		}
		if (ok)
			continue;
		source = v->child && v->child->string && !strcmp(v->child->string, "name") ? v->child->next : v->child;
		found(c, REASON_UnsupportedVolume, "volume %s is of type %s", json_str_or(v, "name", "?"), source ? source->string : "unknown");
	}
}

static const char *const resource_lists[] = { "resources/limits", "resources/requests" };

/* of: a container, or the spec of the pod, which may have them for all its containers.  The agent refuses who has them mapped (container/process_info.h); who is given some may only not have yet. */
static void check_huge_pages(const struct check *c, const cJSON *of, const char *what, const char *name)
{
	const cJSON *r;
	double n;

	for (size_t i = 0; i < COUNT(resource_lists); i++)
		cJSON_ArrayForEach(r, json_at(of, resource_lists[i])) {
			if (strncmp(r->string, "hugepages-", strlen("hugepages-")) || (quantity_parse(cJSON_GetStringValue(r), &n) == 0 && n <= 0))
				continue;
			found(c, REASON_UnsupportedContainer, "%s%s has %s, and huge pages cannot be moved", what, name, r->string);
			return;
		}
}

static void check_container_devices(const struct check *c, const cJSON *container)
{
	const char *name = json_str_or(container, "name", "?");
	const cJSON *r;

	check_huge_pages(c, container, "container ", name);
	for (size_t i = 0; i < COUNT(resource_lists); i++)
		cJSON_ArrayForEach(r, json_at(container, resource_lists[i])) {
			/* Extended resources have a domain; those of Kubernetes itself are cpu, memory, ephemeral-storage, hugepages-*. */
			if (strchr(r->string, '/')) {
				found(c, REASON_DeviceInUse, "container %s uses %s", name, r->string);
				return;
			}
		}
	if (cJSON_GetArraySize(json_at(container, "volumeDevices")) > 0)
		found(c, REASON_DeviceInUse, "container %s uses a block device (volumeDevices)", name);
	if (cJSON_GetArraySize(json_at(container, "resources/claims")) > 0)
		found(c, REASON_DeviceInUse, "container %s uses a resource claim", name);
}

static void check_container_terminal(const struct check *c, const cJSON *container)
{
	if (json_bool(container, "stdin") || json_bool(container, "tty"))
		found(c, REASON_TerminalAttached, "container %s has %s", json_str_or(container, "name", "?"), json_bool(container, "tty") ? "a tty" : "stdin");
}

static void check_containers(const struct check *c)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(c->pod, "spec/containers")) {
		check_container_devices(c, e);
		check_container_terminal(c, e);
	}
	cJSON_ArrayForEach(e, json_at(c->pod, "spec/initContainers")) {
		if (!view_is_sidecar(e))
			continue;
		check_container_devices(c, e);
		check_container_terminal(c, e);
	}
	check_huge_pages(c, json_at(c->pod, "spec"), "the pod", "");
	if (cJSON_GetArraySize(json_at(c->pod, "spec/resourceClaims")) > 0)
		found(c, REASON_DeviceInUse, "the pod uses resource claims");
}

static void check_no_ephemeral_containers(const struct check *c)
{
	const cJSON *e = json_at(c->pod, "spec/ephemeralContainers/0");

	if (e)
		found(c, REASON_UnsupportedContainer, "the pod has an ephemeral container (%s)", json_str_or(e, "name", "?"));
}

static void check_runtime_class(const struct check *c)
{
	static const char *const ours[] = { PM_RUNTIME_CLASS, LIQO_RUNTIME_CLASS };
	const char *name = json_str_or(c->pod, "spec/runtimeClassName", "");

	for (size_t i = 0; i < COUNT(ours); i++)
		if (!strcmp(name, ours[i]))
			return;
	if (name[0])
		found(c, REASON_UnsupportedRuntime, "the pod's runtimeClassName is %s", name);
}

static void check_not_in_use(const struct check *c)
{
	const char *other = json_str(c->facts, "otherMigration");

	if (other)
		found(c, REASON_AlreadyMigrating, "PodMigration %s is moving this pod", other);
}

/* Behind a virtual node only a pod that podmigration brought there has the key and the order file that its agent needs. */
static void check_source_cluster(const struct check *c)
{
	const char *cluster = view_node_cluster(json_at(c->facts, "sourceNode"));

	snprintf(c->out->source_cluster, sizeof(c->out->source_cluster), "%s", cluster);
	if (cluster[0] && !view_annotation(c->pod, PM_ANN_MIGRATION)[0])
		found(c, REASON_UnsupportedSource, "Liqo started the pod in cluster %s, and only a PodMigration can bring one there that can be moved: create it on a node of this cluster, for instance by "
		      "nodeSelector kubernetes.io/hostname, and move it from there", cluster);
}

/* --- the destination --- */

static bool node_ready(const cJSON *node)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(node, "status/conditions")) {
		if (!strcmp(json_str_or(e, "type", ""), "Ready"))
			return !strcmp(json_str_or(e, "status", ""), "True");
	}
	return false;
}

static bool node_usable(const cJSON *node)
{
	return node_ready(node) && !json_bool(node, "spec/unschedulable") && !view_deleting(node);
}

static bool better(const cJSON *a, const cJSON *b, const char *cluster)
{
	int by_name = strcmp(view_name(a), view_name(b));

	if (node_usable(a) != node_usable(b))
		return node_usable(a);
	if (!strcmp(view_name(a), cluster) || !strcmp(view_name(b), cluster))
		return !strcmp(view_name(a), cluster);
	return by_name < 0;
}

const cJSON *preflight_choose_node(const cJSON *nodes, const char *cluster)
{
	const cJSON *e, *best = NULL;

	cJSON_ArrayForEach(e, nodes) {
		if (!best || better(e, best, cluster))
			best = e;
	}
	return best;
}

static void check_node(const struct check *c)
{
	const char *cluster = json_str_or(c->migration, "spec/destination/liqoCluster", "");
	const char *name = cluster[0] ? cluster : json_str_or(c->migration, "spec/destination/nodeName", "");

	if (!c->node) {
		found(c, REASON_NoSuchDestination, cluster[0] ? "no virtual node of Liqo cluster %s exists here" : "node %s does not exist", name);
		return;
	}
	if (!node_ready(c->node))
		found(c, REASON_DestinationNotReady, "node %s is not Ready", view_name(c->node));
	if (json_bool(c->node, "spec/unschedulable"))
		found(c, REASON_DestinationNotReady, "node %s is cordoned", view_name(c->node));
	if (view_deleting(c->node))
		found(c, REASON_DestinationNotReady, "node %s is being deleted", view_name(c->node));
	/* Only whoever names the node means it. */
	if (cluster[0] && c->pod && !strcmp(json_str_or(c->pod, "spec/nodeName", ""), view_name(c->node)))
		found(c, REASON_NoSuchDestination, "the pod is in cluster %s already", cluster);
}

/* v1 Toleration: without a key all keys, without an effect all effects, without an operator "Equal". */
static bool tolerates(const cJSON *toleration, const cJSON *taint)
{
	const char *key = json_str_or(toleration, "key", ""), *effect = json_str_or(toleration, "effect", ""), *operator = json_str_or(toleration, "operator", "Equal");

	if ((effect[0] && strcmp(effect, json_str_or(taint, "effect", ""))) || (key[0] && strcmp(key, json_str_or(taint, "key", ""))))
		return false;
	return !strcmp(operator, "Exists") || (key[0] && !strcmp(operator, "Equal") && !strcmp(json_str_or(toleration, "value", ""), json_str_or(taint, "value", "")));
}

static bool pod_tolerates(const struct check *c, const cJSON *taint)
{
	const cJSON *t;

	/* The destination pod gets this one. */
	if (c->out->cluster[0] && !strcmp(json_str_or(taint, "key", ""), LIQO_TAINT))
		return true;
	cJSON_ArrayForEach(t, json_at(c->pod, "spec/tolerations")) {
		if (tolerates(t, taint))
			return true;
	}
	return false;
}

/* Who is bound to a node by name is not kept from it by NoSchedule; by NoExecute the kubelet refuses it (pkg/kubelet/lifecycle/predicate.go), or it is evicted at once. */
static void check_taints(const struct check *c)
{
	const cJSON *t;

	if (!c->pod)
		return;
	cJSON_ArrayForEach(t, json_at(c->node, "spec/taints")) {
		if (!strcmp(json_str_or(t, "effect", ""), "NoExecute") && !pod_tolerates(c, t))
			found(c, REASON_DestinationNotReady, "node %s has the taint %.100s:NoExecute, which the pod does not tolerate", view_name(c->node), json_str_or(t, "key", "?"));
	}
}

/* What can be known from here; what else runs there only its scheduler and kubelet know, and say it of the destination pod. */
static void check_room(const struct check *c)
{
	const char *pressure = room_pressure(c->node);
	char text[200];

	if (c->node && pressure)
		found(c, REASON_InsufficientResources, "node %s reports %s", view_name(c->node), pressure);
	if (c->node && c->pod && !room_fits(c->pod, c->node, text, sizeof(text)))
		found(c, REASON_InsufficientResources, "%s", text);
}

static void check_local_runtime(const struct check *c)
{
	const cJSON *rc = json_at(c->facts, "runtimeClass");

	if (c->node && !c->out->cluster[0] && rc && cJSON_IsNull(rc))
		found(c, REASON_RuntimeClassMissing, "RuntimeClass %s does not exist in this cluster", PM_RUNTIME_CLASS);
}

static bool mapped(const cJSON *maps, const char *ns)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, maps) {
		const cJSON *m = cJSON_GetObjectItemCaseSensitive(json_at(e, "status/currentMapping"), ns);

		if (!strcmp(json_str_or(m, "phase", ""), "Accepted"))
			return true;
	}
	return false;
}

/* The NamespaceMap is what Liqo's virtual kubelet goes by; the NamespaceOffloading only says what was asked for. */
static void check_offloaded(const struct check *c)
{
	const cJSON *maps = json_at(c->facts, "namespaceMaps"), *offloading = json_at(c->facts, "offloading");
	const char *ns = view_namespace(c->migration);

	if (!c->node || !c->out->cluster[0])
		return;
	if (maps && !mapped(maps, ns))
		found(c, REASON_NamespaceNotOffloaded, "namespace %s is not offloaded to cluster %s", ns, c->out->cluster);
	else if (!maps && offloading && strcmp(json_str_or(offloading, "status/offloadingPhase", ""), "Ready"))
		found(c, REASON_NamespaceNotOffloaded, "the NamespaceOffloading of namespace %s is %s", ns,
		      json_str_or(offloading, "status/offloadingPhase", cJSON_IsNull(offloading) ? "missing" : "not ready"));
}

/* Liqo 1.2 leaves hostUsers out of the pod that it makes in the other cluster (pkg/virtualKubelet/forge/pods.go, RemotePodSpec): there its root would be the node's. */
static void check_user_namespace(const struct check *c)
{
	if (c->node && c->out->cluster[0] && cJSON_IsFalse(json_at(c->pod, "spec/hostUsers")))
		found(c, REASON_UnsupportedContainer, "the pod has a user namespace of its own (hostUsers: false), which Liqo does not give it in cluster %s; it can be moved to another node of this cluster", c->out->cluster);
}

static void check_peer(const struct check *c)
{
	const cJSON *fc = json_at(c->facts, "foreignCluster"), *e;
	const char *role = json_str_or(fc, "status/role", "");

	if (!c->node || !c->out->cluster[0] || !cJSON_IsObject(fc))
		return;
	if (!strcmp(role, "Consumer"))
		found(c, REASON_NoSuchDestination, "Liqo cluster %s only consumes; it does not run pods of this cluster", c->out->cluster);
	cJSON_ArrayForEach(e, json_at(fc, "status/conditions")) {
		if (!strcmp(json_str_or(e, "type", ""), "APIServerStatus") && !strcmp(json_str_or(e, "status", ""), "Error"))
			found(c, REASON_DestinationNotReady, "the API server of Liqo cluster %s does not answer", c->out->cluster);
	}
}

/* --- all of it --- */

typedef void (*check_fn)(const struct check *c);

/* Order: the first finding names the migration's reason, so what explains the others comes first. */
static const check_fn pod_checks[] = {
	check_identity, check_not_deleting, check_not_in_use, check_not_static, check_owner, check_host_namespaces,
	check_volumes, check_containers, check_no_ephemeral_containers, check_runtime_class, check_source_cluster, check_running,
};

static const check_fn destination_checks[] = { check_node, check_taints, check_room, check_local_runtime, check_user_namespace, check_peer, check_offloaded };

void preflight_check(const cJSON *migration, const cJSON *facts, struct preflight *ret)
{
	const char *cluster = json_str_or(migration, "spec/destination/liqoCluster", "");
	struct check c = { .migration = migration, .facts = facts, .out = ret };

	memset(ret, 0, sizeof(*ret));
	c.node = preflight_choose_node(json_at(facts, "nodes"), cluster);
	if (c.node) {
		snprintf(ret->node, sizeof(ret->node), "%s", view_name(c.node));
		snprintf(ret->cluster, sizeof(ret->cluster), "%s", view_node_cluster(c.node));
	}
	c.pod = json_at(facts, "pod");
	if (!cJSON_IsObject(c.pod)) {
		c.pod = NULL;
		found(&c, REASON_PodNotFound, "pod %s does not exist in namespace %s", json_str_or(migration, "spec/podName", "?"), view_namespace(migration));
	}
	for (size_t i = 0; c.pod && i < COUNT(pod_checks); i++)
		pod_checks[i](&c);
	for (size_t i = 0; i < COUNT(destination_checks); i++)
		destination_checks[i](&c);
}

bool preflight_agent_can_look(const struct preflight *p)
{
	/* It would find no such pod, not all of it, or (of a static pod, whose containers have another UID) none of its containers. */
	static const int blind[] = { REASON_PodNotFound, REASON_PodReplaced, REASON_PodTerminating, REASON_PodNotRunning, REASON_StaticPod };

	for (int i = 0; i < p->n; i++)
		for (size_t k = 0; k < COUNT(blind); k++)
			if (p->findings[i].reason == blind[k])
				return false;
	return !p->source_cluster[0];
}

void preflight_message(const struct preflight *p, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (int i = 0; i < p->n && len + 1 < size; i++) {
		int n = snprintf(out + len, size - len, "%s%s: %s", i ? "; " : "", reason_name(p->findings[i].reason), p->findings[i].text);

		len += n > 0 ? (size_t)n : 0;
	}
}
