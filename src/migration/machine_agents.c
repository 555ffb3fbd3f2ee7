/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/machine.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define D SIDE_DECIDER
#define P SIDE_PARTICIPANT
#define B SIDE_BOTH

/* --- the source's agent --- */

static const struct machine_state source_states[SRC_COUNT] = {
#define S(name, deed, at, text) [SRC_##name] = { #name, text, DEED_##deed, at },
	SOURCE_STEP_LIST(S)
#undef S
};

#define R(from, input, side, to) { SRC_##from, INPUT_##input, side, SRC_##to }

static const struct machine_move source_moves[] = {
	R(Idle, Start, B, Inspecting),
	R(Inspecting, Ok, D, Ready),
	R(Inspecting, Ok, P, Dialling),
	R(Inspecting, Failed, B, Telling),
	R(Inspecting, OrderAbort, B, Telling),
	R(Ready, Failed, D, Telling),
	R(Ready, RecordGone, D, Telling),
	R(Ready, Address, D, Dialling),
	R(Ready, OrderAbort, D, Telling),
	R(Dialling, Ok, B, Greeting),
	R(Dialling, Failed, B, Telling),
	R(Dialling, OrderAbort, B, Telling),
	R(Greeting, Welcome, B, SendingAhead),
	/* A dry run has asked all that it was to ask. */
	R(Greeting, Rehearsed, B, Telling),
	R(Greeting, PeerAbort, B, Telling),
	R(Greeting, StreamLost, B, Telling),
	R(Greeting, OrderAbort, B, Telling),
	R(SendingAhead, Ok, B, NotingFreeze),
	R(SendingAhead, Failed, B, Telling),
	R(SendingAhead, PeerAbort, B, Telling),
	R(SendingAhead, StreamLost, B, Telling),
	R(SendingAhead, OrderAbort, B, Telling),
	R(NotingFreeze, Ok, B, Freezing),
	R(NotingFreeze, Failed, B, Telling),
	R(Freezing, Ok, D, Sending),
	R(Freezing, Ok, P, NotingSent),
	R(Freezing, Failed, B, Thawing),
	R(NotingSent, Ok, P, Sending),
	R(NotingSent, Failed, P, Thawing),
	/* With the last byte a participant's word is given. */
	R(Sending, Ok, D, Sent),
	R(Sending, Ok, P, InDoubt),
	R(Sending, Failed, B, Thawing),
	R(Sending, StreamLost, B, Thawing),
	R(Sending, PeerAbort, B, Thawing),
	R(Sending, OrderAbort, B, Thawing),
	R(Sent, Prepared, D, NotingCommit),
	R(Sent, PeerAbort, D, Thawing),
	R(Sent, StreamLost, D, Thawing),
	R(Sent, OrderAbort, D, Thawing),
	R(Sent, Timer, D, Thawing),
	R(NotingCommit, Ok, D, Committing),
	R(NotingCommit, Failed, D, Thawing),
	R(NotingCommit, OrderAbort, D, Thawing),
	R(Committing, RecordCommit, D, Delivering),
	R(Committing, RecordAbort, D, Thawing),
	R(Committing, RecordRefused, D, Thawing),
	R(Committing, RecordUnknown, D, Unknown),
	R(Committing, RecordGone, D, Unknown),
	R(Unknown, RecordCommit, D, Redialling),
	R(Unknown, RecordAbort, D, Thawing),
	R(Unknown, RecordUnknown, D, Unknown),
	R(Unknown, RecordGone, D, Unknown),
	/* No record and no pod: nothing to hold, nobody to tell. */
	R(Unknown, PodGone, D, Forgetting),
	R(Undoing, RecordCommit, D, Redialling),
	R(Undoing, RecordAbort, D, Thawing),
	R(Undoing, RecordUnknown, D, Undoing),
	R(Undoing, PodGone, D, Thawing),
	/* The object is gone, and this agent never asked for Commit: nobody else could. */
	R(Undoing, RecordGone, D, Thawing),
	R(InDoubt, Running, P, Completing),
	R(InDoubt, RunningFailed, P, NotingRunning),
	R(InDoubt, NeverRan, P, Thawing),
	R(InDoubt, PeerAbort, P, Thawing),
	R(InDoubt, OrderAbort, P, Thawing),
	R(InDoubt, StreamLost, P, Asking),
	/* Nothing is left to go back to, or to hold. */
	R(InDoubt, PodGone, P, Forgetting),
	R(Asking, PodGone, P, Forgetting),
	R(Asking, Welcome, P, InDoubt),
	R(Asking, NeverRan, P, Thawing),
	R(Asking, PeerAbort, P, Thawing),
	R(Asking, OrderAbort, P, Thawing),
	R(Asking, StreamLost, P, Asking),
	R(Asking, Failed, P, Asking),
	R(Delivering, Running, D, Completing),
	/* Opened, and it did not come up: the source's memory is all there is, and a person must know. */
	R(Delivering, RunningFailed, D, NotingLost),
	R(Delivering, NeverRan, D, NotingBack),
	R(Delivering, PeerAbort, D, NotingLost),
	R(Delivering, StreamLost, D, Redialling),
	R(Completing, Ok, B, NotingRunning),
	R(Completing, RunningFailed, D, NotingLost),
	R(Completing, RunningFailed, P, NotingRunning),
	R(Completing, StreamLost, D, Redialling),
	R(Completing, StreamLost, P, Rejoining),
	R(Rejoining, Welcome, P, Completing),
	R(Rejoining, PeerAbort, P, Rejoining),
	/* It did run: RUNNING was heard.  Such a word changes nothing any more. */
	R(Rejoining, NeverRan, P, Rejoining),
	R(Rejoining, StreamLost, P, Rejoining),
	R(Rejoining, Failed, P, Rejoining),
	R(Rejoining, PodGone, P, Cleaning),
	R(Redialling, Welcome, D, Delivering),
	R(Redialling, NeverRan, D, NotingBack),
	R(Redialling, PeerAbort, D, NotingLost),
	R(Redialling, StreamLost, D, Redialling),
	R(Redialling, Failed, D, Redialling),
	R(Redialling, Timer, D, NotingLost),
	/* The destination's receipt has come another way, and the source pod is gone: nobody is left to be told. */
	R(Redialling, RecordEnded, D, Cleaning),
	/* The object may go as soon as a person knows: the journal must say that it is committed. */
	R(NotingLost, Ok, D, Lost),
	R(NotingLost, Failed, D, Redialling),
	R(Lost, Timer, D, Redialling),
	R(Lost, PodGone, D, Cleaning),
	/* The record says Commit: only the journal knows that there is nothing left to tell it to. */
	R(NotingBack, Ok, D, Thawing),
	R(NotingBack, Failed, D, NotingBack),
	R(NotingRunning, Ok, D, Reporting),
	R(NotingRunning, Failed, B, NotingRunning),
	R(NotingRunning, Ok, P, Closing),
	R(Reporting, Ok, D, Closing),
	R(Reporting, Failed, D, Reporting),
	R(Reporting, RecordGone, D, Closing),
	R(Closing, Ok, B, Cleaning),
	R(Closing, Failed, B, Cleaning),
	R(Closing, StreamLost, B, Cleaning),
	R(Cleaning, Ok, B, Moved),
	R(Cleaning, Failed, B, Cleaning),
	R(Thawing, Ok, B, Telling),
	R(Thawing, Failed, B, Thawing),
	R(Telling, Ok, D, ReportingAbort),
	R(Telling, Failed, D, ReportingAbort),
	R(Telling, Ok, P, Forgetting),
	R(Telling, Failed, P, Forgetting),
	R(ReportingAbort, Ok, D, Forgetting),
	R(ReportingAbort, Failed, D, ReportingAbort),
	R(ReportingAbort, RecordGone, D, Forgetting),
	R(Forgetting, Ok, B, GivenUp),
	R(Forgetting, Failed, B, Forgetting),
	/* After a restart. */
	/* Given up while no worker ran: the controller waits for the word that nothing is frozen. */
	R(Idle, OrderAbort, D, Telling),
	R(Idle, PodGone, P, Forgetting),
	R(Idle, FoundFreeze, D, Undoing),
	R(Idle, FoundFreeze, P, Thawing),
	R(Idle, FoundSent, P, Asking),
	R(Idle, FoundCommit, D, Unknown),
	R(Idle, FoundLost, D, Redialling),
	R(Idle, FoundBack, D, Thawing),
	R(Idle, FoundRunning, D, Reporting),
	R(Idle, FoundRunning, P, Cleaning),
};
#undef R

