/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "controller/decide.h"
#include "controller/status.h"
#include "controller/view.h"
#include "migration/machine.h"
#include "migration/reason.h"

#define T0 1795536000000000ll   /* some moment of 2026 */
#define SECONDS 1000000ll

static cJSON *parse(const char *text)
{
	struct error err = { 0 };
	cJSON *o = NULL;

	if (json_parse(text, strlen(text), 1 << 20, &o, &err) < 0)
		fail_msg("%s in %s", err.message, text);
	return o;
}

/* --- a table: what is seen, what must be decided --- */

#define META "'metadata':{'name':'m','namespace':'d','uid':'u1','finalizers':['podmigration.dev/migration']}"
#define META_DELETED "'metadata':{'name':'m','namespace':'d','uid':'u1','deletionTimestamp':'2026-01-01T00:00:00Z','finalizers':['podmigration.dev/migration']}"
#define SPEC "'spec':{'podName':'web','timeout':'10m'}"
#define PODS "'sourcePod':{'name':'web','uid':'s','node':'n1'},'destinationPod':{'name':'web-x','uid':'t','node':'n2','podIP':'10.0.0.1'}"
#define REMOTE_PODS "'sourcePod':{'name':'web','uid':'s','node':'b','cluster':'b'},'destinationPod':{'name':'web-x','uid':'t','node':'n2'}"
/* Preparing began at T0, Transferring a second later. */
#define TIMES "'phaseTransitionTimestamps':[{'phase':'Preparing','time':'2026-11-24T16:00:00.000000Z'}," \
	"{'phase':'Transferring','time':'2026-11-24T16:00:01.000000Z'},{'phase':'Freezing','time':'2026-11-24T16:00:02Z'},{'phase':'Committed','time':'2026-11-24T16:00:02Z'}]"
#define STATUS(phase, more) "'status':{'phase':'" phase "'," PODS "," TIMES more "}"
#define GIVEN_BACK "'source':{'state':'Aborted','error':{'reason':'RestoreFailed','message':'nothing ran'}}"
#define DRY "'spec':{'podName':'web','timeout':'10m','dryRun':true}"
#define STATUS_DRY(more) "'status':{'phase':'Preparing','sourcePod':{'name':'web','uid':'s','node':'n1'}," TIMES more "}"
/* A dry run that asks the destination, too: its pod is made at 16:00:02. */
#define ASKS "'spec':{'podName':'web','timeout':'10m','dryRun':true,'dryRunScope':'Destination'}"
#define STATUS_ASKS(pod, more) "'status':{'phase':'Preparing','sourcePod':{'name':'web','uid':'s','node':'n1'},'destinationPod':{'name':'web-x','node':'n2'" pod "}," TIMES more "}"
#define STATUS_AWAY(pod, more) "'status':{'phase':'Preparing','sourcePod':{'name':'web','uid':'s','node':'b','cluster':'b'},'destinationPod':{'name':'web-x','node':'n2'" pod "}," TIMES more "}"
#define MADE ",'uid':'t'"
#define ADDRESS ",'uid':'t','podIP':'10.0.0.1'"
#define WELCOMED ",'decision':'Abort','source':{'state':'Aborted','error':{'reason':'DryRun','message':'nothing in the way'}}"
#define UP_SINCE(t) "{'metadata':{'name':'web-x','uid':'t','creationTimestamp':'2026-11-24T16:00:02Z'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Running'," \
	"'podIP':'10.0.0.1','containerStatuses':[{'name':'a','state':{'running':{'startedAt':'" t "'}}}]}}"
#define WEB "{'metadata':{'name':'web','namespace':'d','uid':'s'},'status':{'phase':'Running'}}"
#define WEB_GOING "{'metadata':{'name':'web','namespace':'d','uid':'s','deletionTimestamp':'x'},'status':{'phase':'Running'}}"
#define ORDERED(a) "{'metadata':{'name':'web','uid':'s','annotations':{'podmigration.dev/ordered':'u1 " a "'}},'status':{'phase':'Running'}}"
#define TOLD "{'metadata':{'name':'web-x','uid':'t','annotations':{'podmigration.dev/ordered':'u1 commit'}},'spec':{'containers':[{'name':'a'}]},'status':{" \
	"'phase':'Running','podIP':'10.0.0.1','containerStatuses':[{'name':'a','state':{'running':{}}}]}}"
/* The source's agent has told it lost; the receipt knows better. */
#define RECEIPT "'status':{'phase':'Committed','sourcePod':{'name':'web','uid':'s','node':'n1'},'destinationPod':{'name':'web-x','uid':'t','node':'n2'," \
	"'receiptTime':'2026-11-24T16:00:09Z'}," TIMES ",'decision':'Commit','source':{'state':'Committed','error':{'reason':'DestinationLost','message':'x'}}}"
#define NEW "{'metadata':{'name':'web-x','uid':'t'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Pending'}}"
#define UP "{'metadata':{'name':'web-x','uid':'t'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Running','podIP':'10.0.0.1'," \
	"'containerStatuses':[{'name':'a','state':{'running':{}}}]}}"
#define UP_AGAIN "{'metadata':{'name':'web-x','uid':'t'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Running','podIP':'10.0.0.1'," \
	"'containerStatuses':[{'name':'a','restartCount':1,'state':{'running':{}}}]}}"
#define MADE_TWICE "{'metadata':{'name':'web-x','uid':'t'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Running','podIP':'10.0.0.1'," \
	"'containerStatuses':[{'name':'a','restartCount':1,'containerID':'containerd://c1','state':{'running':{}}}]}}"
#define RESTORED(id) ",'decision':'Commit','source':{'state':'Running'},'destination':{'containers':[{'name':'a','id':'" id "'}]}"
#define READY(s) ",'conditions':[{'type':'Ready','status':'" s "'}]"
/* By its own agent, whatever its containers are. */
#define TAKEN_OUT(containers) ",'conditions':[{'type':'Ready','status':'False','reason':'Migrating'},{'type':'ContainersReady','status':'" containers "'}]"
#define OWNED(more) "{'metadata':{'name':'web','namespace':'d','uid':'s'},'status':{'phase':'Running'" more "}}"
#define HELD(more) "{'metadata':{'name':'web-x','uid':'t','annotations':{'podmigration.dev/withheld':'{}'}},'spec':{'containers':[{'name':'a'}]},'status':{" \
	"'phase':'Running','podIP':'10.0.0.1','containerStatuses':[{'name':'a','state':{'running':{}}}]" more "}}"
#define SERVED(label, more) "{'metadata':{'name':'web-x','uid':'t','labels':{'podmigration.dev/migration-uid':'u1'" label "}},'spec':{'containers':[{'name':'a'}]},'status':{" \
	"'phase':'Running','podIP':'10.0.0.1','containerStatuses':[{'name':'a','state':{'running':{}}}]" more "}}"
#define DIED "{'metadata':{'name':'web-x','uid':'t'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Running','podIP':'10.0.0.1'," \
	"'containerStatuses':[{'name':'a','state':{'terminated':{'exitCode':125}}}]}}"
