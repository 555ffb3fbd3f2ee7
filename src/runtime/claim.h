/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CLAIM_H
#define RUNTIME_CLAIM_H

#include "base/error.h"

/*
 * A container is restored once.  What has become of that is written down per (pod UID, container name), outlives the container, the sandbox and a reboot of the
 * node, and decides what the kubelet's next container of that name is:
 *   nothing written      it waits for its migrated state (again, when an earlier monitor ended before a restore was begun)
 *   "used"               a restore was begun, and failed or was aborted: not tried twice.  The application must not be started from its image either,
 *                        because the source may go on: refused
 *   "opened", "cold"     the migration was committed: any container of the pod is an ordinary one from then on, started from its image
 * Files PM_STATE_DIR/claims/<pod uid>_<container name>: the word, then the kubelet's folder of the pod; a claim whose folder is gone is dropped.
 */
enum claim { CLAIM_NONE, CLAIM_USED, CLAIM_COMMITTED };

struct claim_key {
	const char *pod_uid, *name;
	const char *pod_dir;            /* "" when unknown */
};

int claim_look(const struct claim_key *k, enum claim *ret, struct error *err);
/* Writes "used".  -EEXIST: somebody did before. */
int claim_take(const struct claim_key *k, struct error *err);
/* From now on it counts as committed.  durable: returns when it is on disk. */
int claim_open(const struct claim_key *k, int durable, struct error *err);
/* An ordinary container was started in the place of the restored one (for people and the agent to see). */
int claim_cold(const struct claim_key *k, struct error *err);

#endif
