/* SPDX-License-Identifier: Apache-2.0 */
#include "destination_pod.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "handover.h"
#include "migration/reason.h"
#include "names.h"
#include "view.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SUFFIX 5
#define STARTUP_FAILURES_MIN 600
#define STARTUP_FAILURES_MAX 3600
#define HOSTNAME_MAX 63

/* --- names --- */

static const char *first_name(const cJSON *source)
{
	const char *original = view_annotation(source, PM_ANN_ORIGINAL_NAME);

	return original[0] ? original : view_name(source);
}

int destination_pod_name(const cJSON *source, const char *migration_uid, int attempt, char out[POD_NAME_SIZE], struct error *err)
{
	/* The letters Kubernetes itself uses for generated names: no vowels, no look-alikes. */
	static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
	const char *base = first_name(source);
	char suffix[SUFFIX + 1] = "", number[16];
	size_t len = strlen(base);
	uint64_t h;

	if (!len)
		return error_set(err, -EINVAL, "the pod has no name");
	snprintf(number, sizeof(number), "/%d", attempt);
	h = text_hash(text_hash(TEXT_HASH, migration_uid), number);
	for (int i = 0; i < SUFFIX; i++, h /= sizeof(letters) - 1)
		suffix[i] = letters[h % (sizeof(letters) - 1)];
	if (len > POD_NAME_SIZE - 2 - SUFFIX)
		len = POD_NAME_SIZE - 2 - SUFFIX;
	while (len > 1 && (base[len - 1] == '-' || base[len - 1] == '.'))
		len--;
	snprintf(out, POD_NAME_SIZE, "%.*s-%s", (int)len, base, suffix);
	return 0;
}

int destination_secret_name(const char *migration_uid, char *out, size_t size)
{
	int n = snprintf(out, size, "podmigration-%s", migration_uid);

	return n > 0 && (size_t)n < size ? 0 : -ENAMETOOLONG;
}

/* --- small JSON helpers --- */

static void drop(cJSON *o, const char *key)
{
	cJSON_DeleteItemFromObjectCaseSensitive(o, key);
}

static void put_str(cJSON *o, const char *key, const char *value)
{
	drop(o, key);
	cJSON_AddStringToObject(o, key, value);
}

static cJSON *at(cJSON *o, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(o, key);
}

static cJSON *array_of(cJSON *o, const char *key)
{
	cJSON *a = at(o, key);

	if (cJSON_IsArray(a))
		return a;
	drop(o, key);
	return cJSON_AddArrayToObject(o, key);
}

/* Removes the elements of array[key] for which unwanted() says so. */
static void filter(cJSON *o, const char *key, bool (*unwanted)(const cJSON *e))
{
	cJSON *a = at(o, key), *e = a ? a->child : NULL;

	while (e) {
		cJSON *next = e->next;

		if (unwanted(e))
			cJSON_Delete(cJSON_DetachItemViaPointer(a, e));
		e = next;
	}
	if (cJSON_IsArray(a) && !a->child)
		drop(o, key);
}

/* --- volumes --- */

static bool is_ours(const char *volume)
{
	return !strcmp(volume, PM_VOLUME_KEY) || !strcmp(volume, PM_VOLUME_ORDER);
}

/*
 * The service account token volume that admission adds (plugin/pkg/admission/serviceaccount: "kube-api-access-" and five letters); it is added again to the
 * new pod, with a name of its own.
 */
static bool is_token(const char *volume)
{
	static const char prefix[] = "kube-api-access-";

	return !strncmp(volume, prefix, sizeof(prefix) - 1) && strlen(volume) == sizeof(prefix) - 1 + 5;
}

static bool volume_unwanted(const cJSON *v)
{
	const char *name = json_str_or(v, "name", "");

	return is_ours(name) || is_token(name);
}

