/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "controller/destination_pod.h"
#include "controller/handover.h"
#include "migration/names.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static cJSON *quoted(const char *text)
{
	char *copy = strdup(text);
	struct error err = { 0 };
	cJSON *o = NULL;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	if (json_parse(copy, strlen(copy), 1 << 20, &o, &err) < 0)
		fail_msg("%s", err.message);
	free(copy);
	return o;
}

/* A pod with about everything in it that has to be touched. */
static const char source_text[] =
	"{'metadata':{'name':'web','namespace':'shop','uid':'s','resourceVersion':'7','labels':{'app':'web'},'finalizers':['x/y'],"
	"'annotations':{'note':'mine','kubectl.kubernetes.io/last-applied-configuration':'{}','podmigration.dev/order':'old','cni.projectcalico.org/podIP':'1.2.3.4/32'},"
	"'ownerReferences':[{'kind':'Thing','name':'t','uid':'o','blockOwnerDeletion':true}]},"
	"'spec':{'nodeName':'n1','priority':5,'preemptionPolicy':'PreemptLowerPriority','priorityClassName':'high','nodeSelector':{'a':'b'},'schedulerName':'default-scheduler',"
	"'affinity':{'nodeAffinity':{'x':1},'podAntiAffinity':{'y':1}},'overhead':{'cpu':'1m'},'serviceAccountName':'default','runtimeClassName':'liqo',"
	"'tolerations':[{'key':'node.kubernetes.io/not-ready','operator':'Exists','effect':'NoExecute','tolerationSeconds':300}],"
	"'volumes':[{'name':'data','emptyDir':{}},{'name':'kube-api-access-abcde','projected':{}},{'name':'kube-api-access-mine-own','emptyDir':{}},"
	"{'name':'podmigration-key','secret':{'secretName':'podmigration-old'}},{'name':'podmigration-order','downwardAPI':{}}],"
	"'initContainers':[{'name':'setup','image':'i'},{'name':'side','image':'side:1','restartPolicy':'Always','startupProbe':{'exec':{'command':['x']}},"
	"'livenessProbe':{'exec':{'command':['y']},'initialDelaySeconds':3},'volumeMounts':[{'name':'kube-api-access-abcde','mountPath':'/s'}]}],"
	"'containers':[{'name':'a','image':'app:1','lifecycle':{'postStart':{'x':1}},'volumeMounts':[{'name':'data','mountPath':'/d'},"
	"{'name':'kube-api-access-abcde','mountPath':'/s'},{'name':'podmigration-key','mountPath':'/.podmigration/key'}],"
	"'startupProbe':{'exec':{'command':['/.podmigration/started']},'periodSeconds':1,'failureThreshold':60}},"
	"{'name':'b','image':'two:1','lifecycle':{'postStart':{'x':1},'preStop':{'y':1}},'startupProbe':{'httpGet':{'port':1},'periodSeconds':7}},"
	"{'name':'c','image':'three:1','startupProbe':{'httpGet':{'port':1},'periodSeconds':100,'failureThreshold':100}}]},"
	"'status':{'phase':'Running','containerStatuses':[{'name':'a','imageID':'reg.example/app@" DIGEST "'},{'name':'b','imageID':'" DIGEST "'}],"
	"'initContainerStatuses':[{'name':'side','imageID':'reg.example/side@" DIGEST "'}]}}";

static const char migration_text[] = "{'metadata':{'name':'m','namespace':'shop','uid':'11111111-2222-3333-4444-555555555555'},'spec':{'timeout':'20m'}}";

static cJSON *build_from(const cJSON *s, const char *node, const char *cluster)
{
	cJSON *m = quoted(migration_text), *pod = NULL, *before = cJSON_Duplicate(s, 1);
	struct destination_spec spec = { "web-abcde", node, cluster };
	struct error err = { 0 };

	if (destination_pod_build(m, s, &spec, &pod, &err) < 0)
		fail_msg("%s", err.message);
	assert_true(cJSON_Compare(s, before, 1));
	cJSON_Delete(before);
	cJSON_Delete(m);
	return pod;
}

static cJSON *build(const char *source, const char *node, const char *cluster)
{
	cJSON *s = quoted(source), *pod = build_from(s, node, cluster);

	cJSON_Delete(s);
	return pod;
}

