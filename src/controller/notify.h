/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_NOTIFY_H
#define CONTROLLER_NOTIFY_H

#include "controller.h"
#include "invariants.h"
#include "migration/phase.h"
#include "status.h"

/* Tells of a move to another phase: an Event on the PodMigration and on the source pod, metrics, the log. migration: as it is after the move. */
void notify_phase(struct controller *c, const cJSON *migration, enum phase from, enum phase to, int reason, const char *message);
/* Something that a person has to put right. */
void notify_attention(struct controller *c, const cJSON *migration, enum attention a);
/* Its containers get less CPU time while their memory is copied.  first: up to now they did not. */
void notify_throttled(struct controller *c, const cJSON *migration, const char *message, bool first);
/* An invariant (invariants.h) does not hold. */
void notify_violation(struct controller *c, const cJSON *migration, enum invariant i, const char *text);
/* The API server has refused a step, which is tried again. */
void notify_refused(struct controller *c, const cJSON *migration, const char *message);
/* The decision to abort. */
void notify_abort(struct controller *c, const cJSON *migration, int reason, const char *message);

#endif