static cJSON *mount(const char *volume, const char *path)
{
	cJSON *m = cJSON_CreateObject();

	cJSON_AddStringToObject(m, "name", volume);
	cJSON_AddStringToObject(m, "mountPath", path);
	cJSON_AddBoolToObject(m, "readOnly", 1);
	return m;
}

/* The kubelet keeps the file as the annotation is; empty when there is none. */
static void add_annotation_file(cJSON *items, const char *name, const char *annotation)
{
	cJSON *item = cJSON_CreateObject();
	char path[128];

	snprintf(path, sizeof(path), "metadata.annotations['%s']", annotation);
	cJSON_AddStringToObject(item, "path", name);
	cJSON_AddStringToObject(cJSON_AddObjectToObject(item, "fieldRef"), "fieldPath", path);
	cJSON_AddItemToArray(items, item);
}

static void add_volumes(cJSON *spec, const char *secret_name)
{
	cJSON *volumes = array_of(spec, "volumes"), *v, *items, *item;

	v = cJSON_CreateObject();
	cJSON_AddStringToObject(v, "name", PM_VOLUME_KEY);
	item = cJSON_AddObjectToObject(v, "secret");
	cJSON_AddStringToObject(item, "secretName", secret_name);
	cJSON_AddNumberToObject(item, "defaultMode", 0400);
	cJSON_AddItemToArray(volumes, v);

	v = cJSON_CreateObject();
	cJSON_AddStringToObject(v, "name", PM_VOLUME_ORDER);
	items = cJSON_AddArrayToObject(cJSON_AddObjectToObject(v, "downwardAPI"), "items");
	add_annotation_file(items, "order", PM_ANN_ORDER);
	add_annotation_file(items, PM_START_COLD_FILE, PM_ANN_START_COLD);
	cJSON_AddItemToArray(volumes, v);
}

static void add_mounts(cJSON *container)
{
	cJSON *mounts = array_of(container, "volumeMounts");

	cJSON_AddItemToArray(mounts, mount(PM_VOLUME_KEY, PM_MOUNT_KEY));
	cJSON_AddItemToArray(mounts, mount(PM_VOLUME_ORDER, PM_MOUNT_ORDER));
}

/* --- containers --- */

/*
 * name@sha256:.. as the node reports it for an image that was pulled.  An image that was only imported has the bare digest of its configuration there,
 * by which nothing can be pulled: then the image stays as it is in the spec.
 */
static void pin_image(cJSON *container, const cJSON *status)
{
	const char *id = json_str_or(status, "imageID", ""), *digest = strstr(id, "@sha256:");

	if (digest && digest > id && strlen(digest) == strlen("@sha256:") + 64 && !strstr(id, "://"))
		put_str(container, "image", id);
}

static bool is_our_probe(const cJSON *probe)
{
	return !strcmp(json_str_or(probe, "exec/command/0", ""), PM_STARTED_COMMAND);
}

static int64_t migration_seconds(const cJSON *migration)
{
	int64_t s = view_timeout_us(migration) / 1000000;

	return s < STARTUP_FAILURES_MIN ? STARTUP_FAILURES_MIN : s > STARTUP_FAILURES_MAX ? STARTUP_FAILURES_MAX : s;
}

/*
 * Until the restore a monitor stands in the container's place: a startup probe keeps liveness and readiness probes away from it.  A probe of the user's own
 * gets as many tries as the migration may take, since it would otherwise kill the monitor.
 */
