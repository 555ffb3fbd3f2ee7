/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "controller/order.h"
#include "controller/problem.h"
#include "controller/status.h"
#include "controller/view.h"
#include "migration/keys.h"
#include "migration/names.h"
#include "migration/reason.h"

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

static const cJSON *condition(const cJSON *o, const char *type)
{
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(o, "status/conditions")) {
		if (!strcmp(json_str_or(e, "type", ""), type))
			return e;
	}
	fail_msg("no condition %s", type);
	return NULL;
}

static void assert_condition(const cJSON *o, const char *type, const char *status, const char *reason)
{
	const cJSON *c = condition(o, type);

	if (strcmp(json_str_or(c, "status", ""), status) || strcmp(json_str_or(c, "reason", ""), reason))
		fail_msg("%s is %s/%s, not %s/%s", type, json_str_or(c, "status", ""), json_str_or(c, "reason", ""), status, reason);
}

static const char fresh[] = "{'metadata':{'name':'m','namespace':'d','uid':'u','resourceVersion':'5','generation':3},'spec':{'podName':'web'}}";

static void test_refused(void **state)
{
	struct status_change c = { .phase = PHASE_Failed, .reason = REASON_OwnedPod, .message = "OwnedPod: x", .migratable = "OwnedPod: x", .epoch = 2,
				   .now_us = time_parse_us("2026-11-24T16:00:00.123456Z") };
	cJSON *m = quoted(fresh), *o = status_build(m, &c);

	(void)state;
	assert_string_equal(json_str_or(o, "apiVersion", ""), "podmigration.dev/v1alpha1");
	assert_string_equal(json_str_or(o, "metadata/resourceVersion", ""), "5");
	assert_string_equal(json_str_or(o, "metadata/uid", ""), "u");
	assert_string_equal(json_str_or(o, "status/phaseTransitionTimestamps/0/time", ""), "2026-11-24T16:00:00.123456Z");
	assert_string_equal(json_str_or(o, "status/completionTime", ""), "2026-11-24T16:00:00Z");
	assert_condition(o, "Migratable", "False", "OwnedPod");
	assert_condition(o, "Succeeded", "False", "OwnedPod");
	assert_condition(o, "Stalled", "True", "OwnedPod");
	assert_condition(o, "Reconciling", "False", "Ended");
	assert_condition(o, "SourceFrozen", "False", "NotFrozen");
	assert_condition(o, "Committed", "False", "Aborted");
	cJSON_Delete(m);
	cJSON_Delete(o);
}

/* The same change twice is nothing to write; a condition's time moves only with its status. */
static void test_unchanged(void **state)
{
	struct status_change c = { .phase = PHASE_Preparing, .message = "x", .migratable = "", .epoch = 2, .now_us = time_parse_us("2026-11-24T16:00:00Z") };
	cJSON *m = quoted(fresh), *o = status_build(m, &c), *again, *e;

	(void)state;
	cJSON_AddItemToObject(m, "status", cJSON_DetachItemFromObjectCaseSensitive(o, "status"));
	cJSON_Delete(o);
	c.migratable = NULL;
	c.message = "";
	c.now_us += 5000000;
	assert_null(status_build(m, &c));
	c.phase = PHASE_Transferring;
	/* Somebody has changed the spec meanwhile. */
	cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(m, "metadata"), "generation");
	cJSON_AddNumberToObject(cJSON_GetObjectItemCaseSensitive(m, "metadata"), "generation", 7);
	again = status_build(m, &c);
	assert_non_null(again);
	cJSON_ArrayForEach(e, json_at(again, "status/conditions"))
		assert_int_equal(cJSON_GetObjectItemCaseSensitive(e, "observedGeneration")->valueint, 7);
	assert_string_equal(json_str_or(condition(again, "Ready"), "lastTransitionTime", ""), "2026-11-24T16:00:00Z");
	assert_condition(again, "Migratable", "True", "Checked");
	assert_int_equal(cJSON_GetArraySize(json_at(again, "status/phaseTransitionTimestamps")), 2);
	cJSON_Delete(again);
	cJSON_Delete(m);
}

