/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_PROBLEM_H
#define CONTROLLER_PROBLEM_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

/* What keeps a destination pod from running, read off the pod and its Events by tables.  Pure. */
struct problem {
	int reason;                     /* REASON_NONE: nothing wrong is known */
	int64_t patience_us;            /* it may pass by itself for so long after the pod was made */
	char message[1024];
};

/* From the pod's own status; before the commit none of its containers may end. */
void problem_of_pod(const cJSON *pod, struct problem *ret);

/* From a List of core/v1 Events of the pod: the newest warning. *ret_pulling: the newest Event of all is the start of an image pull. */
void problem_of_events(const cJSON *list, struct problem *ret, bool *ret_pulling);

/* From the API server's refusal to create the pod or its Secret, or to mark the source. */
int problem_of_refusal(const char *message);

#endif
