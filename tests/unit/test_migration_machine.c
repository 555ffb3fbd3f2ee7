/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "migration/machine.h"

#define MOVES_MAX 160

static void test_rules_hold(void **state)
{
	const struct machine *const all[] = { &machine_source, &machine_destination };

	(void)state;
	for (int i = 0; i < 2; i++) {
		int at;
		const char *bad = machine_check(all[i], &at);

		if (bad)
			fail_msg("%s, row %d: %s", all[i]->name, at, bad);
	}
}

/* The table with one row turned elsewhere: the check must see it. */
static const char *turned(const struct machine *m, uint8_t from, enum input input, enum side side, uint8_t to)
{
	struct machine_move moves[MOVES_MAX];
	struct machine copy = *m;
	int at;

	memcpy(moves, m->moves, (size_t)m->n_moves * sizeof(moves[0]));
	copy.moves = moves;
	for (int i = 0; i < m->n_moves; i++)
		if (moves[i].from == from && moves[i].input == input && moves[i].side & side)
			moves[i].to = to;
	return machine_check(&copy, &at);
}

static void test_rules_are_checked(void **state)
{
	(void)state;
	assert_null(turned(&machine_source, SRC_Idle, INPUT_Timer, SIDE_BOTH, SRC_Moved));
	assert_non_null(turned(&machine_source, SRC_Delivering, INPUT_StreamLost, SIDE_DECIDER, SRC_Thawing));
	assert_non_null(turned(&machine_source, SRC_Committing, INPUT_RecordUnknown, SIDE_DECIDER, SRC_Thawing));
	assert_non_null(turned(&machine_source, SRC_InDoubt, INPUT_StreamLost, SIDE_PARTICIPANT, SRC_Thawing));
	assert_non_null(turned(&machine_source, SRC_SendingAhead, INPUT_Ok, SIDE_BOTH, SRC_Freezing));
	assert_non_null(turned(&machine_source, SRC_NotingCommit, INPUT_Ok, SIDE_DECIDER, SRC_Delivering));
	assert_non_null(turned(&machine_source, SRC_Sending, INPUT_Failed, SIDE_BOTH, SRC_Telling));
	assert_non_null(turned(&machine_destination, DST_Restoring, INPUT_Ok, SIDE_DECIDER, DST_Opening));
	assert_non_null(turned(&machine_destination, DST_Prepared, INPUT_StreamLost, SIDE_PARTICIPANT, DST_Killing));
	assert_non_null(turned(&machine_source, SRC_Delivering, INPUT_RunningFailed, SIDE_DECIDER, SRC_NotingBack));
	assert_non_null(turned(&machine_source, SRC_Lost, INPUT_Timer, SIDE_DECIDER, SRC_Thawing));
	assert_non_null(turned(&machine_destination, DST_Opening, INPUT_Failed, SIDE_BOTH, DST_Killing));
	assert_non_null(turned(&machine_destination, DST_Staying, INPUT_HelloAgain, SIDE_BOTH, DST_Killing));
	assert_non_null(turned(&machine_destination, DST_InDoubt, INPUT_OrderCommit, SIDE_PARTICIPANT, DST_Killing));
	assert_non_null(turned(&machine_source, SRC_Redialling, INPUT_RecordEnded, SIDE_DECIDER, SRC_Thawing));
}

static void test_next(void **state)
{
	(void)state;
	/* An order tells what is decided elsewhere; and before PREPARED there is nothing to open. */
	assert_int_equal(machine_next(&machine_destination, DST_InDoubt, INPUT_OrderCommit, SIDE_PARTICIPANT), DST_Opening);
	for (int s = 0; s < DST_COUNT; s++)
		assert_int_equal(machine_next(&machine_destination, (uint8_t)s, INPUT_OrderCommit, SIDE_DECIDER), -1);
	assert_int_equal(machine_next(&machine_destination, DST_Receiving, INPUT_OrderCommit, SIDE_PARTICIPANT), -1);
	assert_int_equal(machine_next(&machine_destination, DST_Restoring, INPUT_OrderCommit, SIDE_PARTICIPANT), -1);
	assert_int_equal(machine_next(&machine_destination, DST_Withdrawn, INPUT_OrderCommit, SIDE_PARTICIPANT), -1);
	assert_int_equal(machine_next(&machine_source, SRC_Sent, INPUT_Prepared, SIDE_DECIDER), SRC_NotingCommit);
	assert_int_equal(machine_next(&machine_source, SRC_Sent, INPUT_Prepared, SIDE_PARTICIPANT), -1);
	assert_int_equal(machine_next(&machine_source, SRC_Moved, INPUT_OrderAbort, SIDE_DECIDER), -1);
	/* A dry run is over where a migration begins to send. */
	assert_int_equal(machine_next(&machine_source, SRC_Greeting, INPUT_Rehearsed, SIDE_DECIDER), SRC_Telling);
	assert_int_equal(machine_next(&machine_source, SRC_Greeting, INPUT_Rehearsed, SIDE_PARTICIPANT), SRC_Telling);
	for (int s = 0; s < SRC_COUNT; s++)
		assert_true(s == SRC_Greeting || machine_next(&machine_source, (uint8_t)s, INPUT_Rehearsed, SIDE_DECIDER) < 0);
}

