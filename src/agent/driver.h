/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_DRIVER_H
#define AGENT_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/machine.h"

/*
 * Runs one machine of migration/machine.h: in each state its deed is done, what the deed returns is looked up in the table, and so on to an end.  Nothing
 * else decides what comes next, so what tests/sim shows of the tables holds for the agents.
 */

/* How a deed is done, and what it may answer: by whichever side, by the decider, by the participant (MAY(input) | ..). */
struct deed_row {
	enum input (*fn)(void *ctx);
	uint64_t both, decider, participant;
};

#define MAY(input) (1ull << INPUT_##input)

/* A state is not entered twice within this time: the pace of everything that is tried again.  It doubles from one time to the next up to the second. */
#define DRIVER_RETRY_US 500000
#define DRIVER_RETRY_LAST_US 5000000

struct driver {
	const struct machine *m;
	enum side side;
	const char *key;                /* of the log: UID of the migration */
	const struct deed_row *deeds;   /* by enum deed; a deed without a function is never met */
	void *ctx;
	/* Is there an order to abort?  It counts wherever the table has a row for it, and is not heard elsewhere. */
	bool (*ordered)(void *ctx);
	/* Told of each move, before the new state's deed; may be NULL. */
	void (*moved)(void *ctx, uint8_t from, enum input in, uint8_t to);
	/* Waits so long, or less when an order comes. */
	void (*pause)(void *ctx, int64_t us);

	uint8_t state;
	int64_t entered_us[64];         /* by state, clock_mono_us; 0: not yet */
	uint8_t repeated[64];           /* by state: how often it had to wait */
};

/* From the state Idle by this first input to an end, which is returned; -EINVAL: the table has no row for the first input. */
int driver_run(struct driver *d, enum input first);

/* The inputs that a deed may answer on this side. */
uint64_t deed_answers(const struct deed_row *row, enum side side);

#endif