static void assert_str(const cJSON *o, const char *path, const char *want)
{
	const char *got = json_str(o, path);

	if (!got || !want ? got != want : strcmp(got, want))
		fail_msg("%s: %s, not %s", path, got ? got : "nothing", want ? want : "nothing");
}

static void assert_int(const cJSON *o, const char *path, int64_t want)
{
	int64_t got = -1;

	if (json_int(o, path, 0, INT64_MAX, &got) < 0 || got != want)
		fail_msg("%s: %lld, not %lld", path, (long long)got, (long long)want);
}

static void assert_absent(const cJSON *o, const char *path)
{
	if (json_at(o, path))
		fail_msg("%s is there", path);
}

static void test_metadata(void **state)
{
	cJSON *pod = build(source_text, "n2", "");

	(void)state;
	assert_str(pod, "kind", "Pod");
	assert_str(pod, "metadata/name", "web-abcde");
	assert_str(pod, "metadata/namespace", "shop");
	assert_str(pod, "metadata/labels/app", "web");
	assert_str(pod, "metadata/labels/podmigration.dev~1migration-uid", "11111111-2222-3333-4444-555555555555");
	assert_str(pod, "metadata/annotations/note", "mine");
	assert_str(pod, "metadata/annotations/podmigration.dev~1migration", "11111111-2222-3333-4444-555555555555");
	assert_str(pod, "metadata/annotations/podmigration.dev~1original-name", "web");
	assert_absent(pod, "metadata/annotations/podmigration.dev~1order");
	assert_absent(pod, "metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration");
	assert_absent(pod, "metadata/annotations/cni.projectcalico.org~1podIP");
	assert_absent(pod, "metadata/uid");
	assert_absent(pod, "metadata/resourceVersion");
	assert_absent(pod, "metadata/finalizers");
	assert_absent(pod, "metadata/ownerReferences/0/blockOwnerDeletion");
	assert_str(pod, "metadata/ownerReferences/0/uid", "o");
	assert_absent(pod, "status");
	cJSON_Delete(pod);
}

static void test_spec(void **state)
{
	static const char *const gone[] = { "priority", "preemptionPolicy", "nodeSelector", "overhead", "affinity/nodeAffinity" };
	cJSON *pod = build(source_text, "n2", "");
	const cJSON *spec = json_at(pod, "spec");

	(void)state;
	for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
		assert_absent(spec, gone[i]);
	assert_str(spec, "nodeName", "n2");
	assert_str(spec, "runtimeClassName", "podmigration");
	assert_str(spec, "hostname", "web");
	assert_str(spec, "priorityClassName", "high");
	assert_str(spec, "serviceAccountName", "default");
	assert_true(json_at(spec, "affinity/podAntiAffinity") != NULL);
	assert_int_equal(cJSON_GetArraySize(json_at(spec, "tolerations")), 1);
	assert_int_equal(cJSON_GetArraySize(json_at(spec, "volumes")), 4);
	assert_str(spec, "volumes/0/name", "data");
	assert_str(spec, "volumes/1/name", "kube-api-access-mine-own");
	assert_str(spec, "volumes/2/secret/secretName", "podmigration-11111111-2222-3333-4444-555555555555");
	assert_str(spec, "volumes/3/downwardAPI/items/0/path", "order");
	assert_str(spec, "volumes/3/downwardAPI/items/0/fieldRef/fieldPath", "metadata.annotations['podmigration.dev/order']");
	assert_str(spec, "volumes/3/downwardAPI/items/1/path", "start-cold");
	assert_str(spec, "volumes/3/downwardAPI/items/1/fieldRef/fieldPath", "metadata.annotations['podmigration.dev/start-cold']");
	cJSON_Delete(pod);
}

