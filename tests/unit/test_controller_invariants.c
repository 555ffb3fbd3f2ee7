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
#include "controller/invariants.h"
#include "controller/view.h"

#define SECONDS 1000000ll

static cJSON *quoted(const char *text)
{
	char *copy = text ? strdup(text) : NULL;
	struct error err = { 0 };
	cJSON *o = NULL;

	for (char *p = copy; p && *p; p++)
		if (*p == '\'')
			*p = '"';
	if (copy && json_parse(copy, strlen(copy), 1 << 20, &o, &err) < 0)
		fail_msg("%s in %s", err.message, copy);
	free(copy);
	return o;
}

/* Preparing began at 16:00:00, timeout 60 s. */
#define META "'metadata':{'name':'m','namespace':'d','uid':'u1','creationTimestamp':'2026-11-24T16:00:00Z','finalizers':['podmigration.dev/migration']}"
#define TIMES "'phaseTransitionTimestamps':[{'phase':'Preparing','time':'2026-11-24T16:00:00Z'},{'phase':'Freezing','time':'2026-11-24T16:00:02Z'}," \
	"{'phase':'Committed','time':'2026-11-24T16:00:03Z'}]"
#define M(phase, more) "{" META ",'spec':{'podName':'web','timeout':'60s'},'status':{'phase':'" phase "'," TIMES more "}}"
#define NO_TIMES(phase, more) "{" META ",'spec':{'podName':'web','timeout':'60s'},'status':{'phase':'" phase "'" more "}}"
#define LATER(phase, more) "{" META ",'spec':{'podName':'web','timeout':'60s','strategy':'PostCopy'},'status':{'phase':'" phase "'," TIMES more "}}"
#define COMMIT ",'decision':'Commit'"
#define ABORT ",'decision':'Abort','abort':{'time':'2026-11-24T16:00:05Z'}"
#define STATE(s) ",'source':{'state':'" s "'}"
#define GIVEN_BACK ",'source':{'state':'Aborted','error':{'reason':'RestoreFailed','message':'nothing ran'}}"
#define END ",'completionTime':'2026-11-24T16:00:10Z'"
#define WEB "{'metadata':{'name':'web','uid':'s'},'status':{'phase':'Running'}}"
#define WEB_MARKED "{'metadata':{'name':'web','uid':'s','labels':{'podmigration.dev/migration-uid':'u1'}}}"
#define WEB_GOING "{'metadata':{'name':'web','uid':'s','deletionTimestamp':'x'}}"
#define DEST "{'metadata':{'name':'web-x','uid':'t'},'status':{'containerStatuses':[{'name':'a','restartCount':0}]}}"
#define DEST_AGAIN "{'metadata':{'name':'web-x','uid':'t'},'status':{'containerStatuses':[{'name':'a','restartCount':1}]}}"

/* As recorded with the commit; what the kubelet says of the container. */
#define RESTORED ",'destination':{'containers':[{'name':'a','id':'c1'}]}"
#define DEST_SAYS(text) "{'metadata':{'name':'web-x','uid':'t'},'status':{'containerStatuses':[{'name':'a','restartCount':1," text "}]}}"
#define RUNS(id) "'containerID':'containerd://" id "','state':{'running':{}}"
#define REFUSED "'terminated':{'exitCode':128,'reason':'StartError','containerID':'containerd://c2'}"
#define ENDED(id) "'terminated':{'exitCode':137,'reason':'Error','containerID':'containerd://" id "'}"
#define WAITS "'state':{'waiting':{'reason':'CrashLoopBackOff'}}"

#define BAD(name) (1u << INVARIANT_##name)

