/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_SECRETS_H
#define CONTROLLER_SECRETS_H

#include <stdint.h>

#include "controller.h"
#include "migration/names.h"

/*
 * Keys (docs/architecture.md, "Key and order").  The master key is a Secret of the controller's own namespace, made when it is missing; each migration's
 * key is derived from it.  In users' namespaces Secrets are only ever created, never read.
 */

int secrets_key(struct worker *w, const char *migration_uid, uint8_t out[PM_KEY_SIZE], struct error *err);

/* Secret <uid> in the agents' namespace, for the source's agent; fine when it is there already. */
int secrets_create_for_agent(struct worker *w, const char *migration_uid, struct error *err);
int secrets_delete_for_agent(struct worker *w, const char *migration_uid, struct error *err);

/* Secret podmigration-<uid> beside the destination pod, owned by it. */
int secrets_create_for_pod(struct worker *w, const char *migration_uid, const cJSON *pod, struct error *err);

#endif
