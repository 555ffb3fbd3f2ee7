/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_DESTINATION_POD_H
#define CONTROLLER_DESTINATION_POD_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#define POD_NAME_SIZE 254

/*
 * "<name of the first pod of the chain>-<5 letters>".  The letters are drawn from the migration's UID and the attempt: a controller that was stopped
 * between creating the pod and recording it finds the same name again.
 */
int destination_pod_name(const cJSON *source, const char *migration_uid, int attempt, char out[POD_NAME_SIZE], struct error *err);

/* Name of the Secret with the key, in the pod's namespace. */
int destination_secret_name(const char *migration_uid, char *out, size_t size);

struct destination_spec {
	const char *name;               /* of the new pod */
	const char *node;
	const char *cluster;            /* Liqo cluster ID, "" for an ordinary node */
};

/* The pod to create, from the migration and the source pod as the API server has it.  Pure; *ret is the caller's. */
int destination_pod_build(const cJSON *migration, const cJSON *source, const struct destination_spec *spec, cJSON **ret, struct error *err);

/*
 * Is the pod that the API server has the one that was to be built?  Admission may add volumes and tolerations; a container more, or another image, would find
 * nothing to be restored from, or run beside what is restored.  False: why, in words.  Pure.
 */
bool destination_pod_matches(const cJSON *built, const cJSON *made, char *why, size_t size);

#endif