static const struct {
	const char *what, *migration, *source, *destination;
	int64_t at;                     /* seconds after 16:00:00 */
	struct store_past past;
	const char *mismatch;
	uint32_t bad;
} cases[] = {
	{ "nothing has happened yet", "{'metadata':{'name':'m','uid':'u1'},'spec':{'podName':'web'}}", NULL, NULL, 0, { 0 }, NULL, 0 },
	{ "frozen, in time", M("Freezing", STATE("Freezing")), WEB_MARKED, DEST, 3, { true, PHASE_Transferring, DECISION_NONE, 0 }, "", 0 },
	{ "committed, running, source goes", M("Committed", COMMIT STATE("Running")), WEB_GOING, DEST, 4, { true, PHASE_Freezing, DECISION_NONE, 0 }, "", 0 },
	{ "succeeded", M("Succeeded", COMMIT STATE("Running") END), NULL, NULL, 999, { true, PHASE_Committed, DECISION_COMMIT, 0 }, "", BAD(NothingLeft) },
	{ "committed and stuck, and a person was told", M("Committed", COMMIT STATE("Committed") ",'conditions':[{'type':'Stalled','status':'True'}]"), WEB, DEST, 999,
	  { 0 }, "", 0 },

	{ "thawed after the commit", M("Committed", COMMIT STATE("Aborted")), WEB, DEST, 4, { 0 }, "", BAD(OneRunningCopy) },
	{ "opened without a commit", M("Freezing", STATE("Running")), WEB, DEST, 4, { 0 }, "", BAD(OneRunningCopy) },
	{ "opened after the abort", M("Freezing", ABORT STATE("Running")), WEB, DEST, 6, { 0 }, "", BAD(OneRunningCopy) },
	{ "succeeded with the source there", M("Succeeded", COMMIT STATE("Running") END), WEB, NULL, 11, { 0 }, "", BAD(OneRunningCopy) },
	{ "the destination was started anew before it was told to run", M("Committed", COMMIT STATE("Committed")), WEB, DEST_AGAIN, 4, { 0 }, "", BAD(NoColdStart) },
	{ "PostCopy, its memory takes its time", LATER("Committed", COMMIT STATE("Completing")), WEB, DEST, 400, { 0 }, "", 0 },
	{ "PostCopy, lost with the link", LATER("Committed", COMMIT STATE("Completing")), WEB, DEST_AGAIN, 100, { 0 }, "", 0 },
	{ "the destination was started anew, the source is whole", M("Committed", COMMIT STATE("Running")), WEB, DEST_AGAIN, 4, { 0 }, "", BAD(NoColdStart) },
	{ "the destination crashed later: an application may", M("Committed", COMMIT STATE("Running")), WEB_GOING, DEST_AGAIN, 4, { 0 }, "", 0 },
	{ "made twice before it was restored, and that one runs", M("Committed", COMMIT STATE("Running") RESTORED), WEB, DEST_SAYS(RUNS("c1")), 4, { 0 }, "", 0 },
	{ "another one than the restored one runs", M("Committed", COMMIT STATE("Running") RESTORED), WEB, DEST_SAYS(RUNS("c2")), 4, { 0 }, "", BAD(NoColdStart) },
	{ "one whose name only begins so", M("Committed", COMMIT STATE("Running") RESTORED), WEB, DEST_SAYS(RUNS("c12")), 4, { 0 }, "", BAD(NoColdStart) },
	{ "of which nothing was recorded", M("Committed", COMMIT STATE("Running")), WEB, DEST_SAYS(RUNS("c1")), 4, { 0 }, "", BAD(NoColdStart) },
	{ "the restored one has ended, and none after it yet", M("Committed", COMMIT STATE("Running") RESTORED), WEB, DEST_SAYS("'state':{" ENDED("c1") "}"), 4, { 0 }, "", 0 },
	{ "its start was refused", M("Committed", COMMIT STATE("Committed") RESTORED), WEB, DEST_SAYS("'state':{" REFUSED "},'lastState':{" ENDED("c1") "}"), 4, { 0 }, "", 0 },
	{ "and is refused again and again", M("Committed", COMMIT STATE("Committed") RESTORED), WEB, DEST_SAYS(WAITS ",'lastState':{" REFUSED "}"), 4, { 0 }, "", 0 },
	{ "started from its image, and ended", M("Committed", COMMIT STATE("Committed") RESTORED), WEB, DEST_SAYS(WAITS ",'lastState':{" ENDED("c2") "}"), 4, { 0 }, "",
	  BAD(NoColdStart) },
	{ "started from its image, ended, and the next start failed", M("Committed", COMMIT STATE("Committed") RESTORED), WEB,
	  DEST_SAYS("'state':{" REFUSED "},'lastState':{" ENDED("c3") "}"), 4, { 0 }, "", BAD(NoColdStart) },
	{ "frozen, and nobody knows since when", NO_TIMES("Freezing", STATE("Freezing")), WEB, DEST, 4, { 0 }, "", BAD(FrozenHasDeadline) | BAD(PhaseHasDeadline) },
	{ "frozen beyond the timeout", M("Freezing", STATE("Restoring")), WEB, DEST, 121, { 0 }, "", BAD(FrozenHasDeadline) },
	{ "aborted, and it does not end", M("Freezing", ABORT STATE("Restoring")), WEB, DEST, 200, { 0 }, "", BAD(FrozenHasDeadline) },
	{ "committed, and nobody was told", M("Committed", COMMIT STATE("Committed")), WEB, DEST, 100, { 0 }, "", BAD(FrozenHasDeadline) },
	{ "committed long ago, and its receipt was read", "{" META ",'spec':{'podName':'web','timeout':'1m'},'status':{'phase':'Committed','destinationPod':{'name':'x','uid':'t',"
	  "'receiptTime':'2026-11-24T16:00:09Z'},'phaseTransitionTimestamps':[{'phase':'Preparing','time':'2026-11-24T16:00:00Z'},{'phase':'Committed','time':"
	  "'2026-11-24T16:00:01Z'}]" COMMIT STATE("Committed") "}}", WEB, DEST, 100, { 0 }, "", 0 },
	{ "a receipt, and no commit", "{" META ",'spec':{'podName':'web','timeout':'1m'},'status':{'phase':'Restoring','destinationPod':{'name':'x','uid':'t',"
	  "'receiptTime':'2026-11-24T16:00:09Z'},'phaseTransitionTimestamps':[{'phase':'Preparing','time':'2026-11-24T16:00:00Z'},{'phase':'Restoring','time':"
	  "'2026-11-24T16:00:01Z'}]" STATE("Restoring") "}}", WEB, DEST, 4, { 0 }, "", BAD(OneRunningCopy) },
	{ "pending for long", "{" META ",'spec':{'podName':'web'}}", NULL, NULL, 301, { 0 }, "", BAD(PhaseHasDeadline) },
	{ "a phase without a beginning", M("Restoring", STATE("Connecting")), WEB, DEST, 4, { 0 }, "", BAD(PhaseHasDeadline) },
	{ "a phase for long", M("Preparing", ""), WEB, DEST, 211, { 0 }, "", BAD(PhaseHasDeadline) },
	{ "aborted by controllers that were away for an hour", M("Preparing", ",'decision':'Abort','abort':{'time':'2026-11-24T17:00:00Z'}"), WEB, DEST, 3700, { 0 }, "", 0 },
	{ "aborted by an agent while they were away", M("Preparing", ",'decision':'Abort','source':{'updated':'2026-11-24T17:00:00Z'}"), WEB, DEST, 3700, { 0 }, "", 0 },
	{ "aborted late, and it does not end", M("Preparing", ",'decision':'Abort','abort':{'time':'2026-11-24T17:00:00Z'}"), WEB, DEST, 3751, { 0 }, "", BAD(PhaseHasDeadline) },
	{ "another pod than was to be", M("Preparing", ""), WEB, DEST, 4, { 0 }, "container mesh was added", BAD(DestinationMatches) },
	{ "the decision was taken back", M("Freezing", STATE("Ready")), WEB, DEST, 4, { true, PHASE_Freezing, DECISION_ABORT, 0 }, "", BAD(DecisionFinal) },
	{ "the decision was changed", M("Freezing", ABORT STATE("Ready")), WEB, DEST, 6, { true, PHASE_Freezing, DECISION_COMMIT, 0 }, "", BAD(DecisionFinal) },
	{ "a phase that lies behind", M("Freezing", STATE("Ready")), WEB, DEST, 4, { true, PHASE_Restoring, DECISION_NONE, 0 }, "", BAD(PhaseOrder) },
	{ "given back, and said why", M("Committed", COMMIT GIVEN_BACK), WEB, DEST, 4, { 0 }, "", 0 },
	{ "failed, given back", M("Failed", COMMIT GIVEN_BACK END), WEB, NULL, 11, { true, PHASE_Committed, DECISION_COMMIT, 0 }, "", 0 },
	{ "succeeded, given back", M("Succeeded", COMMIT GIVEN_BACK END), NULL, NULL, 11, { 0 }, "", BAD(EndTellsTruth) },
	{ "cancelled after the commit", M("Cancelled", ABORT STATE("Aborted") END), WEB, NULL, 11, { true, PHASE_Committed, DECISION_ABORT, 0 }, "", BAD(PhaseOrder) },
	{ "an older leader", M("Freezing", STATE("Freezing") ",'epoch':4"), WEB, DEST, 4, { true, PHASE_Freezing, DECISION_NONE, 5 }, "", BAD(EpochGrows) },
	{ "a newer leader", M("Freezing", STATE("Freezing") ",'epoch':6"), WEB, DEST, 4, { true, PHASE_Freezing, DECISION_NONE, 5 }, "", 0 },
	{ "succeeded without a commit", M("Succeeded", STATE("Ready") END), NULL, NULL, 11, { 0 }, "", BAD(EndTellsTruth) },
	{ "succeeded with an error", M("Succeeded", COMMIT ",'source':{'state':'Running','error':{'reason':'RestoreFailed'}}" END), NULL, NULL, 11, { 0 }, "",
	  BAD(EndTellsTruth) },
	{ "a dry run", "{" META ",'spec':{'podName':'web','dryRun':true},'status':{'phase':'Succeeded'" ABORT STATE("Aborted") END "}}", WEB, NULL, 11, { 0 }, "", 0 },
	{ "a dry run that has asked the destination", "{" META ",'spec':{'podName':'web','dryRun':true,'dryRunScope':'Destination'},'status':{'phase':'Succeeded','destinationPod':{'name':'x',"
	  "'uid':'t'}" ABORT STATE("Aborted") END "}}", WEB, NULL, 11, { 0 }, "", 0 },
	{ "a dry run that leaves its destination pod", "{" META ",'spec':{'podName':'web','dryRun':true,'dryRunScope':'Destination'},'status':{'phase':'Succeeded','destinationPod':{'name':'x',"
	  "'uid':'t'}" ABORT STATE("Aborted") END "}}", WEB, DEST, 131, { 0 }, "", BAD(NothingLeft) },
	{ "a dry run of a pod in another cluster that leaves its label", "{" META ",'spec':{'podName':'web','dryRun':true,'dryRunScope':'Destination'},'status':{'phase':'Succeeded','destinationPod':{'name':'x',"
	  "'uid':'t'}" ABORT STATE("Aborted") END "}}", WEB_MARKED, NULL, 131, { 0 }, "", BAD(NothingLeft) },
	{ "a dry run with a destination pod", "{" META ",'spec':{'podName':'web','dryRun':true},'status':{'phase':'Succeeded','destinationPod':{'name':'x','uid':'t'}"
	  ABORT STATE("Aborted") END "}}", WEB, DEST, 11, { 0 }, "", BAD(EndTellsTruth) },
	{ "cancelled, and committed", M("Cancelled", COMMIT STATE("Committed") END), NULL, NULL, 11, { 0 }, "", BAD(EndTellsTruth) },
	{ "ended just now, our label was there a moment ago", M("Failed", ABORT STATE("Aborted") END), WEB_MARKED, NULL, 11, { 0 }, "", 0 },
	{ "ended long ago, our label stays", M("Failed", ABORT STATE("Aborted") END), WEB_MARKED, NULL, 131, { 0 }, "", BAD(NothingLeft) },
	{ "ended, the destination pod still goes", M("Failed", ABORT STATE("Aborted") END), WEB, DEST, 60, { 0 }, "", 0 },
	{ "ended long ago, the destination pod stays", M("Failed", ABORT STATE("Aborted") END), WEB, DEST, 131, { 0 }, "", BAD(NothingLeft) },
	{ "ended long ago, nobody has told of a thaw", M("Failed", ABORT STATE("Restoring") END), WEB, NULL, 131, { 0 }, "", BAD(NothingLeft) },
};

