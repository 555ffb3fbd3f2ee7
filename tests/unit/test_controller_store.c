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
#include "controller/store.h"
#include "migration/machine.h"
#include "migration/phase.h"
#include "migration/ready.h"

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

static struct store *make(void)
{
	struct store *s = NULL;
	struct error err = { 0 };

	assert_int_equal(store_new(&s, &err), 0);
	return s;
}

static bool put(struct store *s, const char *text)
{
	cJSON *o = quoted(text);
	bool newer = store_put_migration(s, o);

	cJSON_Delete(o);
	return newer;
}

static void assert_phase(struct store *s, const char *key, const char *want)
{
	cJSON *o = store_migration(s, key);
	const char *got = json_str(o, "status/phase");

	if (!got || !want ? got != want : strcmp(got, want))
		fail_msg("%s: %s, not %s", key, got ? got : "nothing", want ? want : "nothing");
	cJSON_Delete(o);
}

#define M(version, uid, phase) \
	"{'metadata':{'name':'m','namespace':'d','uid':'" uid "','resourceVersion':'" version "','managedFields':[1]},'status':{'phase':'" phase "'}}"

/* Our own write's answer and the watch's events come in any order: the newer one stays. */
static void test_versions(void **state)
{
	struct store *s = make();
	cJSON *o;

	(void)state;
	assert_true(put(s, M("100", "u", "Preparing")));
	assert_false(put(s, M("99", "u", "Pending")));
	assert_phase(s, "d/m", "Preparing");
	assert_true(put(s, M("1000", "u", "Freezing")));        /* longer is larger */
	assert_false(put(s, M("999", "u", "Preparing")));
	assert_true(put(s, M("1000", "u", "Restoring")));       /* the same again is taken */
	assert_phase(s, "d/m", "Restoring");
	assert_true(put(s, M("5", "u2", "Pending")));           /* another object of that name: its versions are its own */
	assert_phase(s, "d/m", "Pending");
	assert_true(put(s, M("opaque", "u2", "Failed")));
	o = store_migration(s, "d/m");
	assert_null(json_at(o, "metadata/managedFields"));
	cJSON_Delete(o);
	store_free(s);
}

static void test_removal(void **state)
{
	struct store *s = make();
	cJSON *old = quoted("{'metadata':{'name':'m','namespace':'d','uid':'old'}}"), *now = quoted("{'metadata':{'name':'m','namespace':'d','uid':'u'}}");

	(void)state;
	put(s, M("1", "u", "Failed"));
	store_remove_migration(s, old);                 /* the deletion of an earlier one comes late */
	assert_phase(s, "d/m", "Failed");
	store_remove_migration(s, now);
	assert_phase(s, "d/m", NULL);
	store_remove_migration(s, now);
	cJSON_Delete(old);
	cJSON_Delete(now);
	store_free(s);
}

static bool put_pod(struct store *s, const char *text, char key[STORE_KEY_SIZE])
{
	cJSON *o = quoted(text);
	bool known = store_put_pod(s, o, key);

	cJSON_Delete(o);
	return known;
}

