/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_RECORD_H
#define AGENT_RECORD_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "agent.h"
#include "kube/client.h"
#include "migration/machine.h"

/*
 * The deciding agent's part of one PodMigration's status: source, destination, decision.  Progress is written by a thread of its own, so that the
 * API server is never waited for while the pod is frozen, except for the commit itself.
 */
struct record;

int record_open(const struct agent_options *o, const char *ns, const char *name, const char *uid, struct record **ret, struct error *err);
void record_close(struct record *r);            /* waits for what is queued, at most 10 s */

/* Reads the PodMigration anew (ret may be NULL: is it there?); -ENOENT also when the object of this name has another UID. */
int record_get(struct record *r, cJSON **ret, struct error *err);

/* spec.dryRun, as far as it was read: false until the first record_get, record_warm or refused record_decide. */
bool record_is_dry_run(const struct record *r);

/*
 * fn is called once, from a thread of its own, when the decision of this PodMigration is seen to be Abort, which it is for ever then; record_is_aborted() says so from that moment on.  A second
 * call changes nothing.  unwatch: fn is not called any more, nor running, when it returns, which may take a second; not from fn.
 */
int record_watch(struct record *r, void (*fn)(void *ctx), void *ctx, struct error *err);
void record_unwatch(struct record *r);
bool record_is_aborted(const struct record *r);

/* The connection for what is written later stands already, when nobody has time to wait for it: asks something, unless it has done so within half a minute. */
void record_warm(struct record *r);

/* Queues status.source.state; a state that has not been sent yet is replaced, and one that is replaced within half a second is never sent. */
void record_progress(struct record *r, enum source_state state);

/* Queues status.source.bytesTransferred (negative: it stays as it is) and containers (NULL: likewise), which is taken over; the last ones count. */
void record_live(struct record *r, int64_t bytes, cJSON *containers);

/*
 * Writes synchronously, after what is queued: status.source = source (taken over), status.destination = destination (taken over, may be NULL).  An error that
 * was reported before and is not in source is taken away.  -ENOENT: the PodMigration is gone.
 */
int record_report(struct record *r, enum source_state state, cJSON *source, cJSON *destination, struct error *err);

/*
 * The same, Aborted, and the decision with it: a report that comes late, of a worker that is long dead, must not meet a Commit in between, nor one come after it.
 * -EINVAL: what is committed is only given back (record_report).
 */
int record_give_up(struct record *r, cJSON *source, cJSON *destination, struct error *err);

/*
 * Tries to make Commit (else Abort) the decision and returns the one that stands, RecordCommit or RecordAbort: the API server lets the field be written once (CEL
 * rule of the CRD), so whoever is first wins.  A dry run is aborted, whatever is asked for.  What was lost is asked again until deadline (clock_mono_us); then, with err:
 *   RecordUnknown   it may have been applied, or may still be
 *   RecordRefused   no request can have been applied: each was refused, or nobody listened
 *   RecordGone      (at once) there is no such PodMigration
 * destination (may be NULL) goes into status.destination by the same write.
 */
enum input record_decide(struct record *r, bool commit, const cJSON *destination, int64_t deadline_us, struct error *err);

/*
 * Into a status.destination: container `name` was restored in the container that the destination's containerd calls id.  Recorded with the commit, it tells the
 * controller for ever which start of a container was the restore and not one from its image.  What the API server would not take (crds/) is left out.
 */
void record_add_restored(cJSON *destination, const char *name, const char *id);

/* The key of the migration from Secret <uid> in the agents' namespace. */
int record_key(struct record *r, uint8_t key[PM_KEY_SIZE], struct error *err);

#endif