const struct machine machine_source = { "source", source_states, source_moves, SRC_COUNT, COUNT(source_moves) };

/* --- the destination's agent --- */

static const struct machine_state destination_states[DST_COUNT] = {
#define S(name, deed, at, text) [DST_##name] = { #name, text, DEED_##deed, at },
	DESTINATION_STEP_LIST(S)
#undef S
};

#define R(from, input, side, to) { DST_##from, INPUT_##input, side, DST_##to }

static const struct machine_move destination_moves[] = {
	R(Listening, Hello, B, Receiving),
	/* Nothing was restored here, so nothing can have been committed; and what is denied must not come true by a second HELLO. */
	R(Listening, HelloAgain, B, Killing),
	R(Listening, PodGone, B, GivenUp),
	R(Receiving, State, B, Restoring),
	R(Receiving, Failed, B, Killing),
	R(Receiving, StreamLost, B, Killing),
	R(Receiving, PeerAbort, B, Killing),
	/*
	 * Heard from the record, whose word is for ever: nothing was opened and nothing will be, by this worker or by another, so the source may go on before anything is killed here.  It stands still
	 * meanwhile.  What fails here and is not recorded is another thing: a worker that comes after a crash may find all of it at the barrier, and commit.
	 */
	R(Receiving, OrderAbort, D, Releasing),
	R(Receiving, PodGone, B, GivenUp),
	R(Restoring, Ok, D, Committing),
	R(Restoring, Ok, P, Prepared),
	R(Restoring, Failed, B, Killing),
	R(Restoring, OrderAbort, D, Releasing),
	R(Restoring, PodGone, B, GivenUp),
	R(Prepared, Commit, P, Opening),
	/* Sealed by the controller when the record said Commit, which is for ever: it cannot come too late, nor twice. */
	R(Prepared, OrderCommit, P, Opening),
	R(Prepared, PeerAbort, P, Killing),
	R(Prepared, StreamLost, P, InDoubt),
	R(Prepared, Failed, P, InDoubt),
	R(Prepared, PodGone, P, GivenUp),
	R(InDoubt, HelloAgain, P, Answering),
	R(InDoubt, OrderCommit, P, Opening),
	R(InDoubt, PodGone, P, GivenUp),
	R(Answering, Commit, P, Opening),
	R(Answering, PeerAbort, P, Killing),
	R(Answering, StreamLost, P, InDoubt),
	R(Answering, Failed, P, InDoubt),
	R(Answering, PodGone, P, GivenUp),
	R(Committing, RecordCommit, D, Opening),
	R(Committing, RecordAbort, D, Releasing),
	R(Committing, OrderAbort, D, Releasing),
	R(Committing, RecordRefused, D, Unknown),
	R(Committing, RecordUnknown, D, Unknown),
	R(Committing, RecordGone, D, Unknown),
	R(Unknown, Timer, D, Committing),
	R(Unknown, OrderAbort, D, Releasing),
	R(Unknown, PodGone, D, GivenUp),
	R(Releasing, Ok, D, Killing),
	R(Releasing, Failed, D, Killing),
	R(Undoing, RecordCommit, D, Opening),
	R(Undoing, RecordAbort, D, Killing),
	R(Undoing, RecordUnknown, D, Undoing),
	R(Undoing, RecordGone, D, Killing),
	R(Undoing, PodGone, D, GivenUp),
	R(Opening, Ok, B, Telling),
	R(Opening, Failed, B, Telling),
	R(Opening, NeverRan, B, Denying),
	/* One of them does not answer.  The source dials again and asks; to a record the last word can be said but once. */
	R(Opening, NoAnswer, P, Telling),
	R(Opening, NoAnswer, D, Opening),
	R(Denying, Ok, D, ReportingNever),
	R(Denying, Failed, D, ReportingNever),
	R(Denying, StreamLost, D, ReportingNever),
	R(Denying, Ok, P, Withdrawn),
	R(Denying, Failed, P, Withdrawn),
	R(Denying, StreamLost, P, Withdrawn),
	R(ReportingNever, Ok, D, Withdrawn),
	R(ReportingNever, Failed, D, ReportingNever),
	R(ReportingNever, RecordGone, D, Withdrawn),
	R(Withdrawn, HelloAgain, B, Denying),
	R(Withdrawn, PodGone, B, GivenUp),
	R(Telling, Ok, B, Completing),
	R(Telling, Failed, D, Completing),
	R(Telling, StreamLost, D, Completing),
	R(Telling, Failed, P, Staying),
	R(Telling, StreamLost, P, Staying),
	R(Completing, Ok, D, Reporting),
	R(Completing, Failed, D, Reporting),
	R(Completing, Ok, P, Staying),
	R(Completing, Failed, P, Staying),
	R(Completing, StreamLost, B, Staying),
	R(Reporting, Ok, D, Staying),
	R(Reporting, Failed, D, Reporting),
	R(Reporting, RecordGone, D, Staying),
	R(Staying, HelloAgain, B, Welcoming),
	/* Like a COMMIT that comes again: what had not come up by then. */
	R(Staying, OrderCommit, P, Opening),
	R(Staying, Ended, B, Noting),
	R(Staying, PodGone, B, Moved),
	/* Opened again: what did not come up in time may have come up since, or be dead for certain by now. */
	R(Welcoming, Commit, P, Opening),
	R(Welcoming, Ok, D, Telling),
	R(Welcoming, PeerAbort, P, Staying),
	R(Welcoming, StreamLost, B, Staying),
	R(Welcoming, PodGone, P, Moved),
	R(Welcoming, Failed, P, Staying),
	R(Noting, Ok, B, Moved),
	R(Noting, Failed, B, Noting),
	R(Killing, Ok, B, Refusing),
	R(Killing, Failed, B, Killing),
	R(Refusing, Ok, D, ReportingAbort),
	R(Refusing, Failed, D, ReportingAbort),
	R(Refusing, Ok, P, GivenUp),
	R(Refusing, Failed, P, GivenUp),
	R(ReportingAbort, Ok, D, GivenUp),
	R(ReportingAbort, Failed, D, GivenUp),
	R(ReportingAbort, RecordGone, D, GivenUp),
	/* After a restart: the monitors say how far it was. */
	R(Idle, FoundWaiting, B, Listening),
	R(Idle, FoundRestoring, P, Killing),
	/* A container may have ended at the barrier after the commit was asked for. */
	R(Idle, FoundRestoring, D, Undoing),
	R(Idle, FoundBarrier, P, InDoubt),
	R(Idle, FoundBarrier, D, Committing),
	/* Perhaps not all of them: opening again is answered by those that run. */
	R(Idle, FoundOpen, B, Opening),
};
#undef R

const struct machine machine_destination = { "destination", destination_states, destination_moves, DST_COUNT, COUNT(destination_moves) };
