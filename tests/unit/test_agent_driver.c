/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/destination.h"
#include "agent/driver.h"
#include "agent/source.h"
#include "base/log.h"

#define STATES_MAX 64
#define PATH_MAX_STEPS 64

struct party {
	const struct machine *m;
	const struct deed_row *deeds;
};

static const struct party parties[] = { { &machine_source, source_deeds }, { &machine_destination, destination_deeds } };
static const enum side sides[] = { SIDE_DECIDER, SIDE_PARTICIPANT };

#define EACH(p, side)                                                     \
	for (size_t i_ = 0; i_ < 4; i_++)                                 \
		for (int once_ = 1; once_; once_ = 0)                     \
			for (const struct party *p = &parties[i_ / 2]; p; p = NULL) \
				for (enum side side = sides[i_ % 2]; side; side = (enum side)0)

/* States that can be entered on this side, and by which row each of them first. */
static void reach(const struct party *p, enum side side, int from_row[STATES_MAX])
{
	bool more = true;

	for (int i = 0; i < STATES_MAX; i++)
		from_row[i] = -1;
	while (more) {
		more = false;
		for (int i = 0; i < p->m->n_moves; i++) {
			const struct machine_move *v = &p->m->moves[i];

			if (!(v->side & side) || v->to == 0 || from_row[v->to] >= 0 || (v->from != 0 && from_row[v->from] < 0))
				continue;
			from_row[v->to] = i;
			more = true;
		}
	}
}

/* --- the agents' deeds and the tables know each other --- */

static void every_answer_of_a_deed_has_a_row(void **state)
{
	(void)state;
	EACH(p, side) {
		int from_row[STATES_MAX];

		reach(p, side, from_row);
		for (int s = 1; s < p->m->n_states; s++) {
			const struct deed_row *row = &p->deeds[p->m->states[s].deed];

			if (from_row[s] < 0 || p->m->states[s].at & AT_END)
				continue;
			if (!row->fn || !deed_answers(row, side))
				fail_msg("%s: nobody does what state %s asks for", p->m->name, p->m->states[s].name);
			for (int in = 0; in < INPUT_COUNT; in++)
				if (deed_answers(row, side) & 1ull << in && machine_next(p->m, (uint8_t)s, (enum input)in, side) < 0)
					fail_msg("%s, side %d: in state %s the deed may answer %s, and no row is for that", p->m->name, side,
						 p->m->states[s].name, input_name((enum input)in));
		}
	}
}

/* The rows that only the simulator's machine ever takes would prove nothing of ours. */
static void every_row_can_be_taken(void **state)
{
	(void)state;
	EACH(p, side) {
		int from_row[STATES_MAX];

		reach(p, side, from_row);
		for (int i = 0; i < p->m->n_moves; i++) {
			const struct machine_move *v = &p->m->moves[i];

			if (!(v->side & side) || v->from == 0 || from_row[v->from] < 0 || v->input == INPUT_OrderAbort)
				continue;
			if (!(deed_answers(&p->deeds[p->m->states[v->from].deed], side) & 1ull << v->input))
				fail_msg("%s, side %d: in state %s nothing answers %s", p->m->name, side, p->m->states[v->from].name,
					 input_name((enum input)v->input));
		}
	}
}

/* --- the driver, with deeds that answer what they are told to --- */

struct script {
	struct driver *driver;
	uint8_t states[PATH_MAX_STEPS];         /* in which a deed was done */
	enum input answers[PATH_MAX_STEPS];
	int n_answers, n;
	int moves;
	int order_at;                           /* an order comes when so many deeds are done; -1: never */
	int64_t paused_us;
	jmp_buf out;                            /* where the script ends */
};

static enum input act(void *ctx)
{
	struct script *s = ctx;

	if (s->n == s->n_answers)
		longjmp(s->out, 1);
	s->states[s->n] = s->driver->state;
	return s->answers[s->n++];
}

static bool is_ordered(void *ctx)
{
	const struct script *s = ctx;

	return s->order_at >= 0 && s->n >= s->order_at;
}

static void count_move(void *ctx, uint8_t from, enum input in, uint8_t to)
{
	(void)from;
	(void)in;
	(void)to;
	((struct script *)ctx)->moves++;
}

static void pause_none(void *ctx, int64_t us)
{
	((struct script *)ctx)->paused_us += us;
}

/* Every deed by act(), and may answer all. */
static const struct deed_row *fakes(void)
{
	static struct deed_row rows[DEED_COUNT];

	for (int i = 0; i < DEED_COUNT; i++)
		rows[i] = (struct deed_row){ act, ~0ull, 0, 0 };
	return rows;
}

static struct driver driver_of(const struct party *p, enum side side)
{
	return (struct driver){ .m = p->m, .side = side, .key = "test", .deeds = fakes(), .ordered = is_ordered, .moved = count_move, .pause = pause_none };
}

