/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DECISIONS (DECISION_ABORT + 1)

/* What no controller comes upon, and why. */
static const struct {
	uint16_t phases;
	uint8_t decision;
	const char *why;
} never[] = {
	{ 1u << PHASE_Pending | 1u << PHASE_Preparing, DECISION_COMMIT, "an agent has nothing to commit before Transferring: no address, no order" },
	{ 1u << PHASE_Pending, DECISION_ABORT, "what has not begun is ended without a decision, and no agent works on it" },
	{ 1u << PHASE_Committed | 1u << PHASE_Succeeded, DECISION_NONE, "Committed is written because the decision is Commit, Succeeded behind a decision" },
	{ 1u << PHASE_Committed, DECISION_ABORT, "as above; the decision is written once" },
	{ 1u << PHASE_Cancelled, DECISION_COMMIT, "what is committed and given back has Failed" },
};

static const char *const decision_names[DECISIONS] = { "none", "Commit", "Abort" };

void crashed_source(struct sim *s, const struct world *w)
{
	if (s->crashes)
		s->crashes->source[w->remote][w->source.state]++;
}

void crashed_destination(struct sim *s, const struct world *w)
{
	if (s->crashes)
		s->crashes->destination[!w->remote][w->destination.state]++;
}

void crashed_controller(struct sim *s, const struct controller *c)
{
	if (s->crashes && c->o.exists)
		s->crashes->controller[c->o.phase][c->o.decision]++;
}

void controller_came_upon(struct sim *s, const struct object *o)
{
	if (s->crashes)
		s->crashes->seen[o->phase][o->decision]++;
}

/* Who has no worker crashes too: the daemon that looks after it does. */
static void reach(const struct machine *m, enum side side, bool *reached)
{
	bool more = true;

	reached[0] = true;
	while (more) {
		more = false;
		for (int i = 0; i < m->n_moves; i++)
			if (m->moves[i].side & side && reached[m->moves[i].from] && !reached[m->moves[i].to])
				more = reached[m->moves[i].to] = true;
	}
}

struct tally {
	int states, crashed;
	bool names;
};

static void add(struct tally *t, bool crashed, const char *who, const char *where, const char *what)
{
	t->states++;
	t->crashed += crashed;
	if (!crashed && t->names)
		printf("FAIL no crash of the %s in %s (%s)\n", who, where, what);
}

static void add_agent(struct tally *t, const struct machine *m, enum side side, const uint64_t *crashes)
{
	bool reached[UINT8_MAX] = { false };

	reach(m, side, reached);
	for (int i = 0; i < m->n_states; i++)
		if (reached[i])
			add(t, crashes[i] > 0, m->name, m->states[i].name, side == SIDE_DECIDER ? "decider" : "participant");
}

/* NULL: it may be. */
static const char *why_never(enum phase p, enum decision d)
{
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (never[i].phases & 1u << p && never[i].decision == d)
			return never[i].why;
	return NULL;
}

/* Returns the number of states that are said never to be, and were. */
static int add_controller(struct tally *t, const struct crashes *c)
{
	int wrong = 0;

	for (int p = 0; p < PHASE_COUNT; p++)
		for (int d = 0; d < DECISIONS; d++) {
			if (!why_never((enum phase)p, (enum decision)d)) {
				add(t, c->controller[p][d] > 0, "controller", phase_name((enum phase)p), decision_names[d]);
			} else if (c->seen[p][d]) {
				printf("FAIL the controller came upon %s (%s), which is said never to be: %s\n", phase_name((enum phase)p), decision_names[d], why_never((enum phase)p, (enum decision)d));
				wrong++;
			}
		}
	return wrong;
}

int crashes_print(const struct sim *s, bool complete)
{
	const struct crashes *c = s->crashes;
	struct tally t = { .names = complete };
	int wrong;

	for (int side = 0; side < 2; side++) {
		add_agent(&t, &machine_source, side ? SIDE_PARTICIPANT : SIDE_DECIDER, c->source[side]);
		add_agent(&t, &machine_destination, side ? SIDE_PARTICIPANT : SIDE_DECIDER, c->destination[side]);
	}
	wrong = add_controller(&t, c);
	printf("sim: crashed in %d of %d states\n", t.crashed, t.states);
	return wrong + (complete ? t.states - t.crashed : 0);
}
