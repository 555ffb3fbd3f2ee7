/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_MACHINE_H
#define MIGRATION_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "migration/phase.h"

/*
 * Who does what next, as tables: one for the source's agent, one for the destination's agent, one for the controller.  Pure: an input (what came, what was
 * seen, how the last act ended) leads to a state, a state says what is to be done (its act).  No clock, no socket, no file; the agents, the controller and the
 * simulator (tests/sim) bring those.  docs/state-machine.md is printed from here.
 *
 * What holds everywhere:
 *  - status.decision is written once, by compare-and-swap at the API server; who asks for Commit alone may commit: the agent at home (the decider).
 *  - FROZEN is entered only by way of the journal, so that a restart knows of it.
 *  - A state of WORD is left backwards only on the outcome Abort or on NeverRan, one of COMMITTED on NeverRan alone.
 *  - NeverRan is the destination's last word: no container was opened there, and none can be any more.  That is true for ever once it is true, whatever the record says,
 *    and so the source may go on after it, also after the commit.
 *  - Every act may be done twice: after a restart it is.
 */

/* The decider is the agent at home; the participant, in the other cluster, has no access to the record and waits for the outcome. */
enum side { SIDE_DECIDER = 1, SIDE_PARTICIPANT = 2, SIDE_BOTH = 3 };

/* I(name): what an agent's machine hears. */
#define INPUT_LIST(I)                                                                                            \
	/* how the act of the state ended */                                                                      \
	I(Ok) I(Failed) I(NoAnswer)                                                                                \
	/* the record's answers; Refused: certainly not applied; Unknown: perhaps applied; Gone: no such object; Ended: Succeeded */ \
	I(RecordCommit) I(RecordAbort) I(RecordRefused) I(RecordUnknown) I(RecordGone) I(RecordEnded)              \
	/* the stream; Rehearsed: welcomed, and it is a dry run */                                                \
	I(Hello) I(HelloAgain) I(Welcome) I(Rehearsed) I(State) I(Prepared) I(Commit) I(Running) I(RunningFailed) I(NeverRan) I(PeerAbort) I(Ended) I(StreamLost) \
	/* the node and the controller's orders */                                                                \
	I(Start) I(Address) I(OrderAbort) I(OrderCommit) I(PodGone) I(Timer)                                      \
	/* found at a restart: the journal's step, the monitor's state */                                         \
	I(FoundFreeze) I(FoundSent) I(FoundCommit) I(FoundLost) I(FoundBack) I(FoundRunning) I(FoundWaiting) I(FoundRestoring) I(FoundBarrier) I(FoundOpen)

enum input {
#define I(name) INPUT_##name,
	INPUT_LIST(I)
#undef I
	INPUT_COUNT
};

/* A(name): what is to be done. */
#define DEED_LIST(A)                                                                                     \
	A(None) A(Wait) A(Inspect) A(ReportReady) A(Dial) A(Hello) A(SendAhead) A(JournalFreeze) A(Freeze) A(JournalSent)    \
	A(SendState) A(JournalCommit) A(JournalLost) A(JournalBack) A(RecordCommit) A(RecordAbort) A(SendCommit) A(Redial) A(ReportLost)      \
	A(JournalRunning) A(ReportRunning) A(SendEnded) A(JournalRemove) A(Thaw) A(SendAbort) A(ReportAborted)  \
	A(Listen) A(Receive) A(Restore) A(SendPrepared) A(AwaitOutcome) A(ListenAgain) A(Answer) A(Pause) A(Open) A(SendRunning) A(SendNeverRan) A(Stay) A(Kill) A(NoteTold) \
	A(SendRest) A(TakeRest)

enum deed {
#define A(name) DEED_##name,
	DEED_LIST(A)
#undef A
	DEED_COUNT
};

enum {
	AT_FROZEN = 1,          /* source: its containers stand still, or may */
	AT_WORD = 2,            /* has given its word: goes back only when the outcome is Abort */
	AT_COMMITTED = 4,       /* the outcome is Commit: only forward */
	AT_END = 8,             /* the worker ends here */
};

struct machine_state {
	const char *name, *text;
	uint8_t deed, at;
};

struct machine_move {
	uint8_t from, input, side, to;
};

struct machine {
	const char *name;
	const struct machine_state *states;
	const struct machine_move *moves;
	int n_states, n_moves;
};

