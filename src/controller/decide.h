/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_DECIDE_H
#define CONTROLLER_DECIDE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/phase.h"
#include "problem.h"

/*
 * The controller's mind: what is to be done next with one PodMigration.  A pure function of what was seen; everything that must survive a change of the
 * leader is in the object itself.  What to do is looked up in the table controller_rows (migration/machine.h), the one that the simulator runs.
 */

struct observed {
	const cJSON *migration;
	const cJSON *source;            /* the pod of status.sourcePod, NULL when it is gone */
	const cJSON *destination;       /* the pod of status.destinationPod, NULL when it is gone or not made yet */
	int64_t now_us;                 /* wall clock, as the times in status */
	bool looked;                    /* those below are filled in */
	struct problem events;          /* what the destination pod's Events say */
	bool pulling;
	bool receipt;                   /* one of them is the destination's receipt that it runs */
};

enum action {
	ACT_WAIT,                       /* nothing, until something changes or wait_us is over */
	ACT_ADD_FINALIZER,
	ACT_PREFLIGHT,                  /* check pod and destination; Preparing or Failed */
	ACT_PREPARE,                    /* create the destination pod and its Secret */
	ACT_LOOK,                       /* read the destination pod's Events and decide again */
	ACT_RECORD,                     /* write status with phase, reason, message (nothing when it says so already) */
	ACT_ORDER,                      /* remote source: write the order to migrate */
	ACT_ABORT,                      /* decision: Abort, with reason and message */
	ACT_ORDER_ABORT,                /* remote source: write the order to give up */
	ACT_ORDER_COMMIT,               /* destination: write the order that says that it is committed */
	ACT_NOTE_RECEIPT,               /* write that the destination's receipt was read */
	ACT_DELETE_DESTINATION,
	ACT_HAND_OVER,                  /* the destination takes the source's place at its owner */
	ACT_DELETE_SOURCE,
	ACT_END,                        /* clean up, then write the last phase */
	ACT_RELEASE,                    /* remove the finalizer */
	ACT_DELETE_OBJECT,
	ACTION_COUNT
};

struct step {
	const char *when;               /* the row of the table, for logs */
	enum action action;
	enum phase phase;               /* ACT_RECORD, ACT_END */
	int reason;                     /* of an abort, an end, or of being stuck */
	char message[2048];
	int64_t wait_us;                /* ACT_WAIT, ACT_RECORD: decide again after so long at the latest; 0: only when something changes */
};

void decide(const struct observed *o, struct step *ret);

const char *action_name(enum action a);

/* Limits, microseconds. */
#define LIMIT_DESTINATION_POD (60 * 1000000ll)  /* for the destination pod to run, unless it is pulling images */
#define LIMIT_REMOTE_POD (45 * 1000000ll)       /* for a remote cluster to say anything of the pod; a busy one takes its time */
#define LIMIT_AGENT (30 * 1000000ll)            /* for an agent to be heard of */
#define LIMIT_ORDER (120 * 1000000ll)           /* for the order to reach a remote source's agent: a kubelet that misses all changes looks again after 60 to 90 s (syncFrequency) */
#define ORDER_AGAIN (5 * 1000000ll)             /* an order that nobody seems to have heard is written once more */
#define LIMIT_THAW (30 * 1000000ll)             /* for an agent to report the thaw after an abort */
#define LIMIT_POD_GONE (60 * 1000000ll)         /* for the destination pod to go */
#define LIMIT_RUNNING (30 * 1000000ll)          /* for an agent to report that the destination runs */
#define LIMIT_HEARD (5 * 1000000ll)             /* for the stream to bring the commit there and the word back, before the other way is taken */
#define LIMIT_READY (120 * 1000000ll)           /* for the destination to be Ready, where its owner would keep the source else */
#define LIMIT_SERVES (3 * 1000000ll)            /* for the destination to be Ready before the source is deleted: kubelet and Liqo need 0.3 to 1 s to say so */
#define GRACE_AGENT_REPORT (3 * 1000000ll)      /* the agent's error says more than the pod's exit code: it is waited for */
#define LOOK_OWED (15 * 1000000ll)      /* after the end, at pods that were left to others to put right */
#define LOOK_EVERY (3 * 1000000ll)
#define LOOK_GOING (1 * 1000000ll)      /* at a pod that is to go: somebody may have taken off the label by which the watch sees it */

#endif