static void test_each(void **state)
{
	uint32_t provoked = 0;

	(void)state;
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		cJSON *m = quoted(cases[k].migration), *s = quoted(cases[k].source), *d = quoted(cases[k].destination);
		struct observed o = { .migration = m, .source = s, .destination = d, .now_us = time_parse_us("2026-11-24T16:00:00Z") + cases[k].at * SECONDS };
		struct inspected i = { .o = &o, .past = &cases[k].past, .mismatch = cases[k].mismatch };
		char texts[INVARIANT_COUNT][VIOLATION_SIZE];
		uint32_t bad = invariants_check(&i, texts);

		for (int n = 0; n < INVARIANT_COUNT; n++)
			if ((bad ^ cases[k].bad) & 1u << n)
				fail_msg("%s: %s %s: %s", cases[k].what, invariant_name((enum invariant)n), bad & 1u << n ? "violated" : "holds", texts[n]);
			else if (bad & 1u << n)
				assert_true(texts[n][0] != '\0');
		provoked |= bad;
		cJSON_Delete(m);
		cJSON_Delete(s);
		cJSON_Delete(d);
	}
	/* A new invariant needs a case that provokes it. */
	assert_int_equal(provoked, (1u << INVARIANT_COUNT) - 1);
}

/* --- the destination pod against what was to be built --- */

