/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CLAIM_H
#define RUNTIME_CLAIM_H

#include <stdbool.h>

#include "base/error.h"

/*
 * A container is restored once.  What has become of that is written down per (pod UID, container name), outlives the container, the sandbox and a reboot of the
 * node, and decides what the kubelet's next container of that name is:
 *   nothing written      it waits for its migrated state (again, when an earlier monitor ended before a restore was begun); in a pod that is committed it is an
 *                        ordinary one
 *   "used"               a restore was begun, and failed or was aborted: not tried twice.  The application must not be started from its image either,
 *                        because the source may go on, or holds its memory: refused
 *   "opening"            the migration is committed, and whether the application ran is not known: its monitor ended in the instant in which it let it run.  The
 *                        source holds the memory, as far as anybody can tell: refused, until a person says that it may start without (spec_may_start_cold)
 *   "opened", "cold"     it ran here: any container in its place is an ordinary one from then on, started from its image
 * Files PM_STATE_DIR/claims/<pod uid>_<container name>: the word, then the kubelet's folder of the pod; a claim whose folder is gone is dropped.
 */
enum claim { CLAIM_NONE, CLAIM_USED, CLAIM_OPENING, CLAIM_OPENED };

struct claim_key {
	const char *pod_uid, *name;
	const char *pod_dir;            /* "" when unknown */
};

/* *ret_committed: some container of the pod was let run, or was about to be. */
int claim_look(const struct claim_key *k, enum claim *ret, bool *ret_committed, struct error *err);
/*
 * Writes "used"; returns when it is on disk: a node that has lost power in the moment in which the application ran would let a second container wait, and its agent would tell the
 * source that nothing was restored.  CRIU is started before the source stands still, so this is no part of the pause.  -EEXIST: somebody did before.
 */
int claim_take(const struct claim_key *k, struct error *err);
/* It is about to run: written before anything does.  Not waited for: without it the claim on disk is "used", and nothing starts either. */
int claim_opening(const struct claim_key *k, struct error *err);
/* It runs.  durable: returns when it is on disk. */
int claim_opened(const struct claim_key *k, bool durable, struct error *err);
/* An ordinary container was started in the place of the restored one (for people and the agent to see). */
int claim_cold(const struct claim_key *k, struct error *err);

#endif