/* Each phase that a row records may follow each phase in which it applies, once the agents' steps are seen late. */
static void test_controller_rows(void **state)
{
	(void)state;
	for (int i = 0; i < controller_rows_n; i++) {
		const struct controller_row *r = &controller_rows[i];

		assert_int_equal(r->need & r->not, 0);
		for (int p = PHASE_Preparing; p < PHASE_COUNT; p++) {
			/* Neither is there a decision before the destination is prepared, nor an Abort after the commit. */
			bool cannot_be = (r->decisions == 1u << DECISION_COMMIT && p < PHASE_Transferring) ||
					 (r->decisions == 1u << DECISION_ABORT && p == PHASE_Committed);

			if ((r->move == MOVE_Record || r->move == MOVE_End) && r->phases & 1u << p && p != r->phase && !cannot_be &&
			    !phase_may_follow((enum phase)p, (enum phase)r->phase))
				fail_msg("%s: %s may not follow %s", r->when, phase_name((enum phase)r->phase), phase_name((enum phase)p));
		}
	}
}

/* Are there facts, with these that must be (yes) and must not be (no), with which none of the rows from j up to i applies in this phase and decision? */
static bool passes_by(const struct controller_row *rows, int j, int i, enum phase p, enum decision d, uint64_t yes, uint64_t no)
{
	while (j < i && (!(rows[j].phases & 1u << p) || !(rows[j].decisions & 1u << d) || rows[j].need & no || rows[j].not & yes))
		j++;
	if (j == i)
		return true;
	for (int f = 0; f < FACT_COUNT; f++) {
		uint64_t bit = 1ull << f;

		if ((rows[j].need & bit & ~yes && passes_by(rows, j + 1, i, p, d, yes, no | bit)) ||
		    (rows[j].not & bit & ~no && passes_by(rows, j + 1, i, p, d, yes | bit, no)))
			return true;
	}
	return false;
}

/* In any of its phases and decisions. */
static bool can_apply(const struct controller_row *rows, int i)
{
	for (int p = 0; p < PHASE_COUNT; p++)
		for (int d = DECISION_NONE; d <= DECISION_ABORT; d++)
			if (rows[i].phases & 1u << p && rows[i].decisions & 1u << d &&
			    passes_by(rows, 0, i, (enum phase)p, (enum decision)d, rows[i].need, rows[i].not))
				return true;
	return false;
}

static void test_controller_has_no_dead_row(void **state)
{
	(void)state;
	for (int i = 0; i < controller_rows_n; i++)
		if (!can_apply(controller_rows, i))
			fail_msg("%s: the rows before it leave it nothing", controller_rows[i].when);
}

/* Such a row is seen: behind one that asks for less, and behind two that ask for a fact and for its opposite. */
static void test_dead_rows_are_seen(void **state)
{
	static const struct controller_row rows[] = {
		{ "a", 1u << PHASE_Pending, 7, FACT_Cancel, 0, MOVE_Abort, 0 },
		{ "asks for more", 1u << PHASE_Pending, 7, FACT_Cancel | FACT_Remote, 0, MOVE_Wait, 0 },
		{ "not a", 1u << PHASE_Pending, 7, 0, FACT_Cancel, MOVE_Abort, 0 },
		{ "asks for nothing", 1u << PHASE_Pending, 7, 0, 0, MOVE_Wait, 0 },
		{ "in another phase", 1u << PHASE_Pending | 1u << PHASE_Failed, 7, 0, 0, MOVE_Wait, 0 },
	};
	static const bool can[] = { true, false, true, false, true };

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(can_apply(rows, i), can[i]);
}

static void test_controller_asks_for_each_fact(void **state)
{
	uint64_t asked = 0;

	(void)state;
	for (int p = 0; p < PHASE_COUNT; p++)
		for (int d = DECISION_NONE; d <= DECISION_ABORT; d++)
			asked |= controller_asked(controller_rows, controller_rows_n, (enum phase)p, (enum decision)d);
	for (int f = 0; f < FACT_COUNT; f++)
		if (!(asked & 1ull << f))
			fail_msg("no row asks for %s", fact_name(f));
}

static void test_controller_always_has_a_row(void **state)
{
	const struct controller_row *last = &controller_rows[controller_rows_n - 1];

	(void)state;
	assert_int_equal(last->move, MOVE_Wait);
	assert_int_equal(last->need | last->not, 0);
	assert_ptr_equal(controller_next(controller_rows, controller_rows_n, PHASE_Transferring, DECISION_NONE, FACT_Finalizer), last);
	assert_int_equal(controller_next(controller_rows, controller_rows_n, PHASE_Restoring, DECISION_NONE, FACT_Finalizer | FACT_Cancel)->move, MOVE_Abort);
	assert_int_equal(controller_next(controller_rows, controller_rows_n, PHASE_Restoring, DECISION_COMMIT, FACT_Finalizer | FACT_Cancel)->move, MOVE_Record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_hold),
		cmocka_unit_test(test_rules_are_checked),
		cmocka_unit_test(test_next),
		cmocka_unit_test(test_controller_rows),
		cmocka_unit_test(test_controller_has_no_dead_row),
		cmocka_unit_test(test_dead_rows_are_seen),
		cmocka_unit_test(test_controller_asks_for_each_fact),
		cmocka_unit_test(test_controller_always_has_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
