/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "sim.h"

static const char *side_name(uint8_t side)
{
	return side == SIDE_DECIDER ? " (decider)" : side == SIDE_PARTICIPANT ? " (participant)" : "";
}

static void draw_machine(const struct machine *m, const char *title)
{
	printf("## %s\n\n```mermaid\nstateDiagram-v2\n    [*] --> %s\n", title, m->states[0].name);
	for (int i = 0; i < m->n_moves; i++)
		printf("    %s --> %s: %s%s\n", m->states[m->moves[i].from].name, m->states[m->moves[i].to].name,
		       input_name((enum input)m->moves[i].input), side_name(m->moves[i].side));
	for (int i = 0; i < m->n_states; i++)
		if (m->states[i].at & AT_END)
			printf("    %s --> [*]\n", m->states[i].name);
	printf("```\n\n| state | does | frozen | word given | committed | |\n|---|---|---|---|---|---|\n");
	for (int i = 0; i < m->n_states; i++) {
		const struct machine_state *s = &m->states[i];

		printf("| %s | %s | %s | %s | %s | %s |\n", s->name, deed_name((enum deed)s->deed), s->at & AT_FROZEN ? "yes" : "", s->at & AT_WORD ? "yes" : "",
		       s->at & AT_COMMITTED ? "yes" : "", s->text);
	}
	printf("\n");
}

static void draw_facts(uint64_t need, uint64_t not)
{
	const char *sep = "";

	for (int i = 0; i < FACT_COUNT; i++)
		if ((need | not) & 1ull << i) {
			printf("%s%s%s", sep, not & 1ull << i ? "not " : "", fact_name(i));
			sep = ", ";
		}
}

static void draw_phases(unsigned phases)
{
	const char *sep = "";

	for (int p = 0; p < PHASE_COUNT; p++)
		if (phases & 1u << p) {
			printf("%s%s", sep, phase_name((enum phase)p));
			sep = " ";
		}
}

static void draw_controller(void)
{
	static const char *const decisions[] = { "", "none", "Commit", "", "Abort", "", "", "any" };

	printf("## The controller\n\nThe first row that matches applies.\n\n| when | phase | decision | facts | does |\n|---|---|---|---|---|\n");
	for (int i = 0; i < controller_rows_n; i++) {
		const struct controller_row *r = &controller_rows[i];
		bool to = r->move == MOVE_Record || r->move == MOVE_End;

		printf("| %s | ", r->when);
		draw_phases(r->phases);
		printf(" | %s | ", decisions[r->decisions & 7]);
		draw_facts(r->need, r->not);
		printf(" | %s%s%s |\n", move_name((enum controller_move)r->move), to ? " " : "", to ? phase_name((enum phase)r->phase) : "");
	}
}

void draw(void)
{
	printf("# The state machine\n\n"
	       "Printed by `make state-machine` from the tables in `src/migration/machine_*.c`; `make sim` fails when they differ. Each agent has a machine: an input leads to\n"
	       "a state, a state says what is done. The *decider* is the agent at home, the *participant* the one in the other cluster. A state whose *word is given* is left\n"
	       "backwards only on the outcome Abort or on NeverRan, a *committed* one only on NeverRan: the destination's last word that nothing ran and nothing will.\n"
	       "After a restart the inputs `Found..` say what the journal or the monitors hold.\n\n");
	draw_machine(&machine_source, "The source's agent");
	draw_machine(&machine_destination, "The destination's agent");
	draw_controller();
}
