/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_INVARIANTS_H
#define CONTROLLER_INVARIANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "decide.h"
#include "store.h"

/*
 * What must hold of every PodMigration, checked on what was observed after each reconcile.  The simulator proves it of the tables; this notices when the world
 * does not keep to them (an API server without our rules, a person's hand, a mistake of ours).  Pure.
 *
 * I(name, what must hold)
 */
#define INVARIANT_LIST(I)                                                                                          \
	I(OneRunningCopy, "the destination runs only after the commit, the source only without it")                 \
	I(NoColdStart, "no container of the destination was started anew while the source still holds its memory")  \
	I(FrozenHasDeadline, "a frozen source is thawed, moved or reported within a limit")                         \
	I(PhaseHasDeadline, "every phase but the last has a beginning and a limit")                                 \
	I(DestinationMatches, "the destination pod is the source's, container by container")                        \
	I(DecisionFinal, "the decision never changes")                                                              \
	I(PhaseOrder, "a phase leads only to those behind it")                                                      \
	I(EpochGrows, "no older leader writes after a newer one")                                                   \
	I(EndTellsTruth, "Succeeded only when committed and running, Failed and Cancelled only without a commit")   \
	I(NothingLeft, "after the end no pod, mark or finalizer of the migration is left")

enum invariant {
#define I(name, text) INVARIANT_##name,
	INVARIANT_LIST(I)
#undef I
	INVARIANT_COUNT
};

#define INVARIANTS_ALL ((1u << INVARIANT_COUNT) - 1)
/* Those that compare with what was seen before. */
#define INVARIANTS_OF_THE_PAST (1u << INVARIANT_DecisionFinal | 1u << INVARIANT_PhaseOrder | 1u << INVARIANT_EpochGrows)

struct inspected {
	const struct observed *o;
	const struct store_past *past;  /* of the same object, at the last inspection */
	const char *mismatch;           /* how the destination pod differs from what was to be built; "" or NULL: it does not */
};

#define VIOLATION_SIZE 256

/* Returns the violated ones, a bit each; texts of those are filled in. */
uint32_t invariants_check(const struct inspected *i, char texts[INVARIANT_COUNT][VIOLATION_SIZE]);

const char *invariant_name(enum invariant i);
/* What must hold. */
const char *invariant_text(enum invariant i);

/* Beyond the limits of decide.h: for what is done when they are over. */
#define LIMIT_SLACK (60 * 1000000ll)
#define LIMIT_PENDING (300 * 1000000ll)
#define LIMIT_LEFT (120 * 1000000ll)            /* after the end, for what was left to others to go */

#endif
