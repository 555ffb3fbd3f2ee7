/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/machine.h"

#include <stddef.h>

#define F(name) FACT_##name
#define IN(p) (1u << PHASE_##p)
#define ENDED (IN(Succeeded) | IN(Failed) | IN(Cancelled))
#define GIVEN_UP (IN(Failed) | IN(Cancelled))
#define ALL ((1u << PHASE_COUNT) - 1)
#define UNDER_WAY (ALL & ~ENDED)
#define MOVING (IN(Transferring) | IN(Freezing) | IN(Restoring))
#define ANY 7u
#define NONE (1u << DECISION_NONE)
#define COMMIT (1u << DECISION_COMMIT)
#define ABORT (1u << DECISION_ABORT)
#define DO(move) MOVE_##move, 0
#define TO(move, phase) MOVE_##move, PHASE_##phase

/* The first row that matches applies. */
const struct controller_row controller_rows[] = {
	/* A leader that was stopped may have made it a moment ago. */
	{ "ended, a destination pod", GIVEN_UP, ANY, F(DestinationThere), F(DestinationDeleting), DO(DeleteDestination) },
	{ "ended, a destination pod of a dry run", IN(Succeeded), ABORT, F(DryRun) | F(DestinationThere), F(DestinationDeleting), DO(DeleteDestination) },
	/* An object whose source may still be frozen stays, or the source's agent would find no outcome when it comes back. */
	{ "ended, the source's agent has not told", ENDED, ANY, F(Finalizer) | F(SourceThere) | F(AgentOwes), F(Remote), DO(Wait) },
	{ "ended, the destination pod is terminating", GIVEN_UP, ANY, F(Finalizer) | F(DestinationThere), 0, DO(Wait) },
	{ "ended, the destination pod of a dry run is terminating", IN(Succeeded), ABORT, F(Finalizer) | F(DryRun) | F(DestinationThere), 0, DO(Wait) },
	{ "ended", ENDED, ANY, F(Finalizer), 0, DO(Release) },
	{ "ended, ttl over", ENDED, ANY, F(Expired), F(Deleting), DO(DeleteObject) },
	{ "ended, nothing to do", ENDED, ANY, 0, 0, DO(Wait) },
	{ "deleted before it began", UNDER_WAY, ANY, F(Deleting), F(Finalizer), DO(Wait) },
	{ "new", UNDER_WAY, ANY, 0, F(Finalizer), DO(AddFinalizer) },

	{ "committed", UNDER_WAY & ~IN(Committed), COMMIT, 0, 0, TO(Record, Committed) },
	/* The destination has said that it never ran, and the source goes on: it ends like an abort. */
	{ "given back, a remote source", IN(Committed), COMMIT, F(GivenBack) | F(SourceThere) | F(Remote), F(OrderedAbort), DO(OrderAbort) },
	{ "given back, a destination pod", IN(Committed), COMMIT, F(GivenBack) | F(DestinationThere), F(DestinationDeleting), DO(DeleteDestination) },
	{ "given back", IN(Committed), COMMIT, F(GivenBack), 0, TO(End, Failed) },
	/* The second way to the destination and back, when nothing is heard over the stream: an order in its pod, and its receipt (docs/architecture.md, "Commit in doubt"). */
	{ "the destination's receipt that it runs", IN(Committed), COMMIT, F(ReceiptSeen), F(SeenRunning), DO(NoteReceipt) },
	/* Before a person lets go: with the object the outcome goes. */
	{ "the destination may not have heard of the commit", IN(Committed), COMMIT, F(Unheard) | F(DestinationThere),
	  F(OrderedCommit) | F(DestinationDeleting) | F(SeenRunning) | F(Remote), DO(OrderCommit) },
	{ "stuck, and a person lets go", IN(Committed), COMMIT, F(Deleting) | F(Stuck) | F(ReportedCommitted), 0, DO(Release) },
	{ "stuck", IN(Committed), COMMIT, F(Stuck), 0, TO(Record, Committed) },
	{ "waits for the destination to run", IN(Committed), COMMIT, 0, F(SeenRunning), TO(Record, Committed) },
	{ "the owner's pod, the destination is not ready", IN(Committed), COMMIT, F(Withheld), F(MayHandOver), TO(Record, Committed) },
	{ "the owner's pod, the destination takes its place", IN(Committed), COMMIT, F(Withheld), 0, DO(HandOver) },
	/* A Service takes up the new address before it gives up the old one, if that is soon. */
	{ "the destination will be ready in a moment", IN(Committed), COMMIT, F(SourceThere) | F(AwaitsReady), F(SourceDeleting), DO(Wait) },
	{ "the destination runs", IN(Committed), COMMIT, F(SourceThere), F(SourceDeleting), DO(DeleteSource) },
	{ "the source pod is terminating", IN(Committed), COMMIT, F(SourceThere), 0, TO(Record, Committed) },
	{ "the source pod is gone", IN(Committed), COMMIT, 0, 0, TO(End, Succeeded) },

	/* Ordered whether or not the order to migrate was seen: a leader that was stopped may have written it a moment ago. */
	{ "aborted, a remote source", UNDER_WAY, ABORT, F(SourceThere) | F(Remote), F(OrderedAbort), DO(OrderAbort) },
	{ "aborted, a destination pod", UNDER_WAY, ABORT, F(DestinationThere), F(DestinationDeleting), DO(DeleteDestination) },
	{ "aborted, waits for the thaw", UNDER_WAY, ABORT, F(MayBeFrozen), F(ThawOver), DO(Wait) },
	{ "aborted, the destination pod is terminating", UNDER_WAY, ABORT, F(DestinationThere), F(GoneOver), DO(Wait) },
	/* An agent that hears of Succeeded first would have nothing more to say.  Of a source in another cluster the destination's tells, which goes with its pod. */
	{ "dry run, the source's agent has not told", IN(Preparing), ABORT, F(DryRun) | F(SourceThere) | F(AgentOwes), F(ThawOver) | F(Remote), DO(Wait) },
	{ "dry run, it can be moved", IN(Preparing), ABORT, F(DryRun) | F(DryRunDone), F(DestinationThere), TO(End, Succeeded) },
	{ "aborted by a person", UNDER_WAY, ABORT, F(Cancel), 0, TO(End, Cancelled) },
	{ "aborted", UNDER_WAY, ABORT, 0, 0, TO(End, Failed) },

	{ "cancelled before it began", IN(Pending), NONE, F(Cancel), 0, TO(End, Cancelled) },
	{ "pending", IN(Pending), NONE, 0, 0, DO(Preflight) },
	{ "cancelled or deleted", UNDER_WAY, NONE, F(Cancel), 0, DO(Abort) },
	{ "the agent gave up", UNDER_WAY, NONE, F(AgentGaveUp), 0, DO(Abort) },
	{ "the source pod is gone, ended or deleted", UNDER_WAY, NONE, F(SourceUnfit), 0, DO(Abort) },
	{ "not committed in time", UNDER_WAY, NONE, F(TimedOut), 0, DO(Abort) },
	{ "the destination pod is lost or in trouble", UNDER_WAY, NONE, F(DestinationUnfit), 0, DO(Abort) },
	{ "nothing is heard of an agent", UNDER_WAY, NONE, F(Silent), 0, DO(Abort) },
	{ "dry run, the source's agent has looked", IN(Preparing), NONE, F(DryRun) | F(SeenReady), F(AsksDestination), DO(Abort) },
	/* At the processes, or it asks the destination's.  One in another cluster is not heard before there is a destination that hears it. */
	{ "dry run, the source's agent looks", IN(Preparing), NONE, F(DryRun), F(SeenReady) | F(Remote), DO(Wait) },
	{ "no destination pod", IN(Preparing), NONE, 0, F(DestinationRecorded), DO(Prepare) },
	{ "the destination pod does not run", IN(Preparing), NONE, 0, F(DestinationRuns), DO(AwaitPod) },
	/* It stays Preparing: an agent that does not know of this (of an older version) is told no address before Transferring, and so cannot take it for a migration. */
	{ "dry run, a remote source", IN(Preparing), NONE, F(DryRun) | F(Remote) | F(AddressRecorded), F(OrderedMigrate), DO(Order) },
	{ "dry run, the destination pod runs", IN(Preparing), NONE, F(DryRun), 0, TO(Record, Preparing) },
	{ "the destination pod runs", IN(Preparing), NONE, 0, 0, TO(Record, Transferring) },
	{ "a remote source", MOVING, NONE, F(Remote), F(OrderedMigrate) | F(OrderedAbort), DO(Order) },
	{ "the source is frozen", IN(Transferring), NONE, F(SeenFreezing), 0, TO(Record, Freezing) },
	{ "everything is sent", IN(Transferring) | IN(Freezing), NONE, F(SeenRestoring), 0, TO(Record, Restoring) },
	{ "nothing to do", UNDER_WAY, ANY, 0, 0, DO(Wait) },
};
const int controller_rows_n = (int)(sizeof(controller_rows) / sizeof(controller_rows[0]));
#undef F

