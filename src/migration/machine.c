/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/machine.h"

#include <stddef.h>

static const char *const input_names[INPUT_COUNT] = {
#define I(name) #name,
	INPUT_LIST(I)
#undef I
};

static const char *const deed_names[DEED_COUNT] = {
#define A(name) #name,
	DEED_LIST(A)
#undef A
};

const char *input_name(enum input i)
{
	return (unsigned)i < INPUT_COUNT ? input_names[i] : "?";
}

const char *deed_name(enum deed d)
{
	return (unsigned)d < DEED_COUNT ? deed_names[d] : "?";
}

int machine_next(const struct machine *m, uint8_t state, enum input input, enum side side)
{
	for (int i = 0; i < m->n_moves; i++)
		if (m->moves[i].from == state && m->moves[i].input == input && m->moves[i].side & side)
			return m->moves[i].to;
	return -1;
}

/* --- the rules, checked on the table --- */

/* The outcome Abort, however it is heard; or there is no pod left to be in doubt about. */
static bool means_abort(uint8_t input)
{
	return input == INPUT_RecordAbort || input == INPUT_RecordRefused || input == INPUT_PeerAbort || input == INPUT_OrderAbort ||
	       input == INPUT_PodGone;
}

/* The destination cannot run it any more, and never did: whatever was promised or committed, the source is the only one left. */
static bool frees(uint8_t input)
{
	return input == INPUT_NeverRan;
}

static bool found(uint8_t input)
{
	return input >= INPUT_FoundFreeze && input <= INPUT_FoundOpen;
}

static const char *check_move(const struct machine *m, const struct machine_move *v)
{
	const struct machine_state *from = &m->states[v->from], *to = &m->states[v->to];

	if (from->at & AT_END)
		return "nothing follows an end";
	if (from->at & AT_COMMITTED && !(to->at & AT_COMMITTED) && !frees(v->input) && from->deed != DEED_JournalBack)
		return "what is committed is not taken back";
	if (from->at & AT_WORD && !(to->at & (AT_WORD | AT_COMMITTED)) && !means_abort(v->input) && !frees(v->input))
		return "a word is taken back only when the outcome is Abort";
	if (to->deed == DEED_JournalBack && from != to && !frees(v->input))
		return "takes back what is committed, and the destination has not freed it";
	if (!(from->at & AT_FROZEN) && to->at & AT_FROZEN && !found(v->input) &&
	    !(from->deed == DEED_JournalFreeze && to->deed == DEED_Freeze && v->input == INPUT_Ok))
		return "frozen before the journal knows";
	if (from->at & AT_FROZEN && !(to->at & AT_FROZEN) && to->deed != DEED_Thaw && !(to->at & AT_END) && v->input != INPUT_PodGone)
		return "a frozen source is left without a thaw";
	if (to->at & AT_COMMITTED && !(from->at & (AT_COMMITTED | AT_WORD)) && !found(v->input) && v->input != INPUT_RecordCommit)
		return "committed without having asked";
	return NULL;
}

static const char *check_state(const struct machine *m, int s)
{
	bool in = s == 0, out = false;

	if (m->states[s].deed == DEED_Thaw && m->states[s].at & (AT_WORD | AT_COMMITTED))
		return "thawed in spite of its word";
	if (m->states[s].deed == DEED_Open && !(m->states[s].at & AT_COMMITTED))
		return "opened without a commit";
	for (int i = 0; i < m->n_moves; i++) {
		in |= m->moves[i].to == s && m->moves[i].from != s;
		out |= m->moves[i].from == s && m->moves[i].to != s;
	}
	if (!in)
		return "cannot be reached";
	return out || m->states[s].at & AT_END ? NULL : "has no way out";
}

const char *machine_check(const struct machine *m, int *ret_move)
{
	const char *bad;

	for (int i = 0; i < m->n_moves; i++) {
		*ret_move = i;
		bad = check_move(m, &m->moves[i]);
		if (bad)
			return bad;
		for (int k = 0; k < i; k++)
			if (m->moves[k].from == m->moves[i].from && m->moves[k].input == m->moves[i].input && m->moves[k].side & m->moves[i].side)
				return "two rows for one input";
	}
	*ret_move = -1;
	for (int s = 0; s < m->n_states; s++) {
		bad = check_state(m, s);
		if (bad)
			return bad;
	}
	return NULL;
}