static void test_containers(void **state)
{
	cJSON *pod = build(source_text, "n2", "");
	const cJSON *c = json_at(pod, "spec/containers");

	(void)state;
	assert_int_equal(cJSON_GetArraySize(c), 3);
	assert_str(c, "0/image", "reg.example/app@" DIGEST);
	assert_str(c, "1/image", "two:1");              /* a bare digest cannot be pulled */
	assert_str(c, "2/image", "three:1");
	assert_absent(c, "0/lifecycle");
	assert_absent(c, "1/lifecycle/postStart");
	assert_true(json_at(c, "1/lifecycle/preStop") != NULL);
	/* Ours again, once, in the first container only. */
	assert_int_equal(cJSON_GetArraySize(json_at(c, "0/volumeMounts")), 3);
	assert_str(c, "0/volumeMounts/1/mountPath", PM_MOUNT_KEY);
	assert_str(c, "0/volumeMounts/2/mountPath", PM_MOUNT_ORDER);
	assert_true(json_bool(c, "0/volumeMounts/2/readOnly"));
	assert_absent(c, "1/volumeMounts");
	assert_str(c, "0/startupProbe/exec/command/0", PM_STARTED_COMMAND);
	assert_int_equal(json_at(c, "0/startupProbe/timeoutSeconds")->valuedouble, json_at(c, "0/startupProbe/failureThreshold")->valuedouble);
	assert_int(c, "0/startupProbe/failureThreshold", 1200);         /* of the timeout, not of the earlier migration */
	assert_int(c, "1/startupProbe/failureThreshold", 172);          /* 172 * 7 s >= 20 min */
	assert_int(c, "2/startupProbe/failureThreshold", 100);          /* long enough already */
	cJSON_Delete(pod);
}

/* The kubelet waits for a sidecar before it starts the rest, and the restore waits for the rest. */
static void test_sidecar(void **state)
{
	cJSON *pod = build(source_text, "n2", "");
	const cJSON *c = json_at(pod, "spec/initContainers");

	(void)state;
	assert_int_equal(cJSON_GetArraySize(c), 1);
	assert_str(c, "0/name", "side");
	assert_str(c, "0/image", "reg.example/side@" DIGEST);
	assert_absent(c, "0/startupProbe");
	assert_absent(c, "0/volumeMounts");
	assert_int(c, "0/livenessProbe/initialDelaySeconds", 1200);
	cJSON_Delete(pod);
}

static void test_liqo(void **state)
{
	cJSON *pod = build(source_text, "b", "b");

	(void)state;
	assert_str(pod, "metadata/annotations/liqo.io~1remote-runtime-class-name", "podmigration");
	assert_absent(pod, "spec/runtimeClassName");
	assert_int_equal(cJSON_GetArraySize(json_at(pod, "spec/tolerations")), 2);
	assert_str(pod, "spec/tolerations/1/key", "virtual-node.liqo.io/not-allowed");
	assert_str(pod, "spec/tolerations/1/effect", "NoExecute");
	cJSON_Delete(pod);
}

/* There and back again: what an earlier migration added is not added twice, and the first name and hostname stay. */
static void test_twice(void **state)
{
	cJSON *there = build(source_text, "b", "b"), *back = build_from(there, "n1", "");

	(void)state;
	assert_str(back, "spec/hostname", "web");
	assert_str(back, "metadata/annotations/podmigration.dev~1original-name", "web");
	assert_absent(back, "metadata/annotations/liqo.io~1remote-runtime-class-name");
	assert_str(back, "spec/runtimeClassName", "podmigration");
	assert_int_equal(cJSON_GetArraySize(json_at(back, "spec/volumes")), 4);
	assert_int_equal(cJSON_GetArraySize(json_at(back, "spec/containers/0/volumeMounts")), 3);
	cJSON_Delete(there);
	cJSON_Delete(back);
}

static void name_of(const char *source, const char *uid, int attempt, char *out)
{
	cJSON *s = quoted(source);
	struct error err = { 0 };

	assert_int_equal(destination_pod_name(s, uid, attempt, out, &err), 0);
	cJSON_Delete(s);
}