#define NO_IMAGE "{'metadata':{'name':'web-x','uid':'t'},'spec':{'containers':[{'name':'a'}]},'status':{'phase':'Pending'," \
	"'containerStatuses':[{'name':'a','state':{'waiting':{'reason':'ErrImagePull','message':'404'}}}]}}"
#define GOING "{'metadata':{'name':'web-x','uid':'t','deletionTimestamp':'x'},'status':{'phase':'Running'}}"

static const struct {
	const char *what, *migration, *source, *destination;
	int64_t at;                     /* seconds after T0 */
	enum action action;
	enum phase phase;               /* of ACT_RECORD and ACT_END */
	int reason;
} cases[] = {
	{ "new", "{'metadata':{'name':'m','uid':'u1'}," SPEC "}", NULL, NULL, 0, ACT_ADD_FINALIZER, 0, 0 },
	{ "deleted before it began", "{'metadata':{'name':'m','uid':'u1','deletionTimestamp':'x'}," SPEC "}", NULL, NULL, 0, ACT_WAIT, 0, 0 },
	{ "pending", "{" META "," SPEC "}", NULL, NULL, 0, ACT_PREFLIGHT, 0, 0 },
	{ "pending, deleted", "{" META_DELETED "," SPEC "}", NULL, NULL, 0, ACT_END, PHASE_Cancelled, REASON_Cancelled },
	{ "pending, cancelled", "{" META ",'spec':{'cancel':true}}", NULL, NULL, 0, ACT_END, PHASE_Cancelled, REASON_Cancelled },
	{ "preparing, no pod yet", "{" META "," SPEC ",'status':{'phase':'Preparing','sourcePod':{'name':'web','uid':'s','node':'n1'},'destinationPod':{'name':'web-x'}}}",
	  WEB, NULL, 0, ACT_PREPARE, 0, 0 },
	{ "preparing, pod starts", "{" META "," SPEC "," STATUS("Preparing", "") "}", WEB, NEW, 1, ACT_WAIT, 0, 0 },
	{ "preparing, pod takes long", "{" META "," SPEC "," STATUS("Preparing", "") "}", WEB, NEW, 4, ACT_LOOK, 0, 0 },
	{ "preparing, pod runs", "{" META "," SPEC "," STATUS("Preparing", "") "}", WEB, UP, 1, ACT_RECORD, PHASE_Transferring, 0 },
	{ "preparing, no image", "{" META "," SPEC "," STATUS("Preparing", "") "}", WEB, NO_IMAGE, 1, ACT_ABORT, 0, REASON_ImageMissing },
	{ "preparing, no agent", "{" META "," SPEC "," STATUS("Preparing", "") "}", WEB, NEW, 31, ACT_ABORT, 0, REASON_AgentUnavailable },
	{ "preparing, timeout", "{" META "," SPEC "," STATUS("Preparing", ",'source':{'state':'Ready'}") "}", WEB, NEW, 601, ACT_ABORT, 0, REASON_TimedOut },
	{ "frozen for longer than it may", "{" META ",'spec':{'podName':'web','timeout':'10m','freezeTimeout':'5s'}," STATUS("Restoring", ",'source':{'state':'Restoring'}") "}",
	  WEB, UP, 9, ACT_ABORT, 0, REASON_TimedOut },
	{ "not frozen yet", "{" META ",'spec':{'podName':'web','timeout':'10m','freezeTimeout':'5s'}," STATUS("Transferring", ",'source':{'state':'Connecting'}") "}",
	  WEB, UP, 9, ACT_WAIT, 0, 0 },
	{ "dry run, the agent looks", "{" META "," DRY "," STATUS_DRY("") "}", WEB, NULL, 1, ACT_WAIT, 0, 0 },
	{ "dry run, the agent is silent", "{" META "," DRY "," STATUS_DRY("") "}", WEB, NULL, 31, ACT_ABORT, 0, REASON_AgentUnavailable },
	{ "dry run, the agent found nothing", "{" META "," DRY "," STATUS_DRY(",'source':{'state':'Ready'}") "}", WEB, NULL, 1, ACT_ABORT, 0, REASON_DryRun },
	{ "dry run, the agent found io_uring", "{" META "," DRY "," STATUS_DRY(",'source':{'state':'Aborted','error':{'reason':'IOUringInUse','message':'x'}}") "}", WEB,
	  NULL, 1, ACT_ABORT, 0, REASON_IOUringInUse },
	{ "dry run, the agent's word is waited for", "{" META "," DRY "," STATUS_DRY(",'decision':'Abort','abort':{'reason':'DryRun','time':'2026-11-24T16:00:01Z'},"
	  "'source':{'state':'Ready'}") "}", WEB, NULL, 2, ACT_WAIT, 0, REASON_NONE },
	{ "dry run, well", "{" META "," DRY "," STATUS_DRY(",'decision':'Abort','abort':{'reason':'DryRun','time':'2026-11-24T16:00:01Z'},"
	  "'source':{'state':'Aborted','error':{'reason':'Cancelled','message':'told so'}}") "}", WEB, NULL, 2, ACT_END, PHASE_Succeeded, REASON_NONE },
	{ "dry run, not well", "{" META "," DRY "," STATUS_DRY(",'decision':'Abort','abort':{'reason':'IOUringInUse','time':'2026-11-24T16:00:01Z'},"
	  "'source':{'state':'Aborted','error':{'reason':'IOUringInUse','message':'x'}}") "}", WEB, NULL, 2, ACT_END, PHASE_Failed, REASON_IOUringInUse },
	{ "dry run, the checks found something, the agent nothing", "{" META "," DRY "," STATUS_DRY(",'conditions':[{'type':'Migratable','status':'False','reason':'OwnedPod'}],'source':{'state':'Ready'}") "}", WEB,
	  NULL, 1, ACT_ABORT, 0, REASON_DryRun },
	{ "dry run, the checks found something", "{" META "," DRY "," STATUS_DRY(",'conditions':[{'type':'Migratable','status':'False','reason':'OwnedPod'}],'decision':'Abort',"
	  "'abort':{'reason':'DryRun','time':'2026-11-24T16:00:01Z'},'source':{'state':'Aborted','error':{'reason':'Cancelled','message':'told so'}}") "}", WEB,
	  NULL, 2, ACT_END, PHASE_Failed, REASON_DryRun },
	{ "dry run, cancelled", "{" META ",'spec':{'podName':'web','dryRun':true,'cancel':true}," STATUS_DRY("") "}", WEB, NULL, 2, ACT_ABORT, 0, REASON_Cancelled },
	{ "dry run, both nodes: the source's agent looks first", "{" META "," ASKS "," STATUS_ASKS("", "") "}", WEB, NULL, 1, ACT_WAIT, 0, 0 },
	{ "dry run, both nodes: the source's agent found io_uring", "{" META "," ASKS "," STATUS_ASKS("", ",'source':{'state':'Aborted','error':{'reason':'IOUringInUse','message':'x'}}") "}",
	  WEB, NULL, 1, ACT_ABORT, 0, REASON_IOUringInUse },
	{ "dry run, both nodes: it has looked", "{" META "," ASKS "," STATUS_ASKS("", ",'source':{'state':'Ready'}") "}", WEB, NULL, 1, ACT_PREPARE, 0, 0 },
	{ "dry run, both nodes: the checks found something, the destination is not asked", "{" META "," ASKS "," STATUS_DRY(",'conditions':[{'type':'Migratable','status':'False',"
	  "'reason':'OwnedPod'}],'source':{'state':'Ready'}") "}", WEB, NULL, 1, ACT_ABORT, 0, REASON_DryRun },
	{ "dry run, both nodes: the pod starts", "{" META "," ASKS "," STATUS_ASKS(MADE, ",'source':{'state':'Ready'}") "}", WEB, NEW, 2, ACT_WAIT, 0, 0 },
	{ "dry run, both nodes: no image", "{" META "," ASKS "," STATUS_ASKS(MADE, ",'source':{'state':'Ready'}") "}", WEB, NO_IMAGE, 2, ACT_ABORT, 0, REASON_ImageMissing },
	{ "dry run, both nodes: the pod runs", "{" META "," ASKS "," STATUS_ASKS(MADE, ",'source':{'state':'Ready'}") "}", WEB, UP, 3, ACT_RECORD, PHASE_Preparing, 0 },
	{ "dry run, both nodes: the agents compare them", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, ",'source':{'state':'Connecting'}") "}", WEB, UP, 400, ACT_WAIT, 0, 0 },
	{ "dry run, both nodes: the images came late, and the agent has just heard", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, ",'source':{'state':'Ready'}") "}", WEB,
	  UP_SINCE("2026-11-24T16:05:00Z"), 301, ACT_RECORD, PHASE_Preparing, 0 },
	{ "dry run, both nodes: an agent of an older version", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, ",'source':{'state':'Ready'}") "}", WEB, UP_SINCE("2026-11-24T16:00:03Z"), 34,
	  ACT_ABORT, 0, REASON_AgentUnavailable },
	{ "dry run, both nodes: refused by the destination", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, ",'decision':'Abort','source':{'state':'Aborted','error':{'reason':'CPUIncompatible',"
	  "'message':'x'}}") "}", WEB, NULL, 4, ACT_END, PHASE_Failed, REASON_CPUIncompatible },
	{ "dry run, both nodes: the destination pod is seen to end before the agent is heard", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, ",'source':{'state':'Connecting',"
	  "'updated':'2026-11-24T16:00:02Z'}") "}", WEB, DIED, 3, ACT_WAIT, 0, 0 },
	{ "dry run, both nodes: welcomed, the destination pod goes", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, WELCOMED) "}", WEB, UP, 4, ACT_DELETE_DESTINATION, 0, 0 },
	{ "dry run, both nodes: welcomed, the destination pod still goes", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, WELCOMED ",'abort':{'reason':'DestinationPodFailed','time':"
	  "'2026-11-24T16:00:04Z'}") "}", WEB, GOING, 5, ACT_WAIT, 0, 0 },
	{ "dry run, both nodes: well", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, WELCOMED) "}", WEB, NULL, 4, ACT_END, PHASE_Succeeded, 0 },
	{ "dry run, both nodes: well, although its pod was seen to end", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, WELCOMED ",'abort':{'reason':'DestinationPodFailed','time':"
	  "'2026-11-24T16:00:04Z'}") "}", WEB, NULL, 5, ACT_END, PHASE_Succeeded, 0 },
	{ "dry run, both nodes: cancelled as it was welcomed", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, WELCOMED ",'abort':{'reason':'Cancelled','time':'2026-11-24T16:00:04Z'}") "}", WEB,
	  NULL, 5, ACT_END, PHASE_Cancelled, REASON_Cancelled },
	{ "dry run, both nodes: its pod does not go", "{" META "," ASKS "," STATUS_ASKS(ADDRESS, WELCOMED ",'abort':{'reason':'DryRun','time':'2026-11-24T16:00:04Z'}") "}", WEB, GOING, 70,
	  ACT_END, PHASE_Failed, REASON_DestinationPodFailed },
	{ "dry run, remote: the destination pod comes first", "{" META "," ASKS "," STATUS_AWAY("", "") "}", WEB, NULL, 1, ACT_PREPARE, 0, 0 },
	{ "dry run, remote: its address is recorded", "{" META "," ASKS "," STATUS_AWAY(MADE, "") "}", WEB, UP, 3, ACT_RECORD, PHASE_Preparing, 0 },
	{ "dry run, remote: the order to look", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, "") "}", WEB, UP, 3, ACT_ORDER, 0, REASON_DryRun },
	{ "dry run, remote: an order to migrate is another's", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, "") "}", ORDERED("migrate"), UP, 3, ACT_ORDER, 0, REASON_DryRun },
	{ "dry run, remote: ordered", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, "") "}", ORDERED("ask 2026-11-24T16:00:03Z"), UP, 4, ACT_RECORD, PHASE_Preparing, 0 },
	{ "dry run, remote: nothing is heard, and it is ordered again", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, "") "}", ORDERED("ask 2026-11-24T16:00:03Z"), UP, 9, ACT_ORDER, 0, REASON_DryRun },
	{ "dry run, remote: heard", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, ",'source':{'state':'Connecting'}") "}", ORDERED("ask 2026-11-24T16:00:03Z"), UP, 30, ACT_RECORD, PHASE_Preparing, 0 },
	{ "dry run, remote: an agent of an older version", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, "") "}", ORDERED("ask 2026-11-24T16:00:03Z"), UP, 130, ACT_ABORT, 0, REASON_AgentUnavailable },
	{ "dry run, remote: welcomed, the order is taken back", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, WELCOMED) "}", ORDERED("ask 2026-11-24T16:00:03Z"), UP, 4, ACT_ORDER_ABORT, 0, 0 },
	{ "dry run, remote: and then the destination pod goes", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, WELCOMED) "}", WEB, UP, 4, ACT_DELETE_DESTINATION, 0, 0 },
	{ "dry run, remote: well", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, WELCOMED) "}", WEB, NULL, 4, ACT_END, PHASE_Succeeded, 0 },
	{ "dry run, remote: what was found there", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, ",'decision':'Abort','source':{'state':'Aborted','error':{'reason':'IOUringInUse','message':'x'}}") "}", WEB,
	  NULL, 4, ACT_END, PHASE_Failed, REASON_IOUringInUse },
	{ "dry run, remote: cancelled while it was asked, no word is owed", "{" META "," ASKS "," STATUS_AWAY(ADDRESS, ",'decision':'Abort','abort':{'reason':'Cancelled','time':'2026-11-24T16:00:04Z'},"
	  "'source':{'state':'Connecting'}") "}", WEB, NULL, 5, ACT_END, PHASE_Cancelled, REASON_Cancelled },
	{ "dry run, both nodes: ended, an old leader makes a destination pod", "{'metadata':{'name':'m','uid':'u1'}," ASKS ",'status':{'phase':'Succeeded','decision':'Abort'}}", WEB, NEW, 99,
	  ACT_DELETE_DESTINATION, 0, REASON_DryRun },
	{ "preparing, source gone", "{" META "," SPEC "," STATUS("Preparing", "") "}", NULL, NEW, 1, ACT_ABORT, 0, REASON_SourceLost },
	{ "preparing, source terminating", "{" META "," SPEC "," STATUS("Preparing", "") "}", WEB_GOING, NEW, 1, ACT_ABORT, 0, REASON_PodTerminating },
	{ "preparing, agent found io_uring", "{" META "," SPEC "," STATUS("Preparing", ",'source':{'state':'Aborted','error':{'reason':'IOUringInUse','message':'x'}}") "}",
	  WEB, NEW, 1, ACT_ABORT, 0, REASON_IOUringInUse },
	{ "transferring, quiet", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Ready'}") "}", WEB, UP, 2, ACT_WAIT, 0, 0 },
	{ "transferring, agent stuck", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Ready'}") "}", WEB, UP, 32, ACT_ABORT, 0,
	  REASON_AgentUnavailable },
	{ "transferring, agent connects", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Connecting'}") "}", WEB, UP, 32, ACT_WAIT, 0, 0 },
	{ "transferring, remote source", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}", WEB, UP, 2, ACT_ORDER, 0, 0 },
	{ "transferring, remote source ordered", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}", ORDERED("migrate"), UP, 2,
	  ACT_WAIT, 0, 0 },
	{ "transferring, the order may have been missed", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}",
	  ORDERED("migrate 2026-11-24T16:00:01.5Z"), UP, 7, ACT_ORDER, 0, 0 },
	{ "transferring, the order was written once more", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}",
	  ORDERED("migrate 2026-11-24T16:00:06.5Z"), UP, 7, ACT_WAIT, 0, 0 },
	{ "frozen, the order was heard", "{" META "," SPEC ",'status':{'phase':'Freezing','source':{'state':'Freezing'}," REMOTE_PODS "," TIMES "}}",
	  ORDERED("migrate 2026-11-24T16:00:01.5Z"), UP, 7, ACT_WAIT, 0, 0 },
	{ "aborted: the order to give up may have been missed", "{" META "," SPEC ",'status':{'phase':'Transferring','decision':'Abort'," REMOTE_PODS "}}",
	  ORDERED("abort 2026-11-24T16:00:01.5Z"), UP, 7, ACT_ORDER_ABORT, 0, 0 },
	{ "transferring, an order of another kind", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}", ORDERED("migrated"), UP, 2,
	  ACT_ORDER, 0, 0 },
	{ "transferring, the kubelet has missed the order", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}", ORDERED("migrate"), UP, 110,
	  ACT_WAIT, 0, 0 },
	{ "transferring, remote source silent", "{" META "," SPEC ",'status':{'phase':'Transferring'," REMOTE_PODS "," TIMES "}}", ORDERED("migrate"), UP, 123,
	  ACT_ABORT, 0, REASON_AgentUnavailable },
	{ "frozen", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Freezing'}") "}", WEB, UP, 2, ACT_RECORD, PHASE_Freezing, 0 },
	{ "freezing was not seen", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Restoring'}") "}", WEB, UP, 2, ACT_RECORD, PHASE_Restoring, 0 },
	{ "destination died, agent will tell", "{" META "," SPEC "," STATUS("Restoring", ",'source':{'state':'Restoring','updated':'2026-11-24T16:00:02Z'}") "}",
	  WEB, DIED, 3, ACT_WAIT, 0, 0 },
	{ "destination died, agent silent", "{" META "," SPEC "," STATUS("Restoring", ",'source':{'state':'Restoring','updated':'2026-11-24T16:00:02Z'}") "}",
	  WEB, DIED, 9, ACT_ABORT, 0, REASON_DestinationPodFailed },
	{ "destination died, by a clock that is two minutes ahead", "{" META "," SPEC "," STATUS("Restoring", ",'source':{'state':'Restoring','updated':'2026-11-24T16:02:02Z'}") "}",
	  WEB, DIED, 9, ACT_ABORT, 0, REASON_DestinationPodFailed },
	{ "destination died, by a clock that is a second ahead", "{" META "," SPEC "," STATUS("Restoring", ",'source':{'state':'Restoring','updated':'2026-11-24T16:00:04Z'}") "}",
	  WEB, DIED, 3, ACT_WAIT, 0, 0 },
	{ "destination died before the freeze, agent will tell", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Connecting','updated':'2026-11-24T16:00:02Z'}") "}",
	  WEB, DIED, 3, ACT_WAIT, 0, 0 },
	{ "destination died before the freeze, agent silent", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Connecting','updated':'2026-11-24T16:00:02Z'}") "}",
	  WEB, DIED, 9, ACT_ABORT, 0, REASON_DestinationPodFailed },
	{ "destination died before anybody connected", "{" META "," SPEC "," STATUS("Transferring", ",'source':{'state':'Ready','updated':'2026-11-24T16:00:02Z'}") "}",
	  WEB, DIED, 3, ACT_ABORT, 0, REASON_DestinationPodFailed },
	{ "aborted for a destination that died, and the source's agent was restarted", "{" META "," SPEC "," STATUS("Transferring", ",'decision':'Abort','abort':{'reason':'DestinationPodFailed','message':'exit code 125',"
	  "'time':'2026-11-24T16:00:05Z'},'source':{'state':'Aborted','error':{'reason':'AgentRestarted','message':'x'}}") "}", WEB, NULL, 9, ACT_END, PHASE_Failed, REASON_AgentRestarted },
	{ "destination gone", "{" META "," SPEC "," STATUS("Restoring", "") "}", WEB, NULL, 3, ACT_ABORT, 0, REASON_DestinationLost },
	{ "cancelled while frozen", "{" META ",'spec':{'cancel':true}," STATUS("Freezing", ",'source':{'state':'Freezing'}") "}", WEB, UP, 3, ACT_ABORT, 0, REASON_Cancelled },
	{ "deleted while frozen", "{" META_DELETED "," SPEC "," STATUS("Freezing", ",'source':{'state':'Freezing'}") "}", WEB, UP, 3, ACT_ABORT, 0, REASON_Cancelled },
	{ "aborted: destination first", "{" META "," SPEC "," STATUS("Freezing", ",'decision':'Abort','source':{'state':'Freezing'}") "}", WEB, UP, 3,
	  ACT_DELETE_DESTINATION, 0, 0 },
	{ "aborted: remote source is told first", "{" META "," SPEC ",'status':{'phase':'Transferring','decision':'Abort'," REMOTE_PODS "}}", ORDERED("migrate"), UP, 3,
	  ACT_ORDER_ABORT, 0, 0 },
	{ "aborted: remote source was told", "{" META "," SPEC ",'status':{'phase':'Transferring','decision':'Abort'," REMOTE_PODS "}}", ORDERED("abort"), UP, 3,
	  ACT_DELETE_DESTINATION, 0, 0 },
	{ "aborted: thaw awaited", "{" META "," SPEC "," STATUS("Freezing", ",'decision':'Abort','abort':{'reason':'Cancelled','time':'2026-11-24T16:00:03Z'},"
	  "'source':{'state':'Freezing'}") "}", WEB, NULL, 4, ACT_WAIT, 0, 0 },
	{ "aborted: thaw not reported", "{" META "," SPEC "," STATUS("Freezing", ",'decision':'Abort','abort':{'reason':'TimedOut','time':'2026-11-24T16:00:03Z'},"
	  "'source':{'state':'Freezing'}") "}", WEB, NULL, 40, ACT_END, PHASE_Failed, REASON_TimedOut },
	{ "aborted: pod still goes", "{" META "," SPEC "," STATUS("Freezing", ",'decision':'Abort','abort':{'reason':'Cancelled','time':'2026-11-24T16:00:03Z'},"
	  "'source':{'state':'Aborted'}") "}", WEB, GOING, 4, ACT_WAIT, 0, 0 },
	{ "aborted: all is well", "{" META "," SPEC "," STATUS("Freezing", ",'decision':'Abort','abort':{'reason':'Cancelled','time':'2026-11-24T16:00:03Z'},"
	  "'source':{'state':'Aborted'}") "}", WEB, NULL, 4, ACT_END, PHASE_Cancelled, REASON_Cancelled },
	{ "aborted: the agent knows better", "{" META "," SPEC "," STATUS("Restoring", ",'decision':'Abort','abort':{'reason':'DestinationPodFailed','message':'exit 125',"
	  "'time':'2026-11-24T16:00:03Z'},'source':{'state':'Aborted','error':{'reason':'RestoreFailed','message':'CRIU says'}}") "}", WEB, NULL, 4, ACT_END,
	  PHASE_Failed, REASON_RestoreFailed },
	{ "aborted by an agent", "{" META "," SPEC "," STATUS("Freezing", ",'decision':'Abort','source':{'state':'Aborted','error':{'reason':'FreezeFailed'}}") "}", WEB,
	  NULL, 4, ACT_END, PHASE_Failed, REASON_FreezeFailed },
	{ "given back: the destination goes first", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit'," GIVEN_BACK) "}", WEB, UP, 5, ACT_DELETE_DESTINATION, 0, REASON_RestoreFailed },
	{ "given back: a remote source is told first", "{" META "," SPEC ",'status':{'phase':'Committed','decision':'Commit'," GIVEN_BACK "," REMOTE_PODS "}}", ORDERED("migrate"),
	  UP, 5, ACT_ORDER_ABORT, 0, REASON_RestoreFailed },
	{ "given back", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit'," GIVEN_BACK) "}", WEB, GOING, 5, ACT_END, PHASE_Failed, REASON_RestoreFailed },
	{ "committed, not recorded", "{" META "," SPEC "," STATUS("Restoring", ",'decision':'Commit','source':{'state':'Restoring'}") "}", WEB, UP, 3, ACT_RECORD,
	  PHASE_Committed, 0 },
	{ "committed, cancel comes late", "{" META_DELETED ",'spec':{'cancel':true}," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}", WEB,
	  UP, 3, ACT_RECORD, PHASE_Committed, 0 },
	{ "committed, the word is under way", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}", WEB, UP, 6, ACT_RECORD,
	  PHASE_Committed, 0 },
	{ "committed, nobody reports: the destination is told another way", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}",
	  WEB, UP, 8, ACT_ORDER_COMMIT, 0, 0 },
	{ "committed, told another way: its receipt is looked for", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}", WEB, TOLD,
	  60, ACT_LOOK, 0, REASON_AgentUnavailable },
	{ "committed, a remote source, nobody reports", "{" META "," SPEC ",'status':{'phase':'Committed','decision':'Commit'," REMOTE_PODS "," TIMES "}}", WEB, UP, 60,
	  ACT_RECORD, PHASE_Committed, REASON_AgentUnavailable },
	{ "PostCopy: it has answered, and waits for its memory", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Completing'}") "}", WEB, UP,
	  60, ACT_RECORD, PHASE_Committed, 0 },
	{ "committed, a person lets go: the destination is told first", "{" META_DELETED "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed',"
	  "'error':{'reason':'DestinationLost','message':'x'}}") "}", WEB, UP, 3, ACT_ORDER_COMMIT, 0, 0 },
	{ "committed, a person lets go, and it was told", "{" META_DELETED "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed',"
	  "'error':{'reason':'DestinationLost','message':'x'}}") "}", WEB, TOLD, 3, ACT_RELEASE, 0, REASON_DestinationLost },
	{ "its receipt was read", "{" META "," SPEC "," RECEIPT "}", WEB, TOLD, 60, ACT_DELETE_SOURCE, 0, 0 },
	{ "its receipt was read, the source pod is gone", "{" META "," SPEC "," RECEIPT "}", NULL, TOLD, 60, ACT_END, PHASE_Succeeded, 0 },
	{ "committed, destination died: no way back", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}", WEB, NULL, 3,
	  ACT_RECORD, PHASE_Committed, REASON_DestinationLost },
	{ "committed, source gone before the report", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}", NULL, UP, 3,
	  ACT_RECORD, PHASE_Committed, 0 },
	{ "runs with an error: the source is kept", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running',"
	  "'error':{'reason':'RestoreFailed','message':'x'}}") "}", WEB, UP, 3, ACT_RECORD, PHASE_Committed, REASON_RestoreFailed },
	{ "runs with an error, let go", "{" META_DELETED "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running',"
	  "'error':{'reason':'RestoreFailed','message':'x'}}") "}", WEB, UP, 3, ACT_RELEASE, 0, REASON_RestoreFailed },
	{ "runs", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", WEB, UP, 3, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, but was started cold: the source is kept", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", WEB, UP_AGAIN, 3,
	  ACT_RECORD, PHASE_Committed, REASON_RestoreFailed },
	{ "runs, made twice before it was restored", "{" META "," SPEC "," STATUS("Committed", RESTORED("c1")) "}", WEB, MADE_TWICE, 3, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, but in another container than the restored one", "{" META "," SPEC "," STATUS("Committed", RESTORED("c0")) "}", WEB, MADE_TWICE, 3, ACT_RECORD, PHASE_Committed,
	  REASON_RestoreFailed },
	{ "runs, and crashes while the source goes", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", WEB_GOING, UP_AGAIN, 3,
	  ACT_RECORD, PHASE_Committed, 0 },
	{ "an owner's pod, not Ready yet", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  HELD(READY("False")), 3, ACT_RECORD, PHASE_Committed, 0 },
	{ "an owner's pod, Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  HELD(READY("True")), 3, ACT_HAND_OVER, 0, 0 },
	{ "an owner's pod, neither is Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("False")),
	  HELD(READY("False")), 3, ACT_HAND_OVER, 0, 0 },
	{ "an owner's pod, the source is out of its Services for the move", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(TAKEN_OUT("True")),
	  HELD(READY("False")), 3, ACT_RECORD, PHASE_Committed, 0 },
	{ "an owner's pod, the source is out of its Services, and its containers were not ready either", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(TAKEN_OUT("False")), HELD(READY("False")), 3, ACT_HAND_OVER, 0, 0 },
	{ "an owner's pod, the source is out of its Services, and the destination is Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(TAKEN_OUT("True")),
	  HELD(READY("True")), 3, ACT_HAND_OVER, 0, 0 },
	{ "an owner's pod, the source is not Ready for a reason of its own", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(",'conditions':[{'type':'Ready','status':'False','reason':'ReadinessGatesNotReady'},{'type':'ContainersReady','status':'True'}]"), HELD(READY("False")), 3,
	  ACT_HAND_OVER, 0, 0 },
	{ "an owner's pod, the source is out of its Services, and the destination is never Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(TAKEN_OUT("True")), HELD(READY("False")), 130, ACT_RECORD, PHASE_Committed, REASON_DestinationPodFailed },
	{ "an owner's pod, the source is gone", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", NULL,
	  HELD(READY("False")), 3, ACT_HAND_OVER, 0, 0 },
	{ "an owner's pod, never Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  HELD(READY("False")), 130, ACT_RECORD, PHASE_Committed, REASON_DestinationPodFailed },
	{ "an owner's pod, not running yet", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Committed'}") "}", OWNED(READY("True")),
	  HELD(READY("True")), 3, ACT_RECORD, PHASE_Committed, 0 },
	{ "runs, a Service may select it, and it is not Ready yet", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  SERVED(",'app':'x'", READY("False")), 1, ACT_WAIT, 0, 0 },
	{ "runs, a Service may select it, and it is Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  SERVED(",'app':'x'", READY("True")), 1, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, nothing can select it", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  SERVED("", READY("False")), 1, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, a Service may select it, and the source was not Ready either", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("False")),
	  SERVED(",'app':'x'", READY("False")), 1, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, a Service may select it, and the source is out of its Services for the move", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(TAKEN_OUT("True")), SERVED(",'app':'x'", READY("False")), 1, ACT_WAIT, 0, 0 },
	{ "runs, a Service may select it, the source is out of its Services, and it is Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(TAKEN_OUT("True")), SERVED(",'app':'x'", READY("True")), 1, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, a Service may select it, the source is out of its Services, and its containers were not ready either", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(TAKEN_OUT("False")), SERVED(",'app':'x'", READY("False")), 1, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, a Service may select it, the source is out of its Services, and it does not become Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}",
	  OWNED(TAKEN_OUT("True")), SERVED(",'app':'x'", READY("False")), 60, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, a Service may select it, and it does not become Ready", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", OWNED(READY("True")),
	  SERVED(",'app':'x'", READY("False")), 60, ACT_DELETE_SOURCE, 0, 0 },
	{ "runs, source goes", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", WEB_GOING, UP, 3, ACT_RECORD,
	  PHASE_Committed, 0 },
	{ "runs, source gone", "{" META "," SPEC "," STATUS("Committed", ",'decision':'Commit','source':{'state':'Running'}") "}", NULL, UP, 3, ACT_END, PHASE_Succeeded, 0 },
	{ "ended", "{" META "," SPEC ",'status':{'phase':'Succeeded'}}", NULL, NULL, 0, ACT_RELEASE, 0, 0 },
	{ "aborted: a remote source is told, whether or not it was ordered to migrate", "{" META "," SPEC ",'status':{'phase':'Transferring','decision':'Abort',"
	  REMOTE_PODS "}}", WEB, UP, 3, ACT_ORDER_ABORT, 0, 0 },
	{ "aborted: a remote source is gone", "{" META "," SPEC ",'status':{'phase':'Transferring','decision':'Abort'," REMOTE_PODS "}}", NULL, UP, 3,
	  ACT_DELETE_DESTINATION, 0, 0 },
	{ "ended, the agent has not told", "{" META "," SPEC "," STATUS("Failed", ",'decision':'Abort','source':{'state':'Restoring'}") "}", WEB, NULL, 99, ACT_WAIT, 0, 0 },
	{ "ended, the agent has not told, deleted", "{" META_DELETED "," SPEC "," STATUS("Failed", ",'decision':'Abort','source':{'state':'Ready'}") "}", WEB, NULL, 99,
	  ACT_WAIT, 0, 0 },
	{ "ended, the agent has told", "{" META "," SPEC "," STATUS("Failed", ",'decision':'Abort','source':{'state':'Aborted'}") "}", WEB, NULL, 99, ACT_RELEASE, 0, 0 },
	{ "ended, nobody is left to be thawed", "{" META "," SPEC "," STATUS("Failed", ",'decision':'Abort','source':{'state':'Restoring'}") "}", NULL, NULL, 99,
	  ACT_RELEASE, 0, 0 },
	{ "ended, the destination still goes", "{" META "," SPEC "," STATUS("Cancelled", ",'decision':'Abort','source':{'state':'Aborted'}") "}", WEB, GOING, 99, ACT_WAIT,
	  0, 0 },
	{ "ended, an old leader makes a destination pod", "{'metadata':{'name':'m','uid':'u1'}," SPEC "," STATUS("Cancelled", ",'decision':'Abort'") "}", WEB, NEW, 99,
	  ACT_DELETE_DESTINATION, 0, 0 },
	{ "succeeded: the destination pod is nobody's to delete", "{" META "," SPEC "," STATUS("Succeeded", ",'decision':'Commit','source':{'state':'Running'}") "}", NULL,
	  UP, 99, ACT_RELEASE, 0, 0 },
	{ "ended, kept", "{'metadata':{'name':'m'}," SPEC ",'status':{'phase':'Failed'}}", NULL, NULL, 0, ACT_WAIT, 0, 0 },
	{ "ended, ttl runs", "{'metadata':{'name':'m'},'spec':{'ttlAfterFinished':'10s'},'status':{'phase':'Failed','completionTime':'2026-11-24T16:00:00Z'}}", NULL, NULL,
	  5, ACT_WAIT, 0, 0 },
	{ "ended, ttl over", "{'metadata':{'name':'m'},'spec':{'ttlAfterFinished':'10s'},'status':{'phase':'Failed','completionTime':'2026-11-24T16:00:00Z'}}", NULL, NULL,
	  11, ACT_DELETE_OBJECT, 0, 0 },
};

static cJSON *quoted(const char *text)
{
	char *copy = text ? strdup(text) : NULL;
	cJSON *o;

	for (char *p = copy; p && *p; p++)
		if (*p == '\'')
			*p = '"';
	o = copy ? parse(copy) : NULL;
	free(copy);
	return o;
}

static void test_table(void **state)
{
	int64_t t0 = time_parse_us("2026-11-24T16:00:00Z");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *m = quoted(cases[i].migration), *s = quoted(cases[i].source), *d = quoted(cases[i].destination);
		struct observed o = { .migration = m, .source = s, .destination = d, .now_us = t0 + cases[i].at * SECONDS };
		struct step step;

		decide(&o, &step);
		if (step.action != cases[i].action || step.reason != cases[i].reason ||
		    ((step.action == ACT_RECORD || step.action == ACT_END) && step.phase != cases[i].phase))
			fail_msg("%s: %s %s %s (%s)", cases[i].what, action_name(step.action), phase_name(step.phase), reason_name(step.reason), step.message);
		cJSON_Delete(m);
		cJSON_Delete(s);
		cJSON_Delete(d);
	}
}

/* Every step comes from a row, and a row that waits for time says how long. */
static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cJSON *m = quoted(cases[i].migration), *s = quoted(cases[i].source), *d = quoted(cases[i].destination);
		struct observed o = { .migration = m, .source = s, .destination = d, .now_us = time_parse_us("2026-11-24T16:00:00Z") + cases[i].at * SECONDS };
		struct step step;
		bool known = false;

		decide(&o, &step);
		for (int k = 0; k < controller_rows_n; k++)
			known |= controller_rows[k].when == step.when;
		assert_true(known);
		if (step.action == ACT_WAIT && (strstr(step.when, "waits") || strstr(step.when, "terminating") || strstr(step.when, "has not told")))
			assert_in_range(step.wait_us, 1, LIMIT_POD_GONE);
		cJSON_Delete(m);
		cJSON_Delete(s);
		cJSON_Delete(d);
	}
}

