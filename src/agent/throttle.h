/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_THROTTLE_H
#define AGENT_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"
#include "container/cpu_limit.h"
#include "transfer/limits.h"

/*
 * spec.preCopy.allowAutoConverge: a container that writes memory faster than the link carries it gets less processor time while its memory is copied.  How much in which step (as QEMU's
 * auto-converge begins and goes on: 20 % less, then 10 % more of it each time), and what must be known after a crash to take it back.
 */

/* Percent of what the container used before, of the step after this one; 100: it is not limited yet.  0: there is no step below. */
int throttle_next(int percent);
/*
 * May a round that takes so long be waited for?  Behind it the last one and the restore must still have their time, or a migration that would have ended with a longer pause ends
 * at its timeout, with none.
 */
bool throttle_has_time(int64_t round_us, int64_t left_us);
/* Is what this container has left, of what all n have, worth slowing it down?  At least half of its share. */
bool throttle_matters(int64_t left, int64_t all, int n);
/* Microseconds in each period for so many percent of what it used (microseconds of processor time in a second); 0: that is less than the kernel takes. */
int64_t throttle_quota_us(int64_t used_us_per_s, int percent, int64_t period_us);

/*
 * The note, one file per migration in PM_STATE_DIR/throttled on the node: written and fsynced BEFORE a limit is.  It is no entry of the journal, which tells how far a migration is and what may
 * be decided: whoever finds a note without a worker puts back what it says, asks nobody, and removes it.
 */
struct throttle_note {
	int n;
	struct cpu_limit limits[WIRE_CONTAINERS_MAX];
};

int throttle_note_write(const struct agent_options *o, const char *migration, const struct throttle_note *n, struct error *err);
/* Puts back all that is in n, the note's file too.  After an error the file stays, for another try. */
int throttle_lift(const struct agent_options *o, const char *migration, const struct throttle_note *n, struct error *err);
/* The same for each file of which busy(ctx, migration) says that no worker lifts it itself.  Failures are logged.  Returns how many were lifted. */
int throttle_notes_lift(const struct agent_options *o, bool (*busy)(void *ctx, const char *migration), void *ctx);

#endif