static void set_startup_probe(cJSON *container, const cJSON *migration)
{
	cJSON *probe = at(container, "startupProbe");
	int64_t seconds = migration_seconds(migration), period = 10, failures = 3;

	if (probe && !is_our_probe(probe)) {
		json_int(probe, "periodSeconds", 1, 1 << 30, &period);
		json_int(probe, "failureThreshold", 1, 1 << 30, &failures);
		if (failures * period < seconds) {
			drop(probe, "failureThreshold");
			cJSON_AddNumberToObject(probe, "failureThreshold", (double)((seconds + period - 1) / period));
		}
		return;
	}
	drop(container, "startupProbe");
	probe = cJSON_AddObjectToObject(container, "startupProbe");
	cJSON_AddItemToArray(cJSON_AddArrayToObject(cJSON_AddObjectToObject(probe, "exec"), "command"), cJSON_CreateString(PM_STARTED_COMMAND));
	/* Asked once: the runtime answers when the application is there (runtime/probe.h).  Asked again only when containerd was started anew meanwhile. */
	cJSON_AddNumberToObject(probe, "timeoutSeconds", (double)seconds);
	cJSON_AddNumberToObject(probe, "periodSeconds", 1);
	cJSON_AddNumberToObject(probe, "failureThreshold", (double)seconds);
}

/*
 * The kubelet starts what comes after a sidecar only when the sidecar's startup probe has passed, but nothing is restored before all containers are there.
 * So a sidecar gets none, and its liveness probe begins after the longest time the migration may take.
 */
static void set_sidecar_probes(cJSON *container, const cJSON *migration)
{
	cJSON *probe = at(container, "livenessProbe");
	int64_t delay = 0;

	drop(container, "startupProbe");
	if (!probe)
		return;
	json_int(probe, "initialDelaySeconds", 0, 1 << 30, &delay);
	if (delay < migration_seconds(migration)) {
		drop(probe, "initialDelaySeconds");
		cJSON_AddNumberToObject(probe, "initialDelaySeconds", (double)migration_seconds(migration));
	}
}

static void clean_container(cJSON *container, const cJSON *source, const char *list)
{
	cJSON *lifecycle = at(container, "lifecycle");

	pin_image(container, view_container_status(source, list, json_str_or(container, "name", "")));
	filter(container, "volumeMounts", volume_unwanted);
	if (!lifecycle)
		return;
	/* It ran when the application started, which is long ago. */
	drop(lifecycle, "postStart");
	if (!lifecycle->child)
		drop(container, "lifecycle");
}

static bool init_unwanted(const cJSON *c)
{
	return !view_is_sidecar(c);
}

static int build_containers(cJSON *spec, const cJSON *migration, const cJSON *source, struct error *err)
{
	cJSON *first = NULL, *c;

	filter(spec, "initContainers", init_unwanted);
	cJSON_ArrayForEach(c, at(spec, "initContainers")) {
		clean_container(c, source, "initContainers");
		set_sidecar_probes(c, migration);
	}
	cJSON_ArrayForEach(c, at(spec, "containers")) {
		clean_container(c, source, "containers");
		set_startup_probe(c, migration);
		if (!first)
			first = c;
	}
	if (!first)
		return error_set(err, -EINVAL, "the pod has no containers");
	add_mounts(first);
	return 0;
}

/* --- the rest of the spec --- */

static void tolerate_virtual_node(cJSON *spec)
{
	cJSON *list = array_of(spec, "tolerations"), *t;

	cJSON_ArrayForEach(t, list) {
		if (!strcmp(json_str_or(t, "key", ""), LIQO_TAINT))
			return;
	}
	t = cJSON_CreateObject();
	cJSON_AddStringToObject(t, "key", LIQO_TAINT);
	cJSON_AddStringToObject(t, "operator", "Exists");
	cJSON_AddStringToObject(t, "effect", "NoExecute");
	cJSON_AddItemToArray(list, t);
}

/*
 * The processes know their host's name.  A pod name with dots cannot be given as hostname (a DNS label); its pods get the new name.  The kubelet cuts a
 * pod's name at 63 bytes (pkg/kubelet/util.go) and so is done here.
 */
static void keep_hostname(cJSON *spec, const cJSON *source)
{
	char name[HOSTNAME_MAX + 1];

	if (json_str(spec, "hostname"))
		return;
	snprintf(name, sizeof(name), "%.*s", HOSTNAME_MAX, first_name(source));
	for (size_t n = strlen(name); n && (name[n - 1] == '-' || name[n - 1] == '.'); n--)
		name[n - 1] = '\0';
	if (name[0] && !strchr(name, '.'))
		cJSON_AddStringToObject(spec, "hostname", name);
}