static void test_events(void **state)
{
	cJSON *m = quoted("{" META "," SPEC "," STATUS("Preparing", ",'source':{'state':'Ready'}") "}"), *s = quoted(WEB), *d = quoted(NEW);
	struct observed o = { .migration = m, .source = s, .destination = d, .now_us = time_parse_us("2026-11-24T16:00:05Z"), .looked = true };
	struct step step;

	(void)state;
	decide(&o, &step);
	assert_int_equal(step.action, ACT_WAIT);
	assert_in_range(step.wait_us, 1, LOOK_EVERY);
	o.events = (struct problem){ REASON_RuntimeClassMissing, 0, "no runtime for it" };
	decide(&o, &step);
	assert_int_equal(step.action, ACT_ABORT);
	assert_int_equal(step.reason, REASON_RuntimeClassMissing);
	o.events = (struct problem){ REASON_DestinationPodFailed, 50 * SECONDS, "FailedMount" };
	decide(&o, &step);
	assert_int_equal(step.action, ACT_WAIT);
	/* A pull may take longer than anything else. */
	o.events.reason = REASON_NONE;
	o.now_us += 100 * SECONDS;
	o.pulling = true;
	decide(&o, &step);
	assert_int_equal(step.action, ACT_WAIT);
	o.pulling = false;
	decide(&o, &step);
	assert_int_equal(step.reason, REASON_DestinationPodFailed);
	cJSON_Delete(m);
	cJSON_Delete(s);
	cJSON_Delete(d);
}