static void test_names(void **state)
{
	char a[POD_NAME_SIZE], b[POD_NAME_SIZE], text[512];

	(void)state;
	name_of("{'metadata':{'name':'web'}}", "uid-1", 0, a);
	assert_true(!strncmp(a, "web-", 4) && strlen(a) == 9 && strspn(a + 4, "bcdfghjklmnpqrstvwxz2456789") == 5);
	name_of("{'metadata':{'name':'web'}}", "uid-1", 0, b);
	assert_string_equal(a, b);                      /* the same after a crash */
	name_of("{'metadata':{'name':'web'}}", "uid-1", 1, b);
	assert_string_not_equal(a, b);
	name_of("{'metadata':{'name':'web'}}", "uid-2", 0, b);
	assert_string_not_equal(a, b);
	name_of("{'metadata':{'name':'web-qqqqq','annotations':{'podmigration.dev/original-name':'web'}}}", "uid-1", 0, b);
	assert_string_equal(a, b);
	snprintf(text, sizeof(text), "{'metadata':{'name':'%0253d'}}", 0);
	name_of(text, "uid-1", 0, b);
	assert_int_equal(strlen(b), 253);          /* the longest name there is */
}

static void test_hostname(void **state)
{
	static const struct {
		const char *source, *hostname;
	} cases[] = {
		{ "{'metadata':{'name':'web.one'},'spec':{'containers':[{'name':'a'}]}}", NULL },
		{ "{'metadata':{'name':'web'},'spec':{'hostname':'db','containers':[{'name':'a'}]}}", "db" },
		{ "{'metadata':{'name':'a123456789-123456789-123456789-123456789-123456789-123456789-12-456'},'spec':{'containers':[{'name':'a'}]}}",
		  "a123456789-123456789-123456789-123456789-123456789-123456789-12" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *pod = build(cases[i].source, "n2", "");

		assert_str(pod, "spec/hostname", cases[i].hostname);
		cJSON_Delete(pod);
	}
}

static void test_nothing_to_build(void **state)
{
	static const char *const bad[] = { "{}", "{'metadata':{'name':'w'}}", "{'metadata':{'name':'w'},'spec':{}}", "{'metadata':{'name':'w'},'spec':{'containers':[]}}",
					   "{'metadata':{'name':'w'},'spec':[]}" };
	struct destination_spec spec = { "w-x", "n", "" };
	cJSON *m = quoted(migration_text);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cJSON *s = quoted(bad[i]), *pod = NULL;
		struct error err = { 0 };

		assert_true(destination_pod_build(m, s, &spec, &pod, &err) < 0);
		assert_null(pod);
		assert_true(err.message[0]);
		cJSON_Delete(s);
	}
	cJSON_Delete(m);
}

/* As the API server keeps a pod with such keys: it has merged them, and would refuse the key and what it became beside each other. */
static void test_merged_keys(void **state)
{
#define MERGED "'labelSelector':{'matchExpressions':[{'key':'app','operator':'In','values':['web']},{'key':'hash','operator':'In','values':['7']}]}"
	static const char text[] =
		"{'metadata':{'name':'web','namespace':'shop','uid':'s'},'spec':{'containers':[{'name':'a','image':'i'}],"
		"'topologySpreadConstraints':[{" MERGED ",'matchLabelKeys':['hash','tier']},{'labelSelector':{},'matchLabelKeys':['hash']},{'matchLabelKeys':[7]}],"
		"'affinity':{'podAffinity':{'preferredDuringSchedulingIgnoredDuringExecution':[{'weight':1,'podAffinityTerm':{" MERGED ",'matchLabelKeys':['hash']}},{}]},"
		"'podAntiAffinity':{'requiredDuringSchedulingIgnoredDuringExecution':[{" MERGED ",'matchLabelKeys':['app'],'mismatchLabelKeys':['hash']}]}}}}";
#undef MERGED
	cJSON *pod = build(text, "n2", "");
	const cJSON *spread = json_at(pod, "spec/topologySpreadConstraints"), *affinity = json_at(pod, "spec/affinity");

	(void)state;
	assert_str(spread, "0/matchLabelKeys/0", "tier");
	assert_absent(spread, "0/matchLabelKeys/1");
	assert_str(spread, "0/labelSelector/matchExpressions/1/key", "hash");
	assert_str(spread, "1/matchLabelKeys/0", "hash");
	assert_int(spread, "2/matchLabelKeys/0", 7);
	assert_absent(affinity, "podAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm/matchLabelKeys");
	assert_str(affinity, "podAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm/labelSelector/matchExpressions/1/values/0", "7");
	assert_absent(affinity, "podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/matchLabelKeys");
	assert_absent(affinity, "podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/mismatchLabelKeys");
	cJSON_Delete(pod);
}

