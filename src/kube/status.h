/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_STATUS_H
#define KUBE_STATUS_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/error.h"

/*
 * A failure as the API server tells it: an HTTP status and, mostly, a Status object (status.details.causes name the fields).
 * It is the body of a unary answer or the object of a watch's ERROR event.  Writes the sentence and returns the code of
 * kube/client.h; o NULL: raw (may be NULL) is quoted, it may be a load balancer's page.
 */
int kube_status_error(long http_status, const cJSON *o, const char *raw, const char *what, struct error *err);

#endif
