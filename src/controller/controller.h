/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kube/client.h"
#include "kube/event.h"
#include "metrics.h"
#include "queue.h"
#include "store.h"

/* What all threads of the process share. */
struct controller {
	struct kube_config *config;
	struct store *store;
	struct queue *queue;
	struct kube_events *events;
	struct metrics *metrics;
	const char *ns;                 /* own namespace: lease, master key */
	const char *agent_ns;           /* of the agents: keys for source agents */
	_Atomic int64_t epoch;          /* of our leadership; 0: we do not lead */

	pthread_mutex_t lock;           /* of what follows: the master key, read once */
	uint8_t master[64];
	size_t master_len;              /* 0: not read yet */
};

/* One reconciling thread. */
struct worker {
	struct controller *c;
	struct kube_client *client;
	pthread_t thread;
};

/* Path of one object; 0 or a negative errno with err. */
int path_of(char out[1024], const char *group_version, const char *ns, const char *plural, const char *name, const char *sub, struct error *err);

/*
 * Does what is due for one PodMigration, step by step until there is nothing to do but wait.  0, or a negative errno: to be tried again after a while.
 */
int reconcile(struct worker *w, const char *key, struct error *err);

#endif