/* What kept it is quoted, when the API server has said it; else the phase has to do. */
static void test_timed_out(void **state)
{
	static const struct {
		const char *said, *message;
	} texts[] = {
		{ "waiting for the destination pod to run", "not committed within 10m0s; it was Preparing" },
		{ "cannot go on: create the destination pod: HTTP 500: no webhook", "not committed within 10m0s; it was Preparing: cannot go on: create the destination pod: HTTP 500: no webhook" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char text[2048];
		struct step step;
		cJSON *m, *s = quoted(WEB);

		snprintf(text, sizeof(text), "{" META "," SPEC "," STATUS("Preparing", ",'conditions':[{'type':'Succeeded','status':'Unknown','message':'%s'}]") "}", texts[i].said);
		m = quoted(text);
		decide(&(struct observed){ .migration = m, .source = s, .now_us = time_parse_us("2026-11-24T16:10:01Z") }, &step);
		assert_int_equal(step.action, ACT_ABORT);
		assert_int_equal(step.reason, REASON_TimedOut);
		assert_string_equal(step.message, texts[i].message);
		cJSON_Delete(m);
		cJSON_Delete(s);
	}
}

/* --- a simulation: migrations with accidents at every moment, in no time --- */

/*
 * The world as far as decide() sees it.  The decision is write-once, as the CRD makes it; agents do what docs/architecture.md says; anything may happen to
 * anything at any time, and messages (what decide() sees) may be late: it is given an older state now and then, as a controller with a lagging watch is.
 */
struct world {
	enum phase phase;
	enum decision decision;
	enum source_state state;
	bool finalizer, cancel, deleted, object_gone;
	bool source, source_going, frozen;
	bool destination_made, destination, destination_going, destination_runs, application_runs;
	bool agent_error, thaw_lost;
	int64_t now, entered[PHASE_COUNT], abort_time, updated;
	bool abort_by_us;
	int abort_reason;
};

static void add_time(cJSON *o, const char *key, int64_t us)
{
	char t[CLOCK_RFC3339_SIZE];

	if (!us)
		return;
	clock_rfc3339(us, 0, t);
	cJSON_AddStringToObject(o, key, t);
}

static cJSON *world_status(const struct world *w)
{
	cJSON *s = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(s, "phaseTransitionTimestamps"), *o;

	cJSON_AddStringToObject(s, "phase", phase_name(w->phase));
	for (int p = 0; p < PHASE_COUNT; p++)
		if (w->entered[p]) {
			o = cJSON_CreateObject();
			cJSON_AddStringToObject(o, "phase", phase_name((enum phase)p));
			add_time(o, "time", w->entered[p]);
			cJSON_AddItemToArray(list, o);
		}
	if (w->decision)
		cJSON_AddStringToObject(s, "decision", w->decision == DECISION_COMMIT ? "Commit" : "Abort");
	if (w->abort_by_us) {
		o = cJSON_AddObjectToObject(s, "abort");
		cJSON_AddStringToObject(o, "reason", reason_name(w->abort_reason));
		add_time(o, "time", w->abort_time);
	}
	if (w->entered[PHASE_Preparing]) {
		o = cJSON_AddObjectToObject(s, "sourcePod");
		cJSON_AddStringToObject(o, "name", "web");
		cJSON_AddStringToObject(o, "uid", "s");
		cJSON_AddStringToObject(o, "node", "n1");
		o = cJSON_AddObjectToObject(s, "destinationPod");
		cJSON_AddStringToObject(o, "name", "web-x");
		if (w->destination_made)
			cJSON_AddStringToObject(o, "uid", "t");
	}
	if (w->state != SOURCE_None) {
		o = cJSON_AddObjectToObject(s, "source");
		cJSON_AddStringToObject(o, "state", source_state_name(w->state));
		add_time(o, "updated", w->updated);
		if (w->agent_error)
			cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "error"), "reason", "TransferFailed");
	}
	return s;
}

