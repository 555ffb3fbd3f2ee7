/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_STATUS_H
#define CONTROLLER_STATUS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/phase.h"

/*
 * The controller's part of status, computed anew as a whole from the object as it is and what is to change (server-side apply drops what is not sent).
 * Pure.
 */
struct status_change {
	enum phase phase;
	int reason;                     /* of a failure, or of being stuck; REASON_NONE else */
	const char *message;            /* for the condition Succeeded; "" keeps the present one */
	const char *migratable;         /* preflight's message: "" passed; NULL: not now */
	int migratable_reason;          /* of that, while reason has no say yet; REASON_NONE: reason */
	const char *violated;           /* "Invariant: text; Invariant: text" for the condition InvariantViolated; NULL: as it was */
	bool source_gone;               /* there is nobody to be thawed any more */
	bool destination_stays;         /* it ends, and the destination pod is not gone yet */
	const cJSON *source_pod;        /* new status.sourcePod, or NULL to keep it */
	const cJSON *destination_pod;   /* new status.destinationPod, or NULL to keep it */
	int64_t epoch;
	int64_t now_us;
};

/* What a person has to do something about; the condition AttentionNeeded is True with its name as reason. A(name, what to do) */
#define ATTENTION_LIST(A)                                                                                                      \
	A(SourceNotThawed, "On the source's node look after the podmigration-agent: it thaws the source as soon as it runs. Where it cannot, write THAWED to " \
			   "freezer.state (cgroup v1) or 0 to cgroup.freeze (v2) of the containers' cgroups, and max to pids.max of the pod's.") \
	A(DestinationNotRemoved, "Look after the kubelet of the destination's node; when that node is gone for good, delete the pod with --force. It holds "   \
				 "nothing that runs.")                                                                          \
	A(CommittedNotRunning, "Look after the podmigration-agents of both nodes. Never thaw or delete the source before you know that the destination runs.") \
	A(DestinationNotReady, "Find out why the destination's readiness probe fails; it runs, and takes the source's place as soon as it is Ready. Or delete the source " \
			       "pod: then it does at once.")                                                                      \
	A(RequestRefused, "Let the policy, the webhook or the rights that the message of Stalled names pass what podmigration writes; it goes on by itself then.")

enum attention {
	ATTENTION_NONE,
#define A(name, text) ATTENTION_##name,
	ATTENTION_LIST(A)
#undef A
	ATTENTION_COUNT
};
const char *attention_name(enum attention a);
const char *attention_advice(enum attention a);
/* What the condition of this object says now. */
enum attention status_attention(const cJSON *migration);

/* The condition Migratable while it is False, else NULL. */
const cJSON *status_not_migratable(const cJSON *migration);
/* The message of SourceThrottled while it is True, which containers are slowed down and by how much; else "". */
const char *status_throttled(const cJSON *migration);
/* The source's agent has told another thing than the condition SourceThrottled does, also after the end; or, while the pod runs, that more has been sent. */
bool status_live_changed(const cJSON *migration);

/* Fills in a change that changes nothing: phase, reason and message as they are. */
void status_keep(const cJSON *migration, struct status_change *ret);

/*
 * The object for kube_apply on /status, with metadata.uid and metadata.resourceVersion, so that a status computed from an old object is refused (409).
 * NULL when nothing would change.  The caller frees it.
 */
cJSON *status_build(const cJSON *migration, const struct status_change *change);

/* "65.2Mi" */
void bytes_format(int64_t bytes, char *out, size_t size);

/* Of one that the API server refuses: the message begins so. */
#define STATUS_CANNOT "cannot go on: "

/* The same when nothing but metadata.generation has changed since it was written (a change of spec that leads to nothing); NULL when that has not. */
cJSON *status_observe(const cJSON *migration, int64_t epoch);

#endif