/* S(name, deed, at, what a person reads). */
#define SOURCE_STEP_LIST(S)                                                                              \
	S(Idle, None, 0, "no worker")                                                                     \
	S(Inspecting, Inspect, 0, "can CRIU dump these processes?")                                       \
	S(Ready, ReportReady, 0, "waits for the destination's address")                                   \
	S(Dialling, Dial, 0, "connects")                                                                  \
	S(Greeting, Hello, 0, "HELLO is sent")                                                            \
	S(SendingAhead, SendAhead, 0, "starts CRIU here and there, sends memory ahead while the pod runs")  \
	S(NotingFreeze, JournalFreeze, 0, "journal: Freeze")                                              \
	S(Freezing, Freeze, AT_FROZEN, "freezes")                                                         \
	S(NotingSent, JournalSent, AT_FROZEN, "journal: Sent")                                            \
	S(Sending, SendState, AT_FROZEN, "everything is sent")                                            \
	S(Sent, Wait, AT_FROZEN, "waits for PREPARED")                                                    \
	S(NotingCommit, JournalCommit, AT_FROZEN, "journal: Commit")                                      \
	S(Committing, RecordCommit, AT_FROZEN | AT_WORD, "asks the record for Commit")                    \
	S(Unknown, RecordAbort, AT_FROZEN | AT_WORD, "makes the record decide")                           \
	S(Undoing, RecordAbort, AT_FROZEN, "never asked for Commit: records Abort")                       \
	S(InDoubt, Wait, AT_FROZEN | AT_WORD, "all sent: waits for the outcome")                          \
	S(Asking, Redial, AT_FROZEN | AT_WORD, "dials again to learn the outcome")                        \
	S(Delivering, SendCommit, AT_FROZEN | AT_COMMITTED, "tells COMMIT")                               \
	S(Redialling, Redial, AT_FROZEN | AT_COMMITTED, "dials again to tell COMMIT")                     \
	S(Completing, SendRest, AT_FROZEN | AT_COMMITTED, "it runs there; with PostCopy, until its memory is complete")     \
	S(Rejoining, Redial, AT_FROZEN | AT_COMMITTED, "it runs there, its memory is not complete: dials again")            \
	S(NotingLost, JournalLost, AT_FROZEN | AT_COMMITTED, "journal: Lost")                             \
	S(Lost, ReportLost, AT_FROZEN | AT_COMMITTED, "the destination does not answer: a person is told") \
	S(NotingBack, JournalBack, AT_FROZEN | AT_COMMITTED, "journal: Back, since the destination never ran")  \
	S(NotingRunning, JournalRunning, AT_FROZEN | AT_COMMITTED, "journal: Running")                    \
	S(Reporting, ReportRunning, AT_FROZEN | AT_COMMITTED, "reports Running until it is recorded")     \
	S(Closing, SendEnded, AT_FROZEN | AT_COMMITTED, "ends the stream in order")                       \
	S(Cleaning, JournalRemove, AT_FROZEN | AT_COMMITTED, "forgets")                                   \
	S(Moved, None, AT_COMMITTED | AT_END, "stays frozen until it is deleted")                         \
	S(Thawing, Thaw, 0, "thaws")                                                                      \
	S(Telling, SendAbort, 0, "tells the destination")                                                 \
	S(ReportingAbort, ReportAborted, 0, "reports Aborted")                                            \
	S(Forgetting, JournalRemove, 0, "forgets")                                                        \
	S(GivenUp, None, AT_END, "runs as before")

enum source_step {
#define S(name, deed, at, text) SRC_##name,
	SOURCE_STEP_LIST(S)
#undef S
	SRC_COUNT
};

#define DESTINATION_STEP_LIST(S)                                                                         \
	S(Idle, None, 0, "no worker")                                                                     \
	S(Listening, Listen, 0, "waits for a source")                                                     \
	S(Receiving, Receive, 0, "takes the state in")                                                \
	S(Restoring, Restore, 0, "restores up to the barrier")                                            \
	S(Prepared, SendPrepared, AT_WORD, "tells PREPARED, waits for COMMIT or the order")                            \
	S(InDoubt, AwaitOutcome, AT_WORD, "the stream is lost: waits to be dialled again, or for the order")     \
	S(Answering, Answer, AT_WORD, "dialled again: waits for COMMIT")                             \
	S(Committing, RecordCommit, AT_WORD, "asks the record for Commit")                                \
	S(Unknown, Pause, AT_WORD, "the record did not answer: asks again in a while")                    \
	S(Releasing, SendAbort, 0, "the record says Abort: the source goes on, whatever is still to be killed") \
	S(Undoing, RecordAbort, 0, "not all containers are at the barrier any more: records Abort")        \
	S(Opening, Open, AT_COMMITTED, "opens the barriers")                                              \
	S(Telling, SendRunning, AT_COMMITTED, "tells RUNNING")                                            \
	S(Completing, TakeRest, AT_COMMITTED, "with PostCopy, until its memory is complete")              \
	S(Reporting, ReportRunning, AT_COMMITTED, "reports Running until it is recorded")                 \
	S(Staying, Stay, AT_COMMITTED, "the source may have missed RUNNING")                            \
	S(Welcoming, Answer, AT_COMMITTED, "dialled again after the opening")                        \
	S(Noting, NoteTold, AT_COMMITTED, "notes that the source knows")                                  \
	S(Moved, None, AT_COMMITTED | AT_END, "runs")                                                     \
	S(Denying, SendNeverRan, 0, "tells that nothing ran and nothing will")                            \
	S(ReportingNever, ReportAborted, 0, "reports Aborted until it is recorded")                       \
	S(Withdrawn, ListenAgain, 0, "the source may have missed it")                                     \
	S(Killing, Kill, 0, "kills what was restored")                                                    \
	S(Refusing, SendAbort, 0, "tells the source")                                                     \
	S(ReportingAbort, ReportAborted, 0, "reports Aborted")                                            \
	S(GivenUp, None, AT_END, "holds nothing")