/* --- a pod with an owner --- */

static void test_owned(void **state)
{
	cJSON *m = quoted("{'metadata':{'name':'m','namespace':'shop','uid':'11111111-2222-3333-4444-555555555555'},'spec':{'podName':'web'}}");
	cJSON *source = quoted("{'metadata':{'name':'web-1','namespace':'shop','uid':'s','labels':{'app':'web','pod-template-hash':'7','podmigration.dev/migration-uid':'x',"
			       "'topology.kubernetes.io/zone':'here','topology.kubernetes.io/region':'r'},"
			       "'ownerReferences':[{'apiVersion':'v1','kind':'ConfigMap','name':'c','uid':'o2'},{'apiVersion':'apps/v1','kind':'ReplicaSet','name':'web',"
			       "'uid':'o1','controller':true,'blockOwnerDeletion':true}]},'spec':{'containers':[{'name':'a','image':'i'}]}}");
	struct destination_spec d = { .name = "web-1-bcdfg", .node = "n2", .cluster = "" };
	struct error err = { 0 };
	cJSON *pod = NULL, *patch = NULL;

	(void)state;
	assert_int_equal(destination_pod_build(m, source, &d, &pod, &err), 0);
	assert_null(json_at(pod, "metadata/labels/app"));
	assert_null(json_at(pod, "metadata/labels/pod-template-hash"));
	assert_str(pod, "metadata/labels/podmigration.dev~1migration-uid", "11111111-2222-3333-4444-555555555555");
	assert_str(pod, "metadata/ownerReferences/0/uid", "o2");
	assert_null(json_at(pod, "metadata/ownerReferences/1"));
	cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(pod, "metadata"), "uid", "t");
	cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(pod, "metadata"), "resourceVersion", "9");
	assert_int_equal(handover_patch(pod, &patch, &err), 0);
	assert_str(patch, "metadata/uid", "t");
	assert_str(patch, "metadata/resourceVersion", "9");
	assert_str(patch, "metadata/labels/app", "web");
	assert_str(patch, "metadata/labels/pod-template-hash", "7");
	/* Ours stays the new migration's. */
	assert_null(json_at(patch, "metadata/labels/podmigration.dev~1migration-uid"));
	assert_str(patch, "metadata/ownerReferences/0/uid", "o2");
	assert_str(patch, "metadata/ownerReferences/1/uid", "o1");
	assert_true(json_bool(patch, "metadata/ownerReferences/1/controller"));
	assert_null(json_at(patch, "metadata/ownerReferences/1/blockOwnerDeletion"));
	assert_true(cJSON_IsNull(json_at(patch, "metadata/annotations/podmigration.dev~1withheld")));
	cJSON_Delete(patch);
	/* Of its place the destination knows better, as far as it was told. */
	assert_str(pod, "metadata/labels/topology.kubernetes.io~1zone", NULL);
	cJSON_AddStringToObject(cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(pod, "metadata"), "labels"), "topology.kubernetes.io/zone", "there");
	assert_int_equal(handover_patch(pod, &patch, &err), 0);
	assert_absent(patch, "metadata/labels/topology.kubernetes.io~1zone");
	assert_str(patch, "metadata/labels/topology.kubernetes.io~1region", "r");
	cJSON_Delete(patch);
	cJSON_Delete(pod);
	/* Somebody has written something else there. */
	pod = quoted("{'metadata':{'name':'x','annotations':{'podmigration.dev/withheld':'{}'}}}");
	assert_true(handover_patch(pod, &patch, &err) < 0);
	cJSON_Delete(pod);
	cJSON_Delete(source);
	cJSON_Delete(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_metadata), cmocka_unit_test(test_spec), cmocka_unit_test(test_containers), cmocka_unit_test(test_sidecar),
		cmocka_unit_test(test_liqo), cmocka_unit_test(test_twice), cmocka_unit_test(test_owned), cmocka_unit_test(test_names), cmocka_unit_test(test_hostname),
		cmocka_unit_test(test_nothing_to_build), cmocka_unit_test(test_merged_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
