/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_STATUS_H
#define CONTROLLER_STATUS_H

#include <cjson/cJSON.h>
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
	const cJSON *source_pod;        /* new status.sourcePod, or NULL to keep it */
	const cJSON *destination_pod;   /* new status.destinationPod, or NULL to keep it */
	int64_t epoch;
	int64_t now_us;
};

/*
 * The object for kube_apply on /status, with metadata.uid and metadata.resourceVersion, so that a status computed from an old object is refused (409).
 * NULL when nothing would change.  The caller frees it.
 */
cJSON *status_build(const cJSON *migration, const struct status_change *change);

/* "65.2Mi" */
void bytes_format(int64_t bytes, char *out, size_t size);

#endif