static void test_pods(void **state)
{
	struct store *s = make();
	char key[STORE_KEY_SIZE];
	cJSON *pod;

	(void)state;
	put(s, M("1", "u", "Preparing"));
	assert_true(put_pod(s, "{'metadata':{'name':'p','namespace':'d','uid':'p1','resourceVersion':'7','labels':{'podmigration.dev/migration-uid':'u','big':'x'},"
			       "'annotations':{'podmigration.dev/ordered':'u migrate','note':'y'}},'spec':{'nodeName':'n','containers':[{'name':'a','image':'i','env':[1]}],"
			       "'initContainers':[{'name':'s','restartPolicy':'Always'},{'name':'i'}]},'status':{'phase':'Running','podIP':'10.0.0.1',"
			       "'containerStatuses':[{'name':'a','state':{'running':{}},'image':'i'}]}}", key));
	assert_string_equal(key, "d/m");
	assert_false(put_pod(s, "{'metadata':{'name':'q','uid':'p2','labels':{'podmigration.dev/migration-uid':'nobody'}}}", key));
	pod = store_pod(s, "p1");
	assert_string_equal(json_str_or(pod, "status/podIP", ""), "10.0.0.1");
	assert_non_null(json_at(pod, "status/containerStatuses/0/state/running"));
	assert_string_equal(json_str_or(pod, "metadata/annotations/podmigration.dev~1ordered", ""), "u migrate");
	assert_string_equal(json_str_or(pod, "spec/initContainers/0/restartPolicy", ""), "Always");
	assert_null(json_at(pod, "spec/initContainers/1/restartPolicy"));
	assert_null(json_at(pod, "spec/containers/0/env"));             /* what is not looked at is not kept */
	assert_null(json_at(pod, "metadata/annotations/note"));
	assert_non_null(json_at(pod, "metadata/labels/big"));           /* what a Service may select by */
	cJSON_Delete(pod);
	/* An older state does not come back. */
	put_pod(s, "{'metadata':{'name':'p','namespace':'d','uid':'p1','resourceVersion':'6','labels':{'podmigration.dev/migration-uid':'u'}},'status':{'podIP':'old'}}", key);
	pod = store_pod(s, "p1");
	assert_string_equal(json_str_or(pod, "status/podIP", ""), "10.0.0.1");
	assert_true(store_remove_pod(s, pod, key));
	assert_false(store_remove_pod(s, pod, key));
	cJSON_Delete(pod);
	assert_null(store_pod(s, "p1"));
	assert_null(store_pod(s, ""));
	store_free(s);
}

/* What its agent says of a source that stands still, and what tells whether it was ready (migration/ready.h). */
static void test_taken_out(void **state)
{
	struct store *s = make();
	char key[STORE_KEY_SIZE];
	cJSON *pod;

	(void)state;
	put(s, M("1", "u", "Preparing"));
	put_pod(s, "{'metadata':{'name':'p','namespace':'d','uid':'p1','resourceVersion':'7','labels':{'podmigration.dev/migration-uid':'u'}},'spec':{'readinessGates':[{'conditionType':'warm'}]},"
		"'status':{'conditions':[{'type':'Ready','status':'False','reason':'Migrating'},{'type':'ContainersReady','status':'True'},{'type':'warm','status':'True'}]}}", key);
	pod = store_pod(s, "p1");
	assert_true(pod_is_taken_out(pod));
	assert_true(pod_would_be_ready(pod));
	cJSON_Delete(pod);
	put_pod(s, "{'metadata':{'name':'p','namespace':'d','uid':'p1','resourceVersion':'8','labels':{'podmigration.dev/migration-uid':'u'}},'spec':{'readinessGates':[{'conditionType':'warm'}]},"
		"'status':{'conditions':[{'type':'Ready','status':'False','reason':'ReadinessGatesNotReady'},{'type':'ContainersReady','status':'True'}]}}", key);
	pod = store_pod(s, "p1");
	assert_false(pod_is_taken_out(pod));
	assert_false(pod_would_be_ready(pod));
	cJSON_Delete(pod);
	store_free(s);
}

#define PODV(version) "{'metadata':{'name':'p','namespace':'d','uid':'p1','resourceVersion':'" version "','labels':{'podmigration.dev/migration-uid':'u'}}}"

/* An answer of before the deletion that comes after it: the pod would terminate for ever.  Newer ones: the label was only taken off. */
static void test_gone_stays_gone(void **state)
{
	static const struct {
		const char *removed, *put;
		bool there;
	} cases[] = {
		{ PODV("100"), PODV("99"), false }, { PODV("100"), PODV("100"), false }, { PODV("100"), PODV("9"), false }, { PODV("100"), PODV("101"), true },
	};
	char key[STORE_KEY_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store *s = make();
		cJSON *o = quoted(cases[i].removed), *found;

		put_pod(s, PODV("98"), key);
		store_remove_pod(s, o, key);
		put_pod(s, cases[i].put, key);
		found = store_pod(s, "p1");
		assert_int_equal(found != NULL, cases[i].there);
		cJSON_Delete(found);
		cJSON_Delete(o);
		store_free(s);
	}
}

