/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <string.h>

#define MOVES_MAX 160
#define ROWS_MAX 64

/* The row for an input goes elsewhere; a row that is not there is made of one that means nothing any more. */
static void turn(struct machine_move *m, uint8_t from, uint8_t input, uint8_t side, uint8_t to)
{
	struct machine_move *v = m;

	for (; v->side; v++)
		if (v->from == from && v->input == input && v->side & side) {
			v->to = to;
			return;
		}
	*v = (struct machine_move){ from, input, side, to };
}

static struct controller_row *row(struct controller_row *rows, const char *when)
{
	while (rows->when && strcmp(rows->when, when))
		rows++;
	return rows;
}

#define CHANGE(name) static void name(struct machine_move *src, struct machine_move *dst, struct controller_row *rows)
#define UNUSED (void)src, (void)dst, (void)rows

CHANGE(thaw_when_unknown)
{
	UNUSED;
	turn(src, SRC_Committing, INPUT_RecordUnknown, SIDE_DECIDER, SRC_Thawing);
}

CHANGE(thaw_when_lost)
{
	UNUSED;
	turn(src, SRC_Delivering, INPUT_StreamLost, SIDE_DECIDER, SRC_Thawing);
}

CHANGE(thaw_in_doubt)
{
	UNUSED;
	turn(src, SRC_InDoubt, INPUT_StreamLost, SIDE_PARTICIPANT, SRC_Thawing);
}

CHANGE(thaw_at_restart)
{
	UNUSED;
	turn(src, SRC_Idle, INPUT_FoundCommit, SIDE_DECIDER, SRC_Thawing);
}

CHANGE(thaw_sent_at_restart)
{
	UNUSED;
	turn(src, SRC_Idle, INPUT_FoundSent, SIDE_PARTICIPANT, SRC_Thawing);
}

CHANGE(freeze_unnoted)
{
	UNUSED;
	turn(src, SRC_SendingAhead, INPUT_Ok, SIDE_DECIDER, SRC_Freezing);
}

CHANGE(commit_unnoted)
{
	UNUSED;
	turn(src, SRC_Sent, INPUT_Prepared, SIDE_DECIDER, SRC_Committing);
	turn(src, SRC_Idle, INPUT_FoundFreeze, SIDE_DECIDER, SRC_Thawing);
}

CHANGE(commit_told_first)
{
	UNUSED;
	turn(src, SRC_NotingCommit, INPUT_Ok, SIDE_DECIDER, SRC_Delivering);
}

CHANGE(abort_not_thawed)
{
	UNUSED;
	turn(src, SRC_Unknown, INPUT_RecordAbort, SIDE_DECIDER, SRC_Telling);
}

CHANGE(open_when_lost)
{
	UNUSED;
	turn(dst, DST_Prepared, INPUT_StreamLost, SIDE_PARTICIPANT, DST_Opening);
}

CHANGE(kill_when_lost)
{
	UNUSED;
	turn(dst, DST_Prepared, INPUT_StreamLost, SIDE_PARTICIPANT, DST_Killing);
}

CHANGE(open_unrecorded)
{
	UNUSED;
	turn(dst, DST_Restoring, INPUT_Ok, SIDE_DECIDER, DST_Opening);
}

CHANGE(open_refused)
{
	UNUSED;
	turn(dst, DST_Committing, INPUT_RecordAbort, SIDE_DECIDER, DST_Opening);
}

CHANGE(kill_when_unknown)
{
	UNUSED;
	turn(dst, DST_Committing, INPUT_RecordUnknown, SIDE_DECIDER, DST_Killing);
}

CHANGE(free_when_unknown)
{
	UNUSED;
	turn(dst, DST_Committing, INPUT_RecordUnknown, SIDE_DECIDER, DST_Releasing);
}

CHANGE(delete_before_running)
{
	UNUSED;
	row(rows, "waits for the destination to run")->phases = 0;
	row(rows, "stuck")->phases = 0;
}

CHANGE(source_not_deleted)
{
	UNUSED;
	row(rows, "the destination runs")->phases = 0;
	row(rows, "the source pod is terminating")->phases = 0;
}

CHANGE(destination_not_deleted)
{
	UNUSED;
	row(rows, "aborted, a destination pod")->phases = 0;
	row(rows, "aborted, the destination pod is terminating")->phases = 0;
	row(rows, "ended, a destination pod")->phases = 0;
	row(rows, "ended, the destination pod is terminating")->phases = 0;
}