#define POD(spec) "{'spec':{'nodeName':'n2'," spec "}}"
#define A "{'name':'a','image':'i@sha256:1','volumeMounts':[{'name':'data'}]}"
#define KEY "{'name':'key','secret':{}}"

static const struct {
	const char *what, *made, *why;  /* why: part of it; NULL: it matches */
} pods[] = {
	{ "the same", POD("'containers':[" A "],'volumes':[" KEY "]"), NULL },
	{ "admission adds a volume and defaults", POD("'containers':[{'name':'a','image':'i@sha256:1','imagePullPolicy':'Always','securityContext':{},"
	  "'volumeMounts':[{'name':'data'},{'name':'token'}]}],'initContainers':[],'securityContext':{},'volumes':[" KEY ",{'name':'token'}]"), NULL },
	{ "a container more", POD("'containers':[" A ",{'name':'mesh','image':'m'}],'volumes':[" KEY "]"), "container mesh was added" },
	{ "a container before it", POD("'containers':[{'name':'mesh','image':'m'}," A "],'volumes':[" KEY "]"), "container mesh was added" },
	{ "an init container", POD("'containers':[" A "],'initContainers':[{'name':'setup'}],'volumes':[" KEY "]"), "container setup was added" },
	{ "no container", POD("'containers':[],'volumes':[" KEY "]"), "container a is missing" },
	{ "another image", POD("'containers':[{'name':'a','image':'i:latest'}],'volumes':[" KEY "]"), "container a has another image" },
	{ "another command", POD("'containers':[{'name':'a','image':'i@sha256:1','command':['x']}],'volumes':[" KEY "]"), "container a has another command" },
	{ "privileged", POD("'containers':[{'name':'a','image':'i@sha256:1','securityContext':{'privileged':true}}],'volumes':[" KEY "]"), "another securityContext" },
	{ "no key", POD("'containers':[" A "]"), "volume key is missing" },
	{ "Liqo steers it", POD("'runtimeClassName':'liqo','containers':[" A "],'volumes':[" KEY "]"), NULL },
	{ "another node", "{'spec':{'nodeName':'n3','containers':[" A "],'volumes':[" KEY "]}}", "the pod has another nodeName" },
};

