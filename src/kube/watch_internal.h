/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_WATCH_INTERNAL_H
#define KUBE_WATCH_INTERNAL_H

#include <stdint.h>

#include "kube/watch.h"

/* The times of a watch; tests use shorter ones. */
struct watch_timing {
	int64_t silence_ms;             /* a stream on which nothing comes for so long is dead */
	int64_t initial_silence_ms;     /* the same while a complete set is on its way */
	int stream_min_s, stream_max_s; /* timeoutSeconds is chosen between */
	int64_t grace_ms;               /* a stream that lives so much longer than it was asked to is ended by us */
	int page;                       /* objects in a page of a list */
};

int kube_watch_start_timed(struct kube_config *config, const struct kube_watch_spec *spec, const struct watch_timing *timing,
			   struct kube_watch **ret, struct error *err);

#endif
