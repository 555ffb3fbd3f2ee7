/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_PREFLIGHT_H
#define CONTROLLER_PREFLIGHT_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/*
 * Can this pod go there?  Pure: all that was read from the API server comes in one JSON object, the facts:
 *   pod                 the source pod, null when there is none
 *   sourceNode          its Node (absent when unreadable)
 *   nodes               array of candidate Nodes for the destination
 *   otherMigration      "namespace/name" of another active PodMigration of this pod (absent: none)
 *   runtimeClass        RuntimeClass podmigration of this cluster, null when there is none (absent: not read)
 *   namespaceMaps       array of Liqo NamespaceMaps of the destination cluster (absent: unreadable)
 *   offloading          NamespaceOffloading of the namespace, null when there is none (absent: unreadable)
 *   foreignCluster      Liqo ForeignCluster of the destination, null when there is none (absent: unreadable)
 * What could not be read is not held against the pod: the destination pod itself will tell.
 */

#define FINDINGS_MAX 32

struct finding {
	int reason;
	char text[640];                 /* with two names of 253 characters in it */
};

struct preflight {
	struct finding findings[FINDINGS_MAX];
	int n;                          /* 0: migratable */
	char node[254];                 /* the destination node, "" when none was found */
	char cluster[64];               /* its Liqo cluster ID, "" for an ordinary node */
	char source_cluster[64];        /* the same of the source's node */
};

/* All findings, not only the first. */
void preflight_check(const cJSON *migration, const cJSON *facts, struct preflight *ret);

/* "Reason: text; Reason: text .." of all findings, cut at size. */
void preflight_message(const struct preflight *p, char *out, size_t size);

/* Can the agent of the source's node look at the pod, whatever was found?  For a dry run, which shall tell all at once. */
bool preflight_agent_can_look(const struct preflight *p);

/* Of several nodes of one cluster: a Ready, schedulable one, the one named like the cluster first, then by name. NULL when the array is empty. */
const cJSON *preflight_choose_node(const cJSON *nodes, const char *cluster);

#endif
