/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_ACT_H
#define CONTROLLER_ACT_H

#include "controller.h"
#include "decide.h"

/* One look at one PodMigration: what was seen, what is to be done. */
struct turn {
	cJSON *migration;               /* owned; replaced by the server's answer after each write */
	cJSON *source, *destination;    /* owned */
	struct step step;
	bool gone;                      /* the PodMigration does not exist any more */
	bool unchanged;                 /* the step had nothing to write */
	char mismatch[192];             /* how the destination pod differs from what was to be built; "" */
};

/*
 * Does t->step.  0; -EAGAIN when the PodMigration has changed since it was read (it is to be read anew); another negative errno to be tried
 * again later.
 */
int act_do(struct worker *w, struct turn *t, struct error *err);

/* Writes what is wrong with it (status.h, "violated") and nothing else that is new. */
int act_note(struct worker *w, struct turn *t, const char *violated, struct error *err);

/* After a failure that the API server has answered: says so in the object, where a person looks; what is said already is not written again. */
int act_tell(struct worker *w, struct turn *t, const char *why, struct error *err);

/* Writes that a change of spec was seen, when nothing else follows from it: who waits for observedGeneration (kstatus) would wait for ever. */
int act_observe(struct worker *w, struct turn *t, struct error *err);

/* Writes how much has been sent, and that the source's agent slows the pod down, and by how much, while nothing else happens. */
int act_live(struct worker *w, struct turn *t, struct error *err);

/* Reads a pod anew and tells the store: *ret is NULL when there is none of this name with this UID. */
int act_read_pod(struct worker *w, const char *ns, const char *name, const char *uid, cJSON **ret, struct error *err);

/* The PodMigration as it is now, into t and the store; t->gone when it is no more. */
int act_reread(struct worker *w, struct turn *t, struct error *err);

#endif