/* The end that was reached, or -1: the script was over before. */
static int drive(struct driver *d, struct script *s, enum input first)
{
	d->ctx = s;
	s->driver = d;
	return setjmp(s->out) ? -1 : driver_run(d, first);
}

/* Drives from Idle to row `at` by the shortest way that reach() found, and takes it. */
static void take_row(const struct party *p, enum side side, const int *from_row, int at)
{
	struct driver d = driver_of(p, side);
	struct script s = { .order_at = -1 };
	int rows[PATH_MAX_STEPS], n = 0;

	rows[n++] = at;
	while (p->m->moves[rows[n - 1]].from != 0) {
		assert_true(n < PATH_MAX_STEPS);
		rows[n] = from_row[p->m->moves[rows[n - 1]].from];
		n++;
	}
	for (int i = n - 2; i >= 0; i--)
		s.answers[s.n_answers++] = (enum input)p->m->moves[rows[i]].input;
	assert_int_equal(drive(&d, &s, (enum input)p->m->moves[rows[n - 1]].input), p->m->states[p->m->moves[at].to].at & AT_END ? p->m->moves[at].to : -1);
	assert_int_equal(s.n, s.n_answers);
	assert_int_equal(s.moves, n);
	assert_int_equal(d.state, p->m->moves[at].to);
	for (int i = 0; i < s.n; i++)
		assert_int_equal(s.states[i], p->m->moves[rows[n - 1 - i]].to);
}

static void every_row_leads_where_the_table_says(void **state)
{
	(void)state;
	EACH(p, side) {
		int from_row[STATES_MAX], taken = 0;

		reach(p, side, from_row);
		for (int i = 0; i < p->m->n_moves; i++) {
			const struct machine_move *v = &p->m->moves[i];

			if (v->side & side && (v->from == 0 || from_row[v->from] >= 0)) {
				take_row(p, side, from_row, i);
				taken++;
			}
		}
		assert_in_range(taken, 30, p->m->n_moves);
	}
}

/* Never thawed, never opened by something that nobody thought of: the state stays, and its deed is done again, after a pause. */
static void an_input_without_a_row_changes_nothing(void **state)
{
	static const enum input answers[] = { INPUT_Prepared, INPUT_Hello, INPUT_RecordUnknown };
	struct script s = { .n_answers = 3, .order_at = -1 };
	struct driver d = driver_of(&parties[0], SIDE_DECIDER);

	(void)state;
	memcpy(s.answers, answers, sizeof(answers));
	assert_int_equal(drive(&d, &s, INPUT_FoundCommit), -1);
	assert_int_equal(d.state, SRC_Unknown);
	assert_int_equal(s.n, 3);
	assert_true(s.paused_us > 2 * DRIVER_RETRY_US);
	for (int i = 0; i < s.n; i++)
		assert_int_equal(s.states[i], SRC_Unknown);
	assert_int_equal(driver_run(&(struct driver){ .m = &machine_source, .side = SIDE_DECIDER }, INPUT_Prepared), -EINVAL);
}

static uint8_t state_after_order(const struct party *p, enum side side, enum input first, const enum input *answers, int n, int order_at)
{
	struct script s = { .n_answers = n, .order_at = order_at };
	struct driver d = driver_of(p, side);

	memcpy(s.answers, answers, (size_t)n * sizeof(*answers));
	drive(&d, &s, first);
	return d.state;
}

static void an_order_counts_where_the_table_hears_it(void **state)
{
	static const enum input way[] = { INPUT_Ok, INPUT_Address, INPUT_Ok, INPUT_Welcome, INPUT_Ok, INPUT_Ok, INPUT_Ok, INPUT_Ok, INPUT_Prepared, INPUT_Ok,
					  INPUT_RecordCommit };
	const int n = (int)(sizeof(way) / sizeof(way[0]));

	(void)state;
	assert_int_equal(state_after_order(&parties[0], SIDE_DECIDER, INPUT_Start, way, n, -1), SRC_Delivering);
	/* The same way, and an order after each step: before the freeze it is given up, frozen it is thawed. */
	for (int at = 0; at <= n; at++) {
		uint8_t to = state_after_order(&parties[0], SIDE_DECIDER, INPUT_Start, way, at, at);

		if (at == n)
			assert_int_equal(to, SRC_Delivering);           /* committed: not heard any more */
		else if (at == 6)
			assert_int_equal(to, SRC_Freezing);             /* heard a moment later */
		else
			assert_int_equal(to, at < 6 ? SRC_Telling : SRC_Thawing);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_answer_of_a_deed_has_a_row),
		cmocka_unit_test(every_row_can_be_taken),
		cmocka_unit_test(every_row_leads_where_the_table_says),
		cmocka_unit_test(an_input_without_a_row_changes_nothing),
		cmocka_unit_test(an_order_counts_where_the_table_hears_it),
	};

	/* What has no row is said as an error: here it is meant. */
	log_init("test", LOG_ERROR + 1, 2);
	return cmocka_run_group_tests_name("agent driver", tests, NULL, NULL);
}
