/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_VIEW_H
#define CONTROLLER_VIEW_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/machine.h"
#include "migration/phase.h"

/* Typed reads of PodMigrations and pods.  All are pure; a field that is absent or of another type reads as its zero value. */


/* "2026-11-24T16:22:47[.123456]Z" to microseconds since the epoch; 0 when it is not such a time. */
int64_t time_parse_us(const char *s);
int64_t view_time_us(const cJSON *o, const char *path);

/* Of any object; never NULL. */
const char *view_name(const cJSON *o);
const char *view_namespace(const cJSON *o);
const char *view_uid(const cJSON *o);
const char *view_annotation(const cJSON *o, const char *key);   /* "" when absent */
const char *view_label(const cJSON *o, const char *key);
bool view_deleting(const cJSON *o);

/* Of a PodMigration. */
enum phase view_phase(const cJSON *m);
enum decision view_decision(const cJSON *m);
enum source_state view_source_state(const cJSON *m);
int64_t view_phase_time_us(const cJSON *m, enum phase p);       /* when the phase was entered; 0: it was not */
bool view_has_finalizer(const cJSON *m);
int64_t view_timeout_us(const cJSON *m);                        /* spec.timeout */
bool view_freeze_timeout_us(const cJSON *m, int64_t *ret_us);   /* spec.freezeTimeout; false: none is given */
bool view_ttl_us(const cJSON *m, int64_t *ret_us);              /* false: kept for ever */
bool view_source_error(const cJSON *m, int *ret_reason, const char **ret_message);
bool view_receipt(const cJSON *m);                              /* the destination's receipt that it runs was read (status.destinationPod.receiptTime) */
bool view_claims(const cJSON *m);                               /* it has, or will have, the mark on its source pod: no dry run, or one that needs an order there (source in another cluster) */
bool view_rehearses(const cJSON *m);                            /* a dry run that asks the destination, too (spec.dryRunScope) */
bool view_source_is_remote(const cJSON *m);                     /* the source pod runs behind a Liqo virtual node */

const cJSON *view_condition(const cJSON *o, const char *type);  /* NULL when absent */

/* Of a pod. */
bool view_pod_ended(const cJSON *pod);                          /* phase Succeeded or Failed */
/* Containers that must run: spec.containers and native sidecars.  True when the status of each says it runs. */
bool view_pod_all_running(const cJSON *pod);
/* status of container i of spec[list] ("containers" or "initContainers"), or NULL. */
const cJSON *view_container_status(const cJSON *pod, const char *list, const char *name);
/*
 * Name of a container of destination pod `pod` that was started from its image in the place of the restored one, NULL when there is none; pod may be NULL.  Not that is
 * one which the kubelet made more than once before it was restored, nor one whose start the runtime of the node has refused.
 */
const char *view_cold_container(const cJSON *m, const cJSON *pod);
bool view_is_sidecar(const cJSON *init_container);              /* an init container that keeps running */
/* With Liqo, what a Node stands for: the remote cluster's ID, or "" for an ordinary node. */
const char *view_node_cluster(const cJSON *node);

#endif