enum destination_step_id {
#define S(name, deed, at, text) DST_##name,
	DESTINATION_STEP_LIST(S)
#undef S
	DST_COUNT
};

extern const struct machine machine_source, machine_destination;

/* The state that follows (the same one: its deed is done again), -1 when the input means nothing there. */
int machine_next(const struct machine *m, uint8_t state, enum input input, enum side side);
const char *input_name(enum input i);
const char *deed_name(enum deed d);

/*
 * Checks the rules above on the table itself. Returns NULL when they hold, else what does not; *ret_move: the row, -1 when it is about a state.
 */
const char *machine_check(const struct machine *m, int *ret_move);

/* --- the controller: facts of what was seen, first row that matches --- */

#define FACT_LIST(F)                                                                                             \
	F(Finalizer) F(Deleting) F(Cancel) F(Expired)                                                             \
	F(AgentGaveUp) F(SourceUnfit) F(TimedOut) F(DestinationUnfit) F(Silent)                                   \
	F(DestinationRecorded) F(DestinationRuns) F(Remote) F(OrderedMigrate) F(OrderedAbort)                     \
	F(DryRun) F(AsksDestination) F(AddressRecorded) F(DryRunDone) F(SeenReady) F(SeenFreezing) F(SeenRestoring) F(SeenRunning) F(GivenBack) F(Stuck) F(ReportedCommitted)                             \
	/* committed, and perhaps not heard: by the order and by the receipt, which do not need the stream */ \
	F(Unheard) F(OrderedCommit) F(ReceiptSeen)                                                                \
	F(Withheld) F(MayHandOver) F(AwaitsReady)                                                                                \
	F(SourceThere) F(SourceDeleting) F(DestinationThere) F(DestinationDeleting) F(MayBeFrozen) F(AgentOwes) F(ThawOver) F(GoneOver)

enum {
#define F(name) FACT_AT_##name,
	FACT_LIST(F)
#undef F
	FACT_COUNT
};
enum fact {
#define F(name) FACT_##name = 1ull << FACT_AT_##name,
	FACT_LIST(F)
#undef F
};

enum decision { DECISION_NONE, DECISION_COMMIT, DECISION_ABORT };

#define MOVE_LIST(M)                                                                                      \
	M(Wait) M(AddFinalizer) M(Preflight) M(Prepare) M(AwaitPod) M(Record) M(Order) M(Abort) M(OrderAbort) \
	M(OrderCommit) M(NoteReceipt) M(DeleteDestination) M(HandOver) M(DeleteSource) M(End) M(Release) M(DeleteObject)

enum controller_move {
#define M(name) MOVE_##name,
	MOVE_LIST(M)
#undef M
	MOVE_COUNT
};

struct controller_row {
	const char *when;
	uint16_t phases;        /* 1 << PHASE_x */
	uint8_t decisions;      /* 1 << DECISION_x */
	uint64_t need, not;     /* facts that must be, facts that must not be */
	uint8_t move, phase;    /* phase: of Record and End */
};

extern const struct controller_row controller_rows[];
extern const int controller_rows_n;

/* The row that applies; there always is one. */
const struct controller_row *controller_next(const struct controller_row *rows, int n, enum phase phase, enum decision d, uint64_t facts);
/* The facts that the first n rows ask about in this phase and decision. */
uint64_t controller_asked(const struct controller_row *rows, int n, enum phase phase, enum decision d);
const char *move_name(enum controller_move m);
const char *fact_name(int at);

#endif