static cJSON *world_migration(const struct world *w)
{
	cJSON *m = parse("{\"metadata\":{\"name\":\"m\",\"namespace\":\"d\",\"uid\":\"u1\"},\"spec\":{\"podName\":\"web\",\"timeout\":\"60s\"}}");
	cJSON *meta = cJSON_GetObjectItemCaseSensitive(m, "metadata");

	if (w->finalizer)
		cJSON_AddItemToArray(cJSON_AddArrayToObject(meta, "finalizers"), cJSON_CreateString("podmigration.dev/migration"));
	if (w->deleted)
		cJSON_AddStringToObject(meta, "deletionTimestamp", "x");
	if (w->cancel)
		cJSON_AddTrueToObject(cJSON_GetObjectItemCaseSensitive(m, "spec"), "cancel");
	cJSON_AddItemToObject(m, "status", world_status(w));
	return m;
}

static cJSON *world_pod(bool there, bool going, const char *running)
{
	return !there ? NULL : quoted(going ? GOING : running);
}

/* What the decider does when it is asked to commit or when it fails: only through the write-once decision. */
static void agent_step(struct world *w, int dice)
{
	if (!w->source || w->source_going || w->object_gone || (phase_ended(w->phase) && w->decision == DECISION_NONE))
		return;
	w->updated = w->now;
	if (w->decision == DECISION_ABORT || w->agent_error) {
		if (w->state != SOURCE_Aborted && w->state < SOURCE_Running && !(w->decision == DECISION_COMMIT)) {
			w->frozen = false;
			w->state = SOURCE_Aborted;
		}
		return;
	}
	if (w->decision == DECISION_COMMIT) {
		if (w->destination && !w->destination_going) {
			w->application_runs = true;
			w->state = SOURCE_Running;
		}
		return;
	}
	if (w->state == SOURCE_None && w->phase >= PHASE_Preparing)
		w->state = SOURCE_Ready;
	else if (w->state == SOURCE_Ready && w->phase >= PHASE_Transferring)
		w->state = SOURCE_Connecting;
	else if (w->state == SOURCE_Connecting) {
		w->state = SOURCE_Freezing;
		w->frozen = true;
	} else if (w->state == SOURCE_Freezing)
		w->state = SOURCE_Restoring;
	else if (w->state == SOURCE_Restoring)
		w->decision = DECISION_COMMIT;
	if (dice % 29 == 0 && !w->decision)
		w->agent_error = true;
}

