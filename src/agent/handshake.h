/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_HANDSHAKE_H
#define AGENT_HANDSHAKE_H

#include <cjson/cJSON.h>

#include "agent.h"
#include "migration/obstacles.h"

/*
 * What a node is, as the two agents tell each other in HELLO and WELCOME: {node, protocol, protocolOldest, criu, kernel, arch, cgroup, lsm, instructions}, and cpuinfo (base64 of
 * CRIU's image) from the source.
 */
int node_facts(const struct agent_options *o, bool with_cpu, cJSON *out, struct error *err);
/* The part of it that two agents need to speak with each other.  Nothing of the node is asked: what is committed goes on while its CRIU cannot be run. */
void node_words(const struct agent_options *o, cJSON *out);

/* Which security module confines a process with this /proc/PID/attr/current ("apparmor", "selinux"); NULL: none. */
const char *lsm_of_label(const char *label);

/*
 * Can what was dumped there be restored here?  Same architecture and cgroup version, CRIU >= 4.0 and not older than the source's, kernel not
 * older (major.minor), CPU features by `criu cpuinfo check` and instructions that it leaves out, the security module that
 * confines the pod (hello's "confined").  A table of checks, all of which are made; each names the two values.  A destination may have more than the source; for the way back it is the source, and all that it has counts,
 * since programs that started there may use it.
 */
void node_check(const struct agent_options *o, const cJSON *hello, const cJSON *here, struct obstacles *out);

/*
 * The pod's user namespace (hostUsers: false): how many ids it has at the source, in HELLO, and at the destination, in WELCOME; 0: there is none.  Both must have the same: files and images go by the ids inside.
 * An agent that does not say it knows nothing of it, and would take ids for the node's.  ids_check: the destination's, which has count; ids_known: the source's, of a WELCOME (UnsupportedContainer).
 */
void ids_put(cJSON *out, uint32_t count);
void ids_check(const cJSON *hello, uint32_t count, struct obstacles *out);
int ids_known(const cJSON *welcome, uint32_t count, struct error *err);

/* At the destination: the version to speak with whoever sent this HELLO. */
int protocol_choose(const cJSON *hello, int *ret, struct error *err);
/* The same; where there is none the error tells as well what else of the two nodes does not fit: they do not come so far as to compare them. */
int protocol_agree(const struct agent_options *o, const cJSON *hello, const cJSON *here, int *ret, struct error *err);
/* At the source: the one that WELCOME says, when it is one of ours. */
int protocol_take(const cJSON *welcome, int *ret, struct error *err);

#endif