static void test_match(void **state)
{
	cJSON *built = quoted(POD("'containers':[" A "],'volumes':[" KEY "]"));

	(void)state;
	for (size_t i = 0; i < sizeof(pods) / sizeof(pods[0]); i++) {
		cJSON *made = quoted(pods[i].made);
		char why[192] = "";
		bool matches = destination_pod_matches(built, made, why, sizeof(why));

		if (matches != !pods[i].why || (pods[i].why && !strstr(why, pods[i].why)))
			fail_msg("%s: %s", pods[i].what, matches ? "matches" : why);
		cJSON_Delete(made);
	}
	cJSON_Delete(built);
}

static void test_reach(void **state)
{
	(void)state;
	assert_true(phase_may_reach(PHASE_Pending, PHASE_Succeeded));
	assert_true(phase_may_reach(PHASE_Preparing, PHASE_Restoring));
	assert_true(phase_may_reach(PHASE_Freezing, PHASE_Freezing));
	assert_true(phase_may_reach(PHASE_Committed, PHASE_Failed));
	assert_false(phase_may_reach(PHASE_Committed, PHASE_Cancelled));
	assert_false(phase_may_reach(PHASE_Restoring, PHASE_Freezing));
	assert_false(phase_may_reach(PHASE_Failed, PHASE_Cancelled));
	assert_false(phase_may_reach(PHASE_Succeeded, PHASE_Pending));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_each), cmocka_unit_test(test_match), cmocka_unit_test(test_reach) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