static void test_success_and_stuck(void **state)
{
	struct status_change c = { .phase = PHASE_Succeeded, .message = "done", .epoch = 2, .now_us = 1000000 };
	cJSON *m = quoted("{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Committed','decision':'Commit','sourcePod':{'name':'w','uid':'s','node':'n'},"
			  "'source':{'state':'Running','downtimeMicroseconds':214123,'bytesTransferred':68400000}}}");
	cJSON *o = status_build(m, &c);

	(void)state;
	assert_string_equal(json_str_or(o, "status/downtime", ""), "214ms");
	assert_string_equal(json_str_or(o, "status/transferred", ""), "65.2Mi");
	assert_string_equal(json_str_or(o, "status/sourcePod/uid", ""), "s");
	assert_null(json_at(o, "status/source"));       /* the agent's: applying it would take it over */
	assert_null(json_at(o, "status/decision"));
	assert_condition(o, "Ready", "True", "Succeeded");
	assert_condition(o, "Stalled", "False", "NotStalled");
	cJSON_Delete(o);
	c = (struct status_change){ .phase = PHASE_Committed, .reason = REASON_DestinationLost, .message = "lost", .now_us = 1000000 };
	o = status_build(m, &c);
	assert_condition(o, "Succeeded", "Unknown", "DestinationLost");
	assert_condition(o, "Stalled", "True", "DestinationLost");
	assert_condition(o, "Reconciling", "False", "DestinationLost");
	assert_condition(o, "Committed", "True", "Committed");
	cJSON_Delete(o);
	cJSON_Delete(m);
}