/* Accidents; each is rare, all of them happen over the runs. */
static void accident(struct world *w, int dice)
{
	switch (dice % 400) {
	case 0: w->cancel = true; break;
	case 1: w->deleted = true; break;
	case 2: w->source_going = w->source; break;
	case 3: w->destination_going = w->destination; break;
	case 4: w->destination = false; break;
	case 5: w->now += 70 * SECONDS; break;
	case 6: w->now += 31 * SECONDS; break;
	default: break;
	}
}

static void pods_step(struct world *w)
{
	if (w->source_going)
		w->source = w->source_going = w->frozen = false;
	if (w->destination_going)
		w->destination = w->destination_going = w->application_runs = false;
	w->destination_runs = w->destination;
}

static void enter(struct world *w, enum phase p)
{
	if (w->phase != p && !phase_may_follow(w->phase, p))
		fail_msg("%s -> %s", phase_name(w->phase), phase_name(p));
	if (w->phase != p || !w->entered[p])
		w->entered[p] = w->now;
	w->phase = p;
}

/* The step is carried out as act.c does it; what was decided on an old view is refused where it writes the PodMigration (resource version). */
static void apply(struct world *w, const struct step *s, bool stale)
{
	switch (s->action) {
	case ACT_DELETE_SOURCE:
		assert_int_equal(w->decision, DECISION_COMMIT);
		assert_int_equal(w->state, SOURCE_Running);
		w->source_going = true;
		return;
	case ACT_DELETE_DESTINATION:
		assert_int_equal(w->decision, DECISION_ABORT);
		w->destination_going = w->destination;
		return;
	default:
		break;
	}
	if (stale)
		return;
	switch (s->action) {
	case ACT_ADD_FINALIZER: w->finalizer = true; break;
	case ACT_PREFLIGHT: enter(w, w->source && !w->source_going ? PHASE_Preparing : PHASE_Failed); break;
	case ACT_PREPARE: w->destination_made = w->destination = true; break;
	case ACT_RECORD: enter(w, s->phase); break;
	case ACT_ABORT:
		assert_int_equal(w->decision, DECISION_NONE);
		w->decision = DECISION_ABORT;
		w->abort_by_us = true;
		w->abort_reason = s->reason;
		w->abort_time = w->now;
		break;
	case ACT_END: enter(w, s->phase); break;
	case ACT_RELEASE: w->finalizer = false; break;
	case ACT_DELETE_OBJECT: w->object_gone = true; break;
	default: break;
	}
	if (w->deleted && !w->finalizer)
		w->object_gone = true;
}

