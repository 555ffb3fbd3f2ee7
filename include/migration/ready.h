/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_READY_H
#define MIGRATION_READY_H

#include <cjson/cJSON.h>
#include <stdbool.h>

/* A pod's condition of this type, NULL when it has none. */
const cJSON *pod_condition(const cJSON *pod, const char *type);
/* Its containers are ready, and so are its gates: what the kubelet makes the condition Ready of (GeneratePodReadyCondition in Kubernetes' pkg/kubelet/status/generate.go). */
bool pod_would_be_ready(const cJSON *pod);
/* Ready is False because the pod is migrated (PM_READY_MIGRATING). */
bool pod_is_taken_out(const cJSON *pod);

#endif