/* PostCopy: what is known of its memory; of other strategies nothing is said. */
static void test_memory(void **state)
{
#define LATER(state, strategy) "{'metadata':{'name':'m','uid':'u'},'spec':{'strategy':'" strategy "'},'status':{'phase':'Committed','decision':'Commit'," \
			       "'source':{'state':'" state "'}}}"
	static const struct {
		const char *migration;
		int reason;
		const char *status, *is;        /* NULL: there is no such condition */
	} cases[] = {
		{ LATER("Restoring", "PostCopy"), REASON_NONE, NULL, NULL },
		{ LATER("Completing", "PostCopy"), REASON_NONE, "False", "PostCopy" },
		{ LATER("Running", "PostCopy"), REASON_NONE, "True", "Complete" },
		{ LATER("Completing", "PostCopy"), REASON_RestoreFailed, "False", "Lost" },
		{ LATER("Committed", "PostCopy"), REASON_AgentUnavailable, "False", "Lost" },
		{ LATER("Running", "PreCopy"), REASON_NONE, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct status_change c = { .phase = PHASE_Committed, .reason = cases[i].reason, .message = "m", .now_us = 1000000 };
		cJSON *m = quoted(cases[i].migration), *o = status_build(m, &c);
		char *text = cJSON_PrintUnformatted(o);

		if (cases[i].status)
			assert_condition(o, "MemoryComplete", cases[i].status, cases[i].is);
		else
			assert_null(strstr(text, "MemoryComplete"));
		free(text);
		cJSON_Delete(o);
		cJSON_Delete(m);
	}
#undef LATER
}

/* allowAutoConverge: said while it is so, with how much, and when it is over; nothing of it in any other migration. */
static void test_throttled(void **state)
{
#define SLOW(phase, state, more, percent) \
	"{'metadata':{'name':'m','uid':'u'},'status':{'phase':'" phase "','source':{'state':'" state "'" more ",'containers':[{'name':'web','cpuPercent':" percent ",'cpuLimit':'350m'},{'name':'b'}]}}}"
	static const struct {
		const char *json;
		enum phase phase;
		const char *status, *is;
	} cases[] = {
		{ SLOW("Transferring", "Connecting", "", "70"), PHASE_Transferring, "True", "AutoConverge" },
		{ SLOW("Freezing", "Freezing", "", "70"), PHASE_Freezing, "False", "Lifted" },
		{ SLOW("Committed", "Running", "", "70"), PHASE_Committed, "False", "Lifted" },
		{ SLOW("Failed", "Aborted", "", "70"), PHASE_Failed, "False", "Lifted" },
		{ SLOW("Failed", "Aborted", ",'error':{'message':'x; " PM_NOT_LIFTED ": y'}", "70"), PHASE_Failed, "True", "NotLifted" },
		{ SLOW("Failed", "Connecting", "", "70"), PHASE_Failed, "Unknown", "NotReported" },
		{ SLOW("Transferring", "Connecting", "", "0"), PHASE_Transferring, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct status_change c = { .phase = cases[i].phase, .message = "x", .now_us = 1000000 };
		cJSON *m = quoted(cases[i].json), *o = status_build(m, &c);
		char *text = cJSON_PrintUnformatted(o);

		assert_int_equal(status_live_changed(m), cases[i].status != NULL);
		if (cases[i].status)
			assert_condition(o, "SourceThrottled", cases[i].status, cases[i].is);
		else
			assert_null(strstr(text, "SourceThrottled"));
		if (i == 0)
			assert_string_equal(status_throttled(o), "container web: 70 % of the CPU time that it used (350m)");
		free(text);
		/* Said once. */
		cJSON_AddItemToObject((cJSON *)json_at(m, "status"), "conditions", cJSON_DetachItemFromObjectCaseSensitive((cJSON *)json_at(o, "status"), "conditions"));
		assert_false(status_live_changed(m));
		cJSON_Delete(o);
		cJSON_Delete(m);
	}
#undef SLOW
}

/* What has been sent is written again while the pod runs, and not while it stands still. */
static void test_more_is_sent(void **state)
{
	static const struct {
		const char *json;
		bool changed;
	} cases[] = {
		{ "{'status':{'phase':'Transferring','source':{'state':'Connecting'}}}", false },
		{ "{'status':{'phase':'Transferring','source':{'state':'Connecting','bytesTransferred':100}}}", true },
		{ "{'status':{'phase':'Transferring','bytesTransferred':100,'source':{'state':'Connecting','bytesTransferred':100}}}", false },
		{ "{'status':{'phase':'Transferring','bytesTransferred':100,'source':{'state':'Connecting','bytesTransferred':300}}}", true },
		{ "{'status':{'phase':'Freezing','bytesTransferred':100,'source':{'state':'Freezing','bytesTransferred':300}}}", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *m = quoted(cases[i].json);

		assert_int_equal(status_live_changed(m), cases[i].changed);
		cJSON_Delete(m);
	}
}

static void test_thaw_unknown(void **state)
{
	struct status_change c = { .phase = PHASE_Failed, .reason = REASON_TimedOut, .message = "t", .now_us = 1000000 };
	cJSON *m = quoted("{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Freezing','decision':'Abort','source':{'state':'Freezing'}}}");
	cJSON *o = status_build(m, &c);

	(void)state;
	assert_condition(o, "SourceFrozen", "Unknown", "NotReported");
	cJSON_Delete(o);
	cJSON_Delete(m);
}

/* When a person is asked for, and when not any more. */
static void test_attention(void **state)
{
#define ABORTED(state, more) "{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Failed','decision':'Abort','source':{'state':'" state "'" more "}}}"
#define ASKED "{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Failed','decision':'Abort','source':{'state':'Aborted'},'conditions':[{'type':" \
	"'AttentionNeeded','status':'True','reason':'SourceNotThawed','message':'x'}]}}"
	static const struct {
		const char *what, *migration;
		enum phase phase;
		int reason;
		bool gone, stays;
		const char *status, *because;   /* NULL: no such condition */
	} cases[] = {
		{ "given up and thawed", ABORTED("Aborted", ""), PHASE_Failed, REASON_TimedOut, false, false, NULL, NULL },
		{ "never frozen", ABORTED("Ready", ""), PHASE_Failed, REASON_TimedOut, false, false, NULL, NULL },
		{ "not reported", ABORTED("Restoring", ""), PHASE_Cancelled, REASON_Cancelled, false, false, "True", "SourceNotThawed" },
		{ "not reported, and gone", ABORTED("Restoring", ""), PHASE_Cancelled, REASON_Cancelled, true, false, NULL, NULL },
		{ "cannot be thawed", ABORTED("Aborted", ",'error':{'reason':'FreezeFailed','message':'x: " PM_NOT_THAWED " (y)'}"), PHASE_Failed, REASON_FreezeFailed,
		  false, false, "True", "SourceNotThawed" },
		{ "the pod does not go", ABORTED("Aborted", ""), PHASE_Failed, REASON_TimedOut, false, true, "True", "DestinationNotRemoved" },
		{ "put right", ASKED, PHASE_Failed, REASON_TimedOut, false, false, "False", "Resolved" },
		{ "stuck", "{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Committed','decision':'Commit','source':{'state':'Committed'}}}", PHASE_Committed,
		  REASON_DestinationLost, false, false, "True", "CommittedNotRunning" },
		{ "it runs, and is not Ready", "{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Committed','decision':'Commit','source':{'state':'Running'}}}",
		  PHASE_Committed, REASON_DestinationPodFailed, false, false, "True", "DestinationNotReady" },
		{ "it runs, and a step that is left is refused", "{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Committed','decision':'Commit','source':{'state':'Running'}}}",
		  PHASE_Committed, REASON_RequestRefused, false, false, "True", "RequestRefused" },
		{ "not stuck any more", "{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Committed','decision':'Commit','source':{'state':'Running'},'conditions':"
		  "[{'type':'AttentionNeeded','status':'True','reason':'CommittedNotRunning'}]}}", PHASE_Succeeded, REASON_NONE, true, false, "False", "Resolved" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct status_change c = { .phase = cases[i].phase, .reason = cases[i].reason, .message = "t", .now_us = 1000000, .source_gone = cases[i].gone,
					   .destination_stays = cases[i].stays };
		cJSON *m = quoted(cases[i].migration), *o = status_build(m, &c);
		const cJSON *a = view_condition(o, "AttentionNeeded");

		if (!cases[i].status ? a != NULL : !a || strcmp(json_str_or(a, "status", ""), cases[i].status) || strcmp(json_str_or(a, "reason", ""), cases[i].because))
			fail_msg("%s: %s %s", cases[i].what, json_str_or(a, "status", "none"), json_str_or(a, "reason", ""));
		assert_int_equal(status_attention(o) != ATTENTION_NONE, cases[i].status && !strcmp(cases[i].status, "True"));
		cJSON_Delete(o);
		cJSON_Delete(m);
	}
}

/* A note about a violation changes nothing else. */
static void test_note(void **state)
{
	struct status_change end = { .phase = PHASE_Failed, .reason = REASON_TimedOut, .message = "too long", .now_us = 1000000 };
	struct status_change note = { .violated = "NoColdStart: x", .now_us = 2000000 };
	cJSON *m = quoted("{'metadata':{'name':'m','uid':'u'},'status':{'phase':'Restoring','decision':'Abort','source':{'state':'Aborted'}}}"), *ended, *noted;

	(void)state;
	ended = status_build(m, &end);
	status_keep(ended, &note);
	noted = status_build(ended, &note);
	assert_condition(noted, "InvariantViolated", "True", "Violated");
	assert_condition(noted, "Succeeded", "False", "TimedOut");
	assert_condition(noted, "Stalled", "True", "TimedOut");
	assert_string_equal(json_str_or(view_condition(noted, "Succeeded"), "message", ""), "too long");
	note.violated = NULL;
	status_keep(noted, &note);
	assert_null(status_build(noted, &note));
	cJSON_Delete(noted);
	cJSON_Delete(ended);
	cJSON_Delete(m);
}

/* A change of spec from which nothing follows: only the generation is new, and all of ours is there, or it would be taken away. */
static void test_observe(void **state)
{
	struct status_change end = { .phase = PHASE_Failed, .reason = REASON_TimedOut, .message = "too long", .epoch = 2, .destination_stays = true, .now_us = 1000000 };
	cJSON *m = quoted("{'metadata':{'name':'m','uid':'u','generation':3},'status':{'phase':'Restoring','decision':'Abort','sourcePod':{'name':'w','uid':'s','node':'n'},"
			  "'source':{'state':'Aborted','bytesTransferred':5}}}"), *ended, *seen;
	const cJSON *e, *meta;

	(void)state;
	ended = status_build(m, &end);
	assert_null(status_observe(m, 4));                      /* nothing was ever written: that comes first */
	meta = json_at(ended, "metadata");
	cJSON_AddNumberToObject(cJSON_GetObjectItemCaseSensitive(ended, "metadata"), "generation", 3);
	assert_null(status_observe(ended, 4));
	cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(meta, "generation"), 4);
	seen = status_observe(ended, 4);
	assert_non_null(seen);
	assert_int_equal(json_at(seen, "status/observedGeneration")->valuedouble, 4);
	assert_int_equal(json_at(seen, "status/epoch")->valuedouble, 4);
	assert_condition(seen, "AttentionNeeded", "True", "DestinationNotRemoved");
	cJSON_ArrayForEach(e, json_at(ended, "status"))
		if (!json_at(json_at(seen, "status"), e->string))
			fail_msg("%s would be taken away", e->string);
	cJSON_ArrayForEach(e, json_at(seen, "status/conditions"))
		assert_int_equal(json_at(e, "observedGeneration")->valuedouble, 4);
	assert_string_equal(json_str_or(view_condition(seen, "Stalled"), "message", ""), "too long");
	cJSON_Delete(seen);
	cJSON_Delete(ended);
	cJSON_Delete(m);
}

/* What was cut within a character, or comes from a file's name, or YAML does not read: the rest of the message is written, and the same is not written twice. */
static void test_clean_message(void **state)
{
	static const struct {
		const char *message, *written;
	} cases[] = {
		{ "plain, na\xc3\xafve, \xe2\x82\xac, \xf0\x9f\x90\xb3", "plain, na\xc3\xafve, \xe2\x82\xac, \xf0\x9f\x90\xb3" },
		{ "cut \xe2\x82", "cut ??" },
		{ "latin-1 \xe9t\xe9", "latin-1 ?t?" },
		{ "tab\t, line\n, escape \x1b[0m, delete \x7f", "tab , line , escape  [0m, delete  " },
		{ "C1 \xc2\x85, BOM \xef\xbb\xbf, \xef\xbf\xbe", "C1 ??, BOM ???, ???" },
		{ "overlong \xc0\xaf, surrogate \xed\xa0\x80, beyond \xf4\x90\x80\x80, \xff", "overlong ??, surrogate ???, beyond ????, ?" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct status_change c = { .phase = PHASE_Failed, .reason = REASON_RestoreFailed, .message = cases[i].message, .now_us = 1000000 };
		cJSON *m = quoted(fresh), *o = status_build(m, &c);

		assert_string_equal(json_str_or(condition(o, "Succeeded"), "message", ""), cases[i].written);
		cJSON_AddItemToObject(m, "status", cJSON_DetachItemFromObjectCaseSensitive(o, "status"));
		assert_null(status_build(m, &c));
		cJSON_Delete(o);
		cJSON_Delete(m);
	}
}

static void test_bytes(void **state)
{
	static const struct {
		int64_t bytes;
		const char *text;
	} cases[] = { { 0, "0" }, { 1023, "1023" }, { 1024, "1.0Ki" }, { 1 << 20, "1.0Mi" }, { 5ll << 30, "5.0Gi" }, { 7ll << 50, "7168.0Ti" } };
	char text[32];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bytes_format(cases[i].bytes, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
}

static void test_times(void **state)
{
	(void)state;
	assert_int_equal(time_parse_us("1970-01-01T00:00:01Z"), 1000000);
	assert_int_equal(time_parse_us("1970-01-01T00:00:01.5Z"), 1500000);
	assert_int_equal(time_parse_us("1970-01-01T00:00:01.000001Z"), 1000001);
	assert_int_equal(time_parse_us("1970-01-01T00:00:01.123456789Z"), 1123456);
	assert_int_equal(time_parse_us("1970-01-01T00:00:01"), 0);
	assert_int_equal(time_parse_us("1970-01-01T00:00:01+01:00"), 0);
	assert_int_equal(time_parse_us("yesterday"), 0);
	assert_int_equal(time_parse_us(NULL), 0);
}

/* --- what keeps a destination pod from running --- */

static void test_problems(void **state)
{
	static const struct {
		const char *pod;
		int reason;
	} cases[] = {
		{ "{'status':{'phase':'Pending','containerStatuses':[{'name':'a','state':{'waiting':{'reason':'ContainerCreating'}}}]}}", REASON_NONE },
		{ "{'status':{'phase':'Pending','containerStatuses':[{'name':'a','state':{'running':{}}},{'name':'b','state':{'waiting':{'reason':'ImagePullBackOff'}}}]}}",
		  REASON_ImageMissing },
		{ "{'status':{'initContainerStatuses':[{'name':'a','state':{'waiting':{'reason':'ErrImagePull'}}}]}}", REASON_ImageMissing },
		{ "{'status':{'containerStatuses':[{'name':'a','state':{'waiting':{'reason':'CrashLoopBackOff'}},'lastState':{'terminated':{'exitCode':125}}}]}}",
		  REASON_DestinationPodFailed },
		{ "{'status':{'containerStatuses':[{'name':'a','state':{'running':{}},'lastState':{'terminated':{'exitCode':1}}}]}}", REASON_DestinationPodFailed },
		{ "{'status':{'phase':'Failed','reason':'OutOfmemory'}}", REASON_InsufficientResources },
		{ "{'status':{'phase':'Failed','reason':'NodeAffinity'}}", REASON_DestinationPodFailed },
		{ "{'status':{'phase':'Succeeded'}}", REASON_DestinationPodFailed },
		{ "{'status':{'phase':'Pending','reason':'OffloadingBackOff'}}", REASON_NamespaceNotOffloaded },
		{ "{'metadata':{'deletionTimestamp':'x'},'status':{'phase':'Running'}}", REASON_DestinationLost },
		{ "{}", REASON_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *pod = quoted(cases[i].pod);
		struct problem p = { 0 };

		problem_of_pod(pod, &p);
		if (p.reason != cases[i].reason)
			fail_msg("%s: %s (%s)", cases[i].pod, reason_name(p.reason), p.message);
		cJSON_Delete(pod);
	}
}

static void test_problem_events(void **state)
{
	static const struct {
		const char *list;
		int reason;
		bool pulling;
	} cases[] = {
		{ "{'items':[]}", REASON_NONE, false },
		{ "{'items':null}", REASON_NONE, false },
		{ "{'items':[{'type':'Normal','reason':'Pulling','lastTimestamp':'2026-01-01T00:00:02Z'},{'type':'Normal','reason':'Scheduled',"
		  "'lastTimestamp':'2026-01-01T00:00:01Z'}]}", REASON_NONE, true },
		{ "{'items':[{'type':'Warning','reason':'FailedMount','message':'secret x','series':{'lastObservedTime':'2026-01-01T00:00:03.5Z'}},"
		  "{'type':'Warning','reason':'FailedCreatePodSandBox','message':'no runtime for podmigration is configured','eventTime':'2026-01-01T00:00:04.000001Z'}]}",
		  REASON_RuntimeClassMissing, false },
		{ "{'items':[{'type':'Warning','reason':'FailedSomething','message':'exceeded quota: x'}]}", REASON_InsufficientResources, false },
		{ "{'items':[{'type':'Warning','reason':'Odd','message':'?'}]}", REASON_DestinationPodFailed, false },
		{ "{'items':[{'type':'Warning','reason':'Unhealthy','message':'Startup probe failed: '}]}", REASON_NONE, false },
		{ "{'items':[{'type':'Warning','reason':'MissingClusterDNS','message':'pod: kubelet does not have ClusterDNS IP configured'}]}", REASON_NONE, false },
		{ "{'items':[{'type':'Warning','reason':'FailedToRetrieveImagePullSecret','message':'regcred'}]}", REASON_NONE, false },
		{ "{'items':[{'type':'Warning','reason':'PolicyViolation','message':'policy x (audit)'}]}", REASON_NONE, false },
		{ "{'items':[{'type':'Warning','reason':'FailedScheduling','message':'0/3 nodes are available: 3 Insufficient cpu.'}]}", REASON_InsufficientResources, false },
		{ "{'items':[{'type':'Warning','reason':'FailedScheduling','message':'0/3 nodes are available: 3 node(s) had untolerated taint'}]}", REASON_DestinationPodFailed,
		  false },
		/* Whatever it was, it is past: the sandbox is there, and the kubelet pulls. */
		{ "{'items':[{'type':'Warning','reason':'FailedCreatePodSandBox','message':'no network yet','lastTimestamp':'2026-01-01T00:00:01Z'},"
		  "{'type':'Normal','reason':'Pulling','lastTimestamp':'2026-01-01T00:00:02Z'}]}", REASON_NONE, true },
		{ "{'items':[{'type':'Normal','reason':'Pulling','lastTimestamp':'2026-01-01T00:00:01Z'},"
		  "{'type':'Warning','reason':'Failed','message':'no such image','lastTimestamp':'2026-01-01T00:00:02Z'}]}", REASON_DestinationPodFailed, false },
		{ "{'items':[{'type':'Warning','reason':'FailedMount','message':'no disk','lastTimestamp':'2026-01-01T00:00:00Z'},"
		  "{'type':'Warning','reason':'MissingClusterDNS','message':'no','lastTimestamp':'2026-01-01T00:00:09Z'}]}", REASON_DestinationPodFailed, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *list = quoted(cases[i].list);
		struct problem p = { 0 };
		bool pulling;

		problem_of_events(list, &p, &pulling);
		if (p.reason != cases[i].reason || pulling != cases[i].pulling)
			fail_msg("%s: %s (%s)", cases[i].list, reason_name(p.reason), p.message);
		cJSON_Delete(list);
	}
	assert_int_equal(problem_of_refusal("pods \"x\" is forbidden: pod rejected: RuntimeClass \"podmigration\" not found"), REASON_RuntimeClassMissing);
	assert_int_equal(problem_of_refusal("exceeded quota: q"), REASON_InsufficientResources);
	assert_int_equal(problem_of_refusal("violates PodSecurity"), REASON_RequestRefused);
}

/* --- orders --- */

static void open_order(const cJSON *patch, const uint8_t *key, const char *bringing, cJSON **ret)
{
	const char *sealed = json_str_or(patch, "metadata/annotations/podmigration.dev~1order", "");
	cleanup_buf struct buf text = BUF_INIT(16384);
	struct error err = { 0 };

	assert_int_equal(order_open(key, bringing, sealed, strlen(sealed), &text, &err), 0);
	assert_int_equal(json_parse(text.data, text.len, 16384, ret, &err), 0);
}

static void test_orders(void **state)
{
	uint8_t bringing[PM_KEY_SIZE], key[PM_KEY_SIZE], other[PM_KEY_SIZE];
	cJSON *m = quoted("{'metadata':{'name':'m','namespace':'d','uid':'new'},'spec':{'timeout':'10m'},'status':{'epoch':7,'destinationPod':{'podIP':'10.0.0.9'},"
			  "'phaseTransitionTimestamps':[{'phase':'Preparing','time':'1970-01-01T00:01:40Z'}]}}");
	cJSON *pod = quoted("{'metadata':{'name':'p','uid':'s','annotations':{'podmigration.dev/migration':'old'}}}"), *patch = NULL, *order = NULL;
	struct error err = { 0 };
	struct buf text = BUF_INIT(16384);
	const char *sealed;
	int64_t n = 0;

	(void)state;
	memset(bringing, 1, sizeof(bringing));
	memset(key, 2, sizeof(key));
	memset(other, 3, sizeof(other));
	assert_int_equal(order_patch(m, pod, ORDER_MIGRATE, bringing, key, 0, &patch, &err), 0);
	assert_string_equal(json_str_or(patch, "metadata/annotations/podmigration.dev~1ordered", ""), "new migrate 1970-01-01T00:00:00.000000Z");
	assert_string_equal(json_str_or(patch, "metadata/uid", ""), "s");
	open_order(patch, bringing, "old", &order);
	assert_string_equal(json_str_or(order, "action", ""), "migrate");
	assert_string_equal(json_str_or(order, "migration", ""), "new");
	assert_string_equal(json_str_or(order, "podIP", ""), "10.0.0.9");
	assert_string_equal(json_str_or(order, "key", ""), "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=");
	assert_int_equal(json_int(order, "epoch", 0, 100, &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(json_int(order, "deadline", 0, 1000000, &n), 0);
	assert_int_equal(n, 700);
	assert_int_equal(json_int(order, "port", 1, 65535, &n), 0);
	sealed = json_str_or(patch, "metadata/annotations/podmigration.dev~1order", "");
	assert_true(order_open(other, "old", sealed, strlen(sealed), &text, &err) < 0);
	assert_true(order_open(bringing, "another pod", sealed, strlen(sealed), &text, &err) < 0);
	cJSON_Delete(patch);
	cJSON_Delete(order);
	order = NULL;
	assert_int_equal(order_patch(m, pod, ORDER_ABORT, bringing, key, 0, &patch, &err), 0);
	open_order(patch, bringing, "old", &order);
	assert_string_equal(json_str_or(order, "action", ""), "abort");
	assert_null(json_at(order, "key"));
	cJSON_Delete(patch);
	cJSON_Delete(order);
	cJSON_Delete(m);
	cJSON_Delete(pod);
	buf_free(&text);
}

/* The pod as a merge patch leaves it: its annotations. */
static void apply(cJSON *pod, const cJSON *patch)
{
	cJSON *annotations = cJSON_GetObjectItem(cJSON_GetObjectItem(pod, "metadata"), "annotations");
	const cJSON *e;

	cJSON_ArrayForEach(e, json_at(patch, "metadata/annotations")) {
		cJSON_DeleteItemFromObjectCaseSensitive(annotations, e->string);
		if (!cJSON_IsNull(e))
			cJSON_AddItemToObject(annotations, e->string, cJSON_Duplicate(e, 1));
	}
}

/* A dry run puts its order on a pod in another cluster, twice, and takes it back; befores: what stood there. */
static void ask_and_withdraw(const char *before)
{
	uint8_t bringing[PM_KEY_SIZE] = { 1 }, key[PM_KEY_SIZE] = { 2 };
	cJSON *m = quoted("{'metadata':{'name':'m','namespace':'d','uid':'new'},'spec':{'timeout':'10m','dryRun':true},'status':{'epoch':7,'destinationPod':{'podIP':'10.0.0.9'}}}");
	cJSON *pod = quoted(before), *was = cJSON_Duplicate(pod, 1), *patch = NULL, *order = NULL;
	struct error err = { 0 };

	assert_false(order_is_ours(m, pod));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(order_patch(m, pod, ORDER_ASK, bringing, key, i, &patch, &err), 0);
		/* For the pod as it was read, and no other. */
		assert_string_equal(json_str_or(patch, "metadata/resourceVersion", ""), "77");
		open_order(patch, bringing, "old", &order);
		assert_string_equal(json_str_or(order, "action", ""), "ask");
		assert_string_equal(json_str_or(order, "podIP", ""), "10.0.0.9");
		apply(pod, patch);
		assert_true(order_is_ours(m, pod));
		cJSON_Delete(patch);
		cJSON_Delete(order);
		order = NULL;
	}
	patch = order_withdraw_patch(pod);
	assert_string_equal(json_str_or(patch, "metadata/resourceVersion", ""), "77");
	apply(pod, patch);
	assert_true(cJSON_Compare(pod, was, 1));
	cJSON_Delete(patch);
	cJSON_Delete(pod);
	cJSON_Delete(was);
	cJSON_Delete(m);
}

static void test_orders_of_dry_runs(void **state)
{
	(void)state;
	ask_and_withdraw("{'metadata':{'name':'p','uid':'s','resourceVersion':'77','annotations':{'podmigration.dev/migration':'old'}}}");
	ask_and_withdraw("{'metadata':{'name':'p','uid':'s','resourceVersion':'77','annotations':{'podmigration.dev/migration':'old','podmigration.dev/order':'AAAA+/==',"
			 "'podmigration.dev/ordered':'newer abort 2026-11-24T16:00:03Z'}}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders_of_dry_runs), cmocka_unit_test(test_refused), cmocka_unit_test(test_unchanged), cmocka_unit_test(test_clean_message), cmocka_unit_test(test_observe), cmocka_unit_test(test_success_and_stuck), cmocka_unit_test(test_thaw_unknown), cmocka_unit_test(test_throttled), cmocka_unit_test(test_more_is_sent), cmocka_unit_test(test_memory),
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_times), cmocka_unit_test(test_problems), cmocka_unit_test(test_problem_events),
		cmocka_unit_test(test_orders), cmocka_unit_test(test_attention), cmocka_unit_test(test_note),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
