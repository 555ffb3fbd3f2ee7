/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CONTENTS_H
#define AGENT_CONTENTS_H

#include <cjson/cJSON.h>

#include "agent.h"
#include "container/bundle.h"
#include "migration/obstacles.h"

/*
 * ConfigMap and Secret volumes are not sent: the destination mounts its own.  So that a program does not wake up over another configuration than it fell asleep with,
 * both sides take a digest of what is in them, and the destination refuses when one differs.  Not looked at: projected and downwardAPI volumes, which hold the
 * pod's own name and token and differ by nature, and podmigration's own.
 */

/* Adds {"configmap:NAME": "<sha256>", "secret:NAME": ..} of the pod that b is a container of to the object out. */
int contents_add(const struct agent_options *o, const struct bundle *b, cJSON *out, struct error *err);
/* here must have everything that there has: adds each volume that is missing or differs. */
void contents_compare(const cJSON *there, const cJSON *here, struct obstacles *out);

#endif