CHANGE(late_pod_stays)
{
	UNUSED;
	row(rows, "ended, a destination pod")->phases = 0;
	row(rows, "ended, the destination pod is terminating")->phases = 0;
}

CHANGE(dry_run_goes_on)
{
	UNUSED;
	row(rows, "dry run, the source's agent looks")->phases = 0;
}

CHANGE(dry_run_unasked)
{
	UNUSED;
	row(rows, "dry run, the source's agent has looked")->not = 0;
}

CHANGE(dry_run_sends)
{
	UNUSED;
	turn(src, SRC_Greeting, INPUT_Rehearsed, SIDE_DECIDER, SRC_SendingAhead);
}

CHANGE(dry_run_begins)
{
	UNUSED;
	row(rows, "dry run, the destination pod runs")->phases = 0;
}

CHANGE(dry_order_stays)
{
	UNUSED;
	row(rows, "aborted, a remote source")->phases = 0;
}

CHANGE(dry_remote_unordered)
{
	UNUSED;
	row(rows, "dry run, a remote source")->phases = 0;
}

CHANGE(dry_remote_awaited)
{
	UNUSED;
	row(rows, "dry run, the source's agent looks")->not &= ~(uint64_t)FACT_Remote;
}

CHANGE(dry_pod_stays)
{
	UNUSED;
	row(rows, "ended, a destination pod of a dry run")->phases = 0;
	row(rows, "ended, the destination pod of a dry run is terminating")->phases = 0;
}

CHANGE(running_told_once)
{
	UNUSED;
	turn(src, SRC_Reporting, INPUT_Failed, SIDE_DECIDER, SRC_Closing);
}

CHANGE(back_unnoted)
{
	UNUSED;
	turn(src, SRC_Delivering, INPUT_NeverRan, SIDE_DECIDER, SRC_Thawing);
	turn(src, SRC_Redialling, INPUT_NeverRan, SIDE_DECIDER, SRC_Thawing);
}

CHANGE(thaw_when_failed)
{
	UNUSED;
	turn(src, SRC_Delivering, INPUT_RunningFailed, SIDE_DECIDER, SRC_NotingBack);
}

CHANGE(denied_once)
{
	UNUSED;
	turn(dst, DST_Denying, INPUT_Ok, SIDE_PARTICIPANT, DST_GivenUp);
	turn(dst, DST_Denying, INPUT_Failed, SIDE_PARTICIPANT, DST_GivenUp);
	turn(dst, DST_Denying, INPUT_StreamLost, SIDE_PARTICIPANT, DST_GivenUp);
}

CHANGE(given_back_stays)
{
	UNUSED;
	row(rows, "given back")->phases = 0;
}

CHANGE(given_back_unordered)
{
	UNUSED;
	row(rows, "given back, a remote source")->phases = 0;
}

CHANGE(rest_forgotten)
{
	UNUSED;
	turn(src, SRC_Delivering, INPUT_Running, SIDE_DECIDER, SRC_NotingRunning);
}

CHANGE(rest_forgotten_at_home)
{
	UNUSED;
	turn(dst, DST_Telling, INPUT_Ok, SIDE_BOTH, DST_Reporting);
}

CHANGE(order_unwritten)
{
	UNUSED;
	row(rows, "the destination may not have heard of the commit")->phases = 0;
}

CHANGE(order_unrecorded)
{
	struct controller_row *r = row(rows, "given back, a remote source");

	UNUSED;
	r->move = MOVE_OrderCommit;
	r->not = FACT_OrderedCommit;
	r->phases = 1u << PHASE_Restoring;
	r->decisions = 1u << DECISION_NONE;
	r->need = FACT_DestinationThere;
}

CHANGE(order_unheard)
{
	UNUSED;
	turn(dst, DST_InDoubt, INPUT_OrderCommit, SIDE_PARTICIPANT, DST_InDoubt);
}

CHANGE(order_once)
{
	UNUSED;
	turn(dst, DST_Staying, INPUT_OrderCommit, SIDE_PARTICIPANT, DST_Staying);
}

CHANGE(order_is_receipt)
{
	struct controller_row *r = row(rows, "the destination's receipt that it runs");

	UNUSED;
	r->need = FACT_OrderedCommit;
}

CHANGE(receipt_unread)
{
	UNUSED;
	row(rows, "the destination's receipt that it runs")->phases = 0;
}