static void test_gone_migration_stays_gone(void **state)
{
	struct store *s = make();
	cJSON *now = quoted(M("8", "u", "Failed"));

	(void)state;
	store_remove_migration(s, now);
	put(s, M("7", "u", "Preparing"));
	assert_phase(s, "d/m", NULL);
	put(s, M("7", "u2", "Pending"));                /* another of that name */
	assert_phase(s, "d/m", "Pending");
	cJSON_Delete(now);
	store_free(s);
}

#define CLAIM(name, uid, created, status) \
	"{'metadata':{'name':'" name "','namespace':'d','uid':'" uid "','resourceVersion':'1','creationTimestamp':'" created "'},'spec':{'podName':'web'},'status':{" status "}}"

static void test_claims(void **state)
{
	static const struct {
		const char *what, *other;
		bool claimed;
	} cases[] = {
		{ "has recorded the pod", CLAIM("o", "u9", "2026-01-09", "'phase':'Preparing','sourcePod':{'uid':'p'}"), true },
		{ "has recorded another pod of that name", CLAIM("o", "u9", "2026-01-01", "'phase':'Preparing','sourcePod':{'uid':'q'}"), false },
		{ "is a dry run", "{'metadata':{'name':'o','namespace':'d','uid':'u9','creationTimestamp':'2026-01-01'},'spec':{'podName':'web','dryRun':true},"
		  "'status':{'phase':'Preparing','sourcePod':{'uid':'p'}}}", false },
		{ "is a dry run of a pod in another cluster", "{'metadata':{'name':'o','namespace':'d','uid':'u9','creationTimestamp':'2026-01-01'},'spec':{'podName':'web','dryRun':true,"
		  "'dryRunScope':'Destination'},'status':{'phase':'Preparing','sourcePod':{'uid':'p','cluster':'b'}}}", true },
		{ "is a dry run that has put its label on the pod", "{'metadata':{'name':'o','namespace':'d','uid':'marked','creationTimestamp':'2026-01-01'},'spec':{'podName':'web','dryRun':true,"
		  "'dryRunScope':'Destination'},'status':{'phase':'Pending'}}", true },
		{ "has ended", CLAIM("o", "u9", "2026-01-01", "'phase':'Failed','sourcePod':{'uid':'p'}"), false },
		{ "has put its label on the pod", CLAIM("o", "marked", "2026-01-09", "'phase':'Pending'"), true },
		{ "had put its label on the pod, and has ended", CLAIM("o", "marked", "2026-01-01", "'phase':'Succeeded'"), false },
		{ "is older and waits", CLAIM("o", "u9", "2026-01-01", "'phase':'Pending'"), true },
		{ "is younger and waits", CLAIM("o", "u9", "2026-01-09", ""), false },
		{ "is as old, smaller UID", CLAIM("o", "u0", "2026-01-05", ""), true },
		{ "is as old, larger UID", CLAIM("o", "u9", "2026-01-05", ""), false },
		{ "names another pod", "{'metadata':{'name':'o','namespace':'d','uid':'u0','creationTimestamp':'2026-01-01'},'spec':{'podName':'db'}}", false },
		{ "is in another namespace", "{'metadata':{'name':'o','namespace':'e','uid':'u0','creationTimestamp':'2026-01-01'},'spec':{'podName':'web'}}", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store *s = make();
		cJSON *self = quoted(CLAIM("m", "u5", "2026-01-05", ""));
		cJSON *pod = quoted("{'metadata':{'uid':'p','labels':{'podmigration.dev/migration-uid':'marked'}}}");
		char key[STORE_KEY_SIZE] = "";

		store_put_migration(s, self);
		put(s, cases[i].other);
		if (store_other_claim(s, self, pod, key) != cases[i].claimed)
			fail_msg("%s", cases[i].what);
		if (cases[i].claimed)
			assert_string_equal(key, "d/o");
		cJSON_Delete(self);
		cJSON_Delete(pod);
		store_free(s);
	}
}

/* What a migration made, and no record of its tells. */
static void test_stray(void **state)
{
	static const struct {
		const char *pod;
		bool stray;
	} cases[] = {
		{ "{'metadata':{'name':'x','uid':'t','labels':{'podmigration.dev/migration-uid':'u5'},'annotations':{'podmigration.dev/migration':'u5'}}}", true },
		{ "{'metadata':{'name':'x','uid':'t','labels':{'podmigration.dev/migration-uid':'u6'},'annotations':{'podmigration.dev/migration':'u6'}}}", false },
		/* the source: marked, but not made by it */
		{ "{'metadata':{'name':'x','uid':'s','labels':{'podmigration.dev/migration-uid':'u5'},'annotations':{'podmigration.dev/migration':'u5'}}}", false },
		{ "{'metadata':{'name':'x','uid':'t','labels':{'podmigration.dev/migration-uid':'u5'},'annotations':{'podmigration.dev/migration':'u4'}}}", false },
		{ "{'metadata':{'name':'x','uid':'t','labels':{'podmigration.dev/migration-uid':'u5'}}}", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct store *s = make();
		cJSON *pod = quoted(cases[i].pod), *found;
		char key[STORE_KEY_SIZE];

		store_put_pod(s, pod, key);
		found = store_stray_pod(s, "u5", "s");
		assert_int_equal(found != NULL, cases[i].stray);
		assert_null(store_stray_pod(s, "", ""));
		cJSON_Delete(found);
		cJSON_Delete(pod);
		store_free(s);
	}
}

/* The past of an object outlives its new versions, not the object. */
static void test_past(void **state)
{
	struct store *s = make();
	cJSON *first = quoted("{'metadata':{'name':'m','namespace':'d','uid':'u','resourceVersion':'1'},'status':{'phase':'Freezing','decision':'Abort','epoch':3}}");
	cJSON *second = quoted("{'metadata':{'name':'m','namespace':'d','uid':'u','resourceVersion':'2'},'status':{'phase':'Failed'}}");
	cJSON *other = quoted("{'metadata':{'name':'m','namespace':'d','uid':'v','resourceVersion':'3'}}");
	struct store_past p;

	(void)state;
	assert_false(store_note(s, first).known);
	store_put_migration(s, first);
	assert_false(store_note(s, first).known);
	store_put_migration(s, second);
	p = store_note(s, second);
	assert_true(p.known && p.phase == PHASE_Freezing && p.decision == DECISION_ABORT && p.epoch == 3);
	p = store_note(s, second);
	assert_true(p.known && p.phase == PHASE_Failed && p.decision == DECISION_NONE && p.epoch == 0);
	store_put_migration(s, other);
	assert_false(store_note(s, other).known);
	cJSON_Delete(first);
	cJSON_Delete(second);
	cJSON_Delete(other);
	store_free(s);
}

static void count_key(void *ctx, const char *key)
{
	assert_non_null(strchr(key, '/'));
	++*(int *)ctx;
}

static void test_many(void **state)
{
	struct store *s = make();
	int by_phase[PHASE_COUNT], pods = 0, keys = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		char text[300];

		snprintf(text, sizeof(text), "{'metadata':{'name':'m%d','namespace':'d','uid':'u%d','resourceVersion':'%d'},'status':{'phase':'%s'}}", i, i, i,
			 i % 4 ? "Succeeded" : "Pending");
		assert_true(put(s, text));
	}
	store_count(s, by_phase, &pods);
	assert_int_equal(by_phase[PHASE_Succeeded], 7500);
	assert_int_equal(by_phase[PHASE_Pending], 2500);
	assert_int_equal(pods, 0);
	store_each_key(s, count_key, &keys);
	assert_int_equal(keys, 10000);
	assert_phase(s, "d/m9999", "Succeeded");
	store_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_versions), cmocka_unit_test(test_removal), cmocka_unit_test(test_pods), cmocka_unit_test(test_taken_out), cmocka_unit_test(test_gone_stays_gone),
		cmocka_unit_test(test_gone_migration_stays_gone), cmocka_unit_test(test_claims), cmocka_unit_test(test_stray), cmocka_unit_test(test_past), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
