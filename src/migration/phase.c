/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/phase.h"

#include <string.h>

static const char *const phase_names[PHASE_COUNT] = {
#define P(name) [PHASE_##name] = #name,
	PHASE_LIST(P)
#undef P
};

static const char *const state_names[SOURCE_STATE_COUNT] = {
#define S(name) [SOURCE_##name] = #name,
	SOURCE_STATE_LIST(S)
#undef S
};

#define TO(p) (1u << PHASE_##p)
#define GIVEN_UP (TO(Failed) | TO(Cancelled))

/*
 * Which phases may follow.  The agents' steps may be seen late, so Freezing and Restoring can be skipped; Committed leads to
 * Succeeded, or to Failed when the destination gave it back without having run; what has ended stays as it is.
 */
static const unsigned may_follow[PHASE_COUNT] = {
	/* A dry run ends well where it would begin. */
	[PHASE_Pending] = TO(Preparing) | TO(Succeeded) | GIVEN_UP,
	[PHASE_Preparing] = TO(Transferring) | TO(Succeeded) | GIVEN_UP,
	[PHASE_Transferring] = TO(Freezing) | TO(Restoring) | TO(Committed) | GIVEN_UP,
	[PHASE_Freezing] = TO(Restoring) | TO(Committed) | GIVEN_UP,
	[PHASE_Restoring] = TO(Committed) | GIVEN_UP,
	[PHASE_Committed] = TO(Succeeded) | TO(Failed),
};

static int find(const char *const *names, int n, const char *name)
{
	for (int i = 0; name && i < n; i++)
		if (!strcmp(names[i], name))
			return i;
	return 0;
}

const char *phase_name(enum phase p)
{
	return (unsigned)p < PHASE_COUNT ? phase_names[p] : phase_names[PHASE_Pending];
}

enum phase phase_from_name(const char *name)
{
	return (enum phase)find(phase_names, PHASE_COUNT, name);
}

bool phase_ended(enum phase p)
{
	return p == PHASE_Succeeded || p == PHASE_Failed || p == PHASE_Cancelled;
}

bool phase_may_follow(enum phase from, enum phase to)
{
	return (unsigned)from < PHASE_COUNT && (unsigned)to < PHASE_COUNT && (may_follow[from] & 1u << to);
}

bool phase_may_reach(enum phase from, enum phase to)
{
	if (from == to)
		return true;
	/* The phases are in order: there is no way round. */
	for (int p = (int)from + 1; (unsigned)from < PHASE_COUNT && p < PHASE_COUNT; p++)
		if (phase_may_follow(from, (enum phase)p) && phase_may_reach((enum phase)p, to))
			return true;
	return false;
}

const char *source_state_name(enum source_state s)
{
	return (unsigned)s < SOURCE_STATE_COUNT ? state_names[s] : state_names[SOURCE_None];
}

enum source_state source_state_from_name(const char *name)
{
	return (enum source_state)find(state_names, SOURCE_STATE_COUNT, name);
}