static const char *const move_names[MOVE_COUNT] = {
#define M(name) #name,
	MOVE_LIST(M)
#undef M
};

static const char *const fact_names[FACT_COUNT] = {
#define F(name) #name,
	FACT_LIST(F)
#undef F
};

const char *move_name(enum controller_move m)
{
	return (unsigned)m < MOVE_COUNT ? move_names[m] : "?";
}

const char *fact_name(int at)
{
	return at >= 0 && at < FACT_COUNT ? fact_names[at] : "?";
}

static bool row_is_for(const struct controller_row *r, enum phase phase, enum decision d)
{
	return r->phases & 1u << phase && r->decisions & 1u << d;
}

uint64_t controller_asked(const struct controller_row *rows, int n, enum phase phase, enum decision d)
{
	uint64_t asked = 0;

	for (int i = 0; i < n; i++)
		if (row_is_for(&rows[i], phase, d))
			asked |= rows[i].need | rows[i].not;
	return asked;
}

const struct controller_row *controller_next(const struct controller_row *rows, int n, enum phase phase, enum decision d, uint64_t facts)
{
	for (int i = 0; i < n - 1; i++)
		if (row_is_for(&rows[i], phase, d) && (facts & rows[i].need) == rows[i].need && !(facts & rows[i].not))
			return &rows[i];
	return &rows[n - 1];
}
