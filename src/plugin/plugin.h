/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PLUGIN_PLUGIN_H
#define PLUGIN_PLUGIN_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/*
 * kubectl-migrate.  It talks to the API server by way of the kubectl that called it, and so with that person's own rights and every way
 * of logging in that kubectl knows.
 */

#define NAME_SIZE 254           /* of an object, with its NUL */
#define OBJECT_MAX (4u << 20)   /* of one PodMigration as JSON */

/* What is passed on to kubectl; NULL where not given. */
struct kubectl {
	const char *kubeconfig, *context, *ns;
};

/* What a person asked for, from the command line; the strings are argv's. */
struct request {
	struct kubectl kubectl;
	const char *pod, *name;         /* of the pod; of the PodMigration: NULL, it gets one */
	const char *to_cluster, *to_node;
	const char *strategy, *bandwidth, *timeout, *freeze_timeout, *ttl, *dry_run_scope;
	bool converge, dry_run, wait;
};

/* What the program ends with; docs/api.md. */
enum plugin_exit { PLUGIN_SUCCEEDED = 0, PLUGIN_FAILED = 1, PLUGIN_USAGE = 2, PLUGIN_CANCELLED = 3 };

/* kubectl.c.  args: further words for kubectl, NULL-terminated. */

/* Runs kubectl with input (NULL: none) and returns the one JSON object it prints, owned by the caller; kubectl's own words on failure. */
int kubectl_object(const struct kubectl *k, const char *const *args, const cJSON *input, cJSON **ret, struct error *err);
/*
 * Follows one PodMigration: each(ctx, object) for each state of it, until each returns true.  The API server ends such a stream now and then; it
 * is then taken up again.
 */
int kubectl_follow(const struct kubectl *k, const char *name, bool (*each)(void *ctx, const cJSON *object), void *ctx, struct error *err);

/* request.c: the PodMigration that asks for it. */
cJSON *request_object(const struct request *r);

/* show.c: for people, on stdout. */
struct progress {
	char phase[32];
	char said[1024];                /* the last message */
	char slowed[1024];              /* .. of SourceThrottled */
	char sent[32];                  /* status.transferred */
	enum plugin_exit result;
};

/* Prints what is new; true when the migration has ended, and then p->result is set. */
bool show_progress(struct progress *p, const cJSON *migration);
void show_timeline(const cJSON *migration);

#endif
