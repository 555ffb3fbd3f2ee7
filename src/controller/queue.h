/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_QUEUE_H
#define CONTROLLER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Keys that want a look, as client-go's work queue: a key is with at most one worker; added while it is, it comes again after; several adds are one.
 * Thread-safe.  Times are those of clock_mono_us.
 */
struct queue;

#define QUEUE_KEY_SIZE 512              /* "namespace/name" */
#define QUEUE_RETRY_FIRST_US 5000       /* 5 ms, doubled each time .. */
#define QUEUE_RETRY_MAX_US (300 * 1000000ll)    /* .. up to 5 minutes */

int queue_new(struct queue **ret, struct error *err);
void queue_free(struct queue *q);               /* no thread may use it any more */

void queue_add(struct queue *q, const char *key);
/* Adds it after so long, or earlier when it is to come earlier already. */
void queue_add_after(struct queue *q, const char *key, int64_t delay_us);

/* Waits for a key; false once the queue is stopped. *ret_waited_us: how long it was due. */
bool queue_get(struct queue *q, char key[QUEUE_KEY_SIZE], int64_t *ret_waited_us);
/* The worker is through with it.  failed: it comes again after a back-off that doubles; else the back-off is forgotten. */
void queue_done(struct queue *q, const char *key, bool failed);

void queue_stop(struct queue *q);
int queue_depth(struct queue *q);               /* keys that are due and with no worker */

#endif