CHANGE(let_go_unordered)
{
	UNUSED;
	row(rows, "the destination may not have heard of the commit")->not |= FACT_Deleting;
}

CHANGE(end_unheard)
{
	UNUSED;
	turn(src, SRC_Redialling, INPUT_RecordEnded, SIDE_DECIDER, SRC_Redialling);
}

CHANGE(thaw_when_silent)
{
	UNUSED;
	turn(src, SRC_Redialling, INPUT_Failed, SIDE_DECIDER, SRC_Thawing);
}

/* --- holes of agents that do not follow the tables --- */

CHANGE(released_early)
{
	UNUSED;
	row(rows, "ended, the source's agent has not told")->phases = 0;
	turn(src, SRC_Undoing, INPUT_RecordGone, SIDE_DECIDER, SRC_Undoing);
}

CHANGE(unknown_for_ever)
{
	UNUSED;
	turn(dst, DST_Unknown, INPUT_Timer, SIDE_DECIDER, DST_Unknown);
}

CHANGE(destination_reports_once)
{
	UNUSED;
	turn(dst, DST_Reporting, INPUT_Failed, SIDE_DECIDER, DST_Noting);
}

const struct mutant mutants[] = {
	{ "no-fence", "the decision can be written twice", false, SW_NO_FENCE, NULL, 0 },
	{ "no-claim", "an aborted restore is started cold", false, SW_NO_CLAIM, NULL, 0 },
	{ "journal-unsynced", "a crash loses the journal", false, SW_JOURNAL_UNSYNCED, NULL, 0 },
	{ "claim-unsynced", "a node that loses power forgets that a restore was begun", false, SW_CLAIM_UNSYNCED, NULL, FOCUS_REMOTE | FOCUS_POWER },
	{ "opening-cold", "what died in the instant of its opening is started cold", false, SW_OPENING_COLD, NULL, FOCUS_CONTAINER },
	{ "kill-clears-claim", "killing twice lets the container start again", false, SW_KILL_CLEARS_CLAIM, NULL, 0 },
	{ "abort-unguarded", "the controller takes Abort for written", false, SW_ABORT_UNGUARDED, NULL, 0 },
	{ "thaw-when-unknown", "thaws when the record does not answer", false, 0, thaw_when_unknown, FOCUS_HOME | FOCUS_API },
	{ "thaw-when-lost", "thaws when the stream is lost behind COMMIT", false, 0, thaw_when_lost, 0 },
	{ "thaw-in-doubt", "a remote source takes its word back", false, 0, thaw_in_doubt, 0 },
	{ "thaw-at-restart", "a restart does not ask the record", false, 0, thaw_at_restart, 0 },
	{ "thaw-sent-at-restart", "a restarted remote source takes its word back", false, 0, thaw_sent_at_restart, 0 },
	{ "freeze-unnoted", "freezes before the journal", false, 0, freeze_unnoted, 0 },
	{ "commit-unnoted", "asks for Commit before the journal", false, 0, commit_unnoted, 0 },
	{ "commit-told-first", "tells COMMIT before it is recorded", false, 0, commit_told_first, 0 },
	{ "abort-not-thawed", "learns of Abort and stays frozen", false, 0, abort_not_thawed, 0 },
	{ "open-when-lost", "opens when the stream is lost", false, 0, open_when_lost, 0 },
	{ "kill-when-lost", "takes PREPARED back when the stream is lost", false, 0, kill_when_lost, 0 },
	{ "open-unrecorded", "opens before the record says Commit", false, 0, open_unrecorded, 0 },
	{ "open-refused", "opens although the record says Abort", false, 0, open_refused, 0 },
	{ "kill-when-unknown", "kills when the record does not answer", false, 0, kill_when_unknown, FOCUS_REMOTE | FOCUS_API },
	{ "free-when-unknown", "tells the source to go on when the record does not answer", false, 0, free_when_unknown, FOCUS_REMOTE | FOCUS_API },
	{ "abort-unrecorded", "the destination tells an abort that is wanted and not recorded", false, SW_ABORT_UNRECORDED, NULL, FOCUS_REMOTE },
	{ "delete-before-running", "the source is deleted at the commit", false, 0, delete_before_running, 0 },
	{ "source-not-deleted", "Succeeded with the source still there", false, 0, source_not_deleted, 0 },
	{ "destination-not-deleted", "Failed with the destination still there", false, 0, destination_not_deleted, 0 },
	{ "late-pod-stays", "a leader that was stopped makes a pod for an ended migration", false, 0, late_pod_stays, FOCUS_LEADER },
	{ "dry-run-goes-on", "a dry run makes a destination pod", false, 0, dry_run_goes_on, 0 },
	{ "dry-run-unasked", "a dry run does not wait for what the destination's agent says", false, 0, dry_run_unasked, 0 },
	{ "dry-run-sends", "a dry run goes on behind WELCOME", false, 0, dry_run_sends, 0 },
	{ "dry-run-begins", "a dry run becomes Transferring, which is where a migration begins", false, 0, dry_run_begins, 0 },
	{ "dry-order-stays", "a dry run does not take back its order to a remote source", false, 0, dry_order_stays, FOCUS_DRY | FOCUS_REMOTE },
	{ "dry-remote-unordered", "a dry run does not order a remote source to look", false, 0, dry_remote_unordered, FOCUS_DRY | FOCUS_REMOTE },
	{ "dry-remote-awaited", "a dry run waits for a remote source to report by itself", false, 0, dry_remote_awaited, FOCUS_DRY | FOCUS_REMOTE },
	{ "dry-pod-stays", "a leader that was stopped makes a pod for a dry run that has ended well", false, 0, dry_pod_stays, FOCUS_DRY | FOCUS_LEADER },
	{ "never-guessed", "\"never ran\" is said of a container that does not answer", false, SW_NEVER_GUESSED, NULL, 0 },
	{ "thaw-when-failed", "thaws when the destination tells that it failed, which is not that it never ran", false, 0, thaw_when_failed, 0 },
	{ "back-unnoted", "thaws what is committed and does not note it", false, 0, back_unnoted, FOCUS_HOME | FOCUS_AGENT | FOCUS_CONTAINER },
	{ "denied-once", "tells once that nothing ran", false, 0, denied_once, FOCUS_HOME | FOCUS_AGENT | FOCUS_CONTAINER },
	{ "given-back-stays", "the controller waits for a destination that gave it back", false, 0, given_back_stays, 0 },
	{ "given-back-unordered", "a remote source is not ordered to go on", false, 0, given_back_unordered, FOCUS_REMOTE | FOCUS_STREAM | FOCUS_CONTAINER },
	{ "rest-forgotten", "PostCopy: the source reports the end before the memory is there", false, 0, rest_forgotten, 0 },
	{ "rest-forgotten-at-home", "PostCopy: the destination does", false, 0, rest_forgotten_at_home, 0 },
	{ "abort-apart", "what is reported Aborted can still be committed", false, SW_ABORT_APART, NULL, 0 },
	{ "order-unwritten", "no order tells of the commit when the pod network is lost", false, 0, order_unwritten, FOCUS_HOME | FOCUS_SEVERED },
	{ "order-unrecorded", "the order to commit is written before the commit is recorded", false, 0, order_unrecorded, FOCUS_HOME | FOCUS_SEVERED },
	{ "order-unheard", "a destination in doubt does not look for an order", false, 0, order_unheard, FOCUS_HOME | FOCUS_SEVERED },
	{ "order-once", "what did not come up is not opened again by an order", false, 0, order_once, FOCUS_HOME | FOCUS_SEVERED | FOCUS_CONTAINER },
	{ "order-is-receipt", "the source is deleted because the destination was ordered to run", false, 0, order_is_receipt, FOCUS_HOME | FOCUS_SEVERED },
	{ "order-starves", "PostCopy: opened by an order, and its memory cannot come", false, SW_ORDER_STARVES, NULL, FOCUS_HOME | FOCUS_SEVERED | FOCUS_LATER },
	{ "let-go-unordered", "a person lets go before the order is written", false, 0, let_go_unordered, FOCUS_HOME | FOCUS_SEVERED | FOCUS_DELETED },
	{ "receipt-unread", "the controller does not look for a receipt", false, 0, receipt_unread, FOCUS_HOME | FOCUS_SEVERED },
	{ "receipt-guessed", "a receipt is given for an order, not for what runs", false, SW_RECEIPT_GUESSED, NULL, FOCUS_HOME | FOCUS_SEVERED },
	{ "receipt-once", "a receipt that was lost is not given again", false, SW_RECEIPT_ONCE, NULL, FOCUS_HOME | FOCUS_SEVERED | FOCUS_API },
	{ "receipt-early", "PostCopy: a receipt is given before the memory is there", false, SW_RECEIPT_EARLY, NULL, FOCUS_HOME | FOCUS_SEVERED | FOCUS_LATER },
	{ "end-unheard", "a source goes on dialling for a migration that has succeeded", false, 0, end_unheard, FOCUS_HOME | FOCUS_SEVERED },
	{ "thaw-when-silent", "thaws when a committed destination cannot be dialled", false, 0, thaw_when_silent, FOCUS_HOME | FOCUS_SEVERED },
	{ "running-told-once", "Running is reported once", false, 0, running_told_once, 0 },
	{ "ready-for-ever", "a destination that does not become Ready keeps its source for ever", false, SW_READY_FOR_EVER, NULL, 0 },
	{ "decide-anew", "a decision is written again each time it is asked for", false, SW_DECIDE_ANEW, NULL, 0 },
	{ "rest-freed", "PostCopy: memory is dropped when it was sent, and cannot be sent again", false, SW_REST_FREED, NULL, 0 },
	{ "abort-anew", "a restarted controller begins the time of its abort anew", false, SW_ABORT_ANEW, NULL, 0 },
	{ "pod-anew", "a restarted controller makes a second destination pod", false, SW_POD_ANEW, NULL, 0 },

	{ "journal-dropped", "the daemon drops the journal of a frozen pod when the migration has ended", true, SW_JOURNAL_DROPPED, NULL,
	  FOCUS_HOME | FOCUS_AGENT },
	{ "running-forgotten", "journal Running is not taken up again", true, SW_RUNNING_FORGOTTEN, NULL, 0 },
	{ "barrier-forgotten", "no worker for a destination at the barrier", true, SW_BARRIER_FORGOTTEN, NULL, 0 },
	{ "abort-without-key", "a restarted remote source cannot follow an order to abort", true, SW_ABORT_WITHOUT_KEY, NULL, 0 },
	{ "late-progress", "a late report of progress overwrites the last word", true, SW_LATE_PROGRESS, NULL, 0 },
	{ "error-stays", "a loss that was reported stays when it is over", true, SW_ERROR_STAYS, NULL, 0 },
	{ "running-once", "the listener is gone after the first RUNNING", true, SW_RUNNING_ONCE, NULL, 0 },
	{ "inspect-first", "a restart needs the source pod to tell a commit", true, SW_INSPECT_FIRST, NULL, 0 },
	{ "refused-lies", "a retried write is taken for not applied", true, SW_REFUSED_LIES, NULL,
	  FOCUS_HOME | FOCUS_API },
	{ "lost-unnoted", "the object of a loss is let go, and the agent does not know the outcome any more", true, SW_LOST_UNNOTED, NULL, FOCUS_HOME | FOCUS_DELETED | FOCUS_STREAM },
	{ "released-early", "the object goes before the source's agent has told", true, 0, released_early,
	  FOCUS_HOME | FOCUS_DELETED | FOCUS_AGENT },
	{ "unknown-for-ever", "a deciding destination does not ask again", true, 0, unknown_for_ever, 0 },
	{ "destination-reports-once", "a deciding destination reports Running once", true, 0, destination_reports_once, 0 },
};
const int mutants_n = (int)(sizeof(mutants) / sizeof(mutants[0]));