/* Has selector an expression for the label key? */
static bool selects_by(const cJSON *selector, const char *key)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(selector, "matchExpressions")) {
		if (!strcmp(json_str_or(e, "key", ""), key))
			return true;
	}
	return false;
}

/*
 * The API server has merged what matchLabelKeys and mismatchLabelKeys mean into the labelSelector beside them, with the values that the pod's labels had (pkg/registry/core/pod,
 * strategy.go), and refuses a pod that has a key in both.  What is in the selector stays; the key goes.
 */
static void drop_merged_keys(cJSON *term)
{
	static const char *const lists[] = { "matchLabelKeys", "mismatchLabelKeys" };

	for (size_t i = 0; i < COUNT(lists); i++) {
		cJSON *keys = at(term, lists[i]), *k = keys ? keys->child : NULL;

		while (k) {
			cJSON *next = k->next;

			if (cJSON_IsString(k) && selects_by(at(term, "labelSelector"), k->valuestring))
				cJSON_Delete(cJSON_DetachItemViaPointer(keys, k));
			k = next;
		}
		if (keys && !keys->child)
			drop(term, lists[i]);
	}
}

static void unmerge_selectors(cJSON *spec)
{
	static const char *const affinities[] = { "podAffinity", "podAntiAffinity" };
	cJSON *e;

	cJSON_ArrayForEach(e, at(spec, "topologySpreadConstraints")) {
		drop_merged_keys(e);
	}
	for (size_t i = 0; i < COUNT(affinities); i++) {
		cJSON *a = at(at(spec, "affinity"), affinities[i]);

		cJSON_ArrayForEach(e, at(a, "requiredDuringSchedulingIgnoredDuringExecution")) {
			drop_merged_keys(e);
		}
		cJSON_ArrayForEach(e, at(a, "preferredDuringSchedulingIgnoredDuringExecution")) {
			drop_merged_keys(at(e, "podAffinityTerm"));
		}
	}
}

static void place(cJSON *spec, const struct destination_spec *d)
{
	put_str(spec, "nodeName", d->node);
	drop(spec, "runtimeClassName");
	if (d->cluster[0])
		tolerate_virtual_node(spec);
	else
		cJSON_AddStringToObject(spec, "runtimeClassName", PM_RUNTIME_CLASS);
}

static cJSON *build_spec(const cJSON *migration, const cJSON *source, const struct destination_spec *d, struct error *err)
{
	/*
	 * priority, preemptionPolicy and overhead are computed by admission from the classes, and refused when they differ from what is computed then.  nodeSelector
	 * and node affinity said where the pod was to be before; the migration says where it is to be now, and the kubelet would refuse the pod by them.
	 */
	static const char *const dropped[] = { "ephemeralContainers", "priority", "preemptionPolicy", "overhead", "nodeSelector", "schedulingGates" };
	cJSON *spec = cJSON_Duplicate(json_at(source, "spec"), 1);
	char secret[POD_NAME_SIZE];

	if (!cJSON_IsObject(spec) || destination_secret_name(view_uid(migration), secret, sizeof(secret)) < 0) {
		cJSON_Delete(spec);
		error_set(err, -EINVAL, "the pod has no spec");
		return NULL;
	}
	for (size_t i = 0; i < COUNT(dropped); i++)
		drop(spec, dropped[i]);
	drop(at(spec, "affinity"), "nodeAffinity");
	if (at(spec, "affinity") && !at(spec, "affinity")->child)
		drop(spec, "affinity");
	unmerge_selectors(spec);
	filter(spec, "volumes", volume_unwanted);
	add_volumes(spec, secret);
	keep_hostname(spec, source);
	place(spec, d);
	if (build_containers(spec, migration, source, err) < 0) {
		cJSON_Delete(spec);
		return NULL;
	}
	return spec;
}

