/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_PHASE_H
#define MIGRATION_PHASE_H

#include <stdbool.h>

/* P(name): status.phase, in the order a migration goes through them. */
#define PHASE_LIST(P)                                                                                    \
	P(Pending) P(Preparing) P(Transferring) P(Freezing) P(Restoring) P(Committed) P(Succeeded) P(Failed) \
	P(Cancelled)

enum phase {
#define P(name) PHASE_##name,
	PHASE_LIST(P)
#undef P
	PHASE_COUNT
};

const char *phase_name(enum phase p);
enum phase phase_from_name(const char *name);   /* PHASE_Pending for NULL, "" and unknown names */
bool phase_ended(enum phase p);                 /* Succeeded, Failed, Cancelled */
bool phase_may_follow(enum phase from, enum phase to);  /* the table of allowed moves */
bool phase_may_reach(enum phase from, enum phase to);   /* by any number of them, none too */

/* What the source agent reports in status.source.state, in order. S(name) */
#define SOURCE_STATE_LIST(S) S(None) S(Ready) S(Connecting) S(Freezing) S(Restoring) S(Committed) S(Completing) S(Running) S(Aborted)
enum source_state {
#define S(name) SOURCE_##name,
	SOURCE_STATE_LIST(S)
#undef S
	SOURCE_STATE_COUNT
};
const char *source_state_name(enum source_state s);
enum source_state source_state_from_name(const char *name);     /* SOURCE_None when unknown */

#endif