/* Makes s the machine as it should be, changed by m (NULL: not). */
void mutant_apply(const struct mutant *m, struct sim *s)
{
	static struct machine_move moves[2][MOVES_MAX];
	static struct controller_row rows[ROWS_MAX];
	static struct machine machines[2];
	const struct machine *const from[2] = { &machine_source, &machine_destination };

	memset(s, 0, sizeof(*s));
	memset(moves, 0, sizeof(moves));
	memset(rows, 0, sizeof(rows));
	memcpy(rows, controller_rows, (size_t)controller_rows_n * sizeof(rows[0]));
	for (int i = 0; i < 2; i++)
		memcpy(moves[i], from[i]->moves, (size_t)from[i]->n_moves * sizeof(moves[i][0]));
	if (m && m->change)
		m->change(moves[0], moves[1], rows);
	for (int i = 0; i < 2; i++) {
		machines[i] = *from[i];
		machines[i].moves = moves[i];
		for (machines[i].n_moves = 0; moves[i][machines[i].n_moves].side;)
			machines[i].n_moves++;
	}
	s->source = &machines[0];
	s->destination = &machines[1];
	s->rows = rows;
	s->n_rows = controller_rows_n;
	s->sw = m ? m->sw : 0;
	s->focus = m ? m->focus : 0;
}