/* --- metadata --- */

static cJSON *build_annotations(const cJSON *migration, const cJSON *source, const struct destination_spec *d)
{
	/* Ours of an earlier migration, and what belongs to the old object: kubectl's memory of it, addresses that network plugins gave it. */
	static const char *const dropped[] = {
		PM_ANN_MIGRATION, PM_ANN_ORDER, PM_ANN_START_COLD, PM_ANN_ORIGINAL_NAME, ANN_ORDERED, ANN_WITHHELD, LIQO_ANN_RUNTIME_CLASS,
		"kubectl.kubernetes.io/last-applied-configuration", "cni.projectcalico.org/containerID", "cni.projectcalico.org/podIP",
		"cni.projectcalico.org/podIPs", "k8s.v1.cni.cncf.io/network-status", "k8s.v1.cni.cncf.io/networks-status", "k8s.ovn.org/pod-networks",
	};
	const cJSON *old = json_at(source, "metadata/annotations");
	cJSON *a = cJSON_IsObject(old) ? cJSON_Duplicate(old, 1) : cJSON_CreateObject();
	char *withheld = handover_withhold(source);

	for (size_t i = 0; i < COUNT(dropped); i++)
		drop(a, dropped[i]);
	cJSON_AddStringToObject(a, PM_ANN_MIGRATION, view_uid(migration));
	cJSON_AddStringToObject(a, PM_ANN_ORIGINAL_NAME, first_name(source));
	if (withheld)
		cJSON_AddStringToObject(a, ANN_WITHHELD, withheld);
	cJSON_free(withheld);
	if (d->cluster[0])
		cJSON_AddStringToObject(a, LIQO_ANN_RUNTIME_CLASS, PM_RUNTIME_CLASS);
	return a;
}

/* It gets that one when it takes the source's place. */
static bool is_controller(const cJSON *owner)
{
	return json_bool(owner, "controller");
}

static cJSON *build_metadata(const cJSON *migration, const cJSON *source, const struct destination_spec *d)
{
	cJSON *m = cJSON_CreateObject(), *labels, *owners, *o;
	const cJSON *old = handover_owner(source) ? NULL : json_at(source, "metadata/labels");

	cJSON_AddStringToObject(m, "name", d->name);
	cJSON_AddStringToObject(m, "namespace", view_namespace(source));
	labels = cJSON_IsObject(old) ? cJSON_Duplicate(old, 1) : cJSON_CreateObject();
	put_str(labels, PM_LABEL_MIGRATION, view_uid(migration));
	cJSON_AddItemToObject(m, "labels", labels);
	cJSON_AddItemToObject(m, "annotations", build_annotations(migration, source, d));
	/* Owners that are no controllers only mean: deleted together. */
	owners = cJSON_Duplicate(json_at(source, "metadata/ownerReferences"), 1);
	cJSON_ArrayForEach(o, owners) {
		drop(o, "blockOwnerDeletion");
	}
	if (owners)
		cJSON_AddItemToObject(m, "ownerReferences", owners);
	filter(m, "ownerReferences", is_controller);
	return m;
}

int destination_pod_build(const cJSON *migration, const cJSON *source, const struct destination_spec *d, cJSON **ret, struct error *err)
{
	cJSON *spec = build_spec(migration, source, d, err), *pod;

	if (!spec)
		return -EINVAL;
	pod = cJSON_CreateObject();
	cJSON_AddStringToObject(pod, "apiVersion", "v1");
	cJSON_AddStringToObject(pod, "kind", "Pod");
	cJSON_AddItemToObject(pod, "metadata", build_metadata(migration, source, d));
	cJSON_AddItemToObject(pod, "spec", spec);
	*ret = pod;
	return 0;
}