static void controller_step(struct world *w, const struct world *seen, bool stale)
{
	cJSON *m = world_migration(seen), *s = world_pod(seen->source, seen->source_going, WEB);
	cJSON *d = world_pod(seen->destination, seen->destination_going, seen->destination_runs ? UP : NEW);
	struct observed o = { .migration = m, .source = s, .destination = d, .now_us = seen->now, .looked = true };
	struct step step;

	decide(&o, &step);
	apply(w, &step, stale);
	if (step.action == ACT_WAIT && step.wait_us)
		w->now += step.wait_us / 2;
	cJSON_Delete(m);
	cJSON_Delete(s);
	cJSON_Delete(d);
}

static void check_invariants(const struct world *w)
{
	bool source_runs = w->source && !w->frozen;

	if (source_runs && w->application_runs && !w->source_going)
		fail_msg("two copies run");
	if (w->application_runs)
		assert_int_equal(w->decision, DECISION_COMMIT);
	if (w->decision == DECISION_ABORT)
		assert_true(w->phase != PHASE_Committed && w->phase != PHASE_Succeeded);
	if (w->decision == DECISION_COMMIT)
		assert_true(w->phase != PHASE_Failed && w->phase != PHASE_Cancelled);
}

static void simulate(unsigned seed, int *ended)
{
	struct world w = { .source = true, .now = T0 }, old = w;

	for (int i = 0; i < 400 && !w.object_gone && !(phase_ended(w.phase) && !w.finalizer); i++) {
		int dice = rand_r(&seed);
		bool stale = dice % 5 == 0;

		w.now += (dice / 7) % 200000;
		accident(&w, rand_r(&seed));
		if (dice % 3)
			agent_step(&w, rand_r(&seed));
		check_invariants(&w);
		controller_step(&w, stale ? &old : &w, stale);
		check_invariants(&w);
		if (rand_r(&seed) % 3)
			pods_step(&w);
		if (rand_r(&seed) % 4 == 0)
			old = w;
	}
	check_invariants(&w);
	/* Ended, or committed and stuck for a person; never given up with a frozen source. */
	if (phase_ended(w.phase) && w.phase != PHASE_Succeeded && w.source)
		assert_true(!w.frozen || w.decision == DECISION_ABORT);
	if (!phase_ended(w.phase) && !w.object_gone && w.decision != DECISION_COMMIT)
		fail_msg("no end: phase %s, state %s", phase_name(w.phase), source_state_name(w.state));
	ended[w.phase]++;
}

static void test_simulation(void **state)
{
	int ended[PHASE_COUNT] = { 0 };

	(void)state;
	for (unsigned seed = 1; seed <= 3000; seed++)
		simulate(seed, ended);
	/* All ways out were taken. */
	assert_true(ended[PHASE_Succeeded] > 300 && ended[PHASE_Failed] > 300 && ended[PHASE_Cancelled] > 30);
	print_message("simulated: %d succeeded, %d failed, %d cancelled, %d committed without an end\n", ended[PHASE_Succeeded], ended[PHASE_Failed],
		      ended[PHASE_Cancelled], ended[PHASE_Committed]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_rows), cmocka_unit_test(test_events), cmocka_unit_test(test_timed_out), cmocka_unit_test(test_simulation) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
