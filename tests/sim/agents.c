/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <stddef.h>
#include <string.h>

static bool same_bytes(const void *a, const void *b, size_t n)
{
	return memcmp(a, b, n) == 0;
}

static enum side source_side(const struct world *w)
{
	return w->remote ? SIDE_PARTICIPANT : SIDE_DECIDER;
}

static enum side destination_side(const struct world *w)
{
	return w->remote ? SIDE_DECIDER : SIDE_PARTICIPANT;
}

static bool works(const struct machine *m, const struct agent *a)
{
	return a->up && a->state != 0 && !(m->states[a->state].at & AT_END);
}

static bool heard(struct sim *s, struct world *w, const struct machine *m, struct agent *a, enum side side, enum input in)
{
	int to = machine_next(m, a->state, in, side);

	if (to < 0)
		return false;
	say(s, w, "%s: %s -- %s -> %s", m->name, m->states[a->state].name, input_name(in), m->states[to].name);
	a->state = (uint8_t)to;
	a->done = 0;
	a->in = NO_INPUT;
	return true;
}

/* Most come back at once, some only when everything else has ended. */
static uint8_t away(struct world *w)
{
	return dice(w, 2) ? 0 : (uint8_t)dice(w, 60);
}

/* --- requests to the API server; what is lost on the way and what comes late --- */

static enum input ask(struct sim *s, struct world *w, enum decision d)
{
	if (!fault(w, KIND_API))
		return api_decide(s, w, d);
	switch (dice(w, 4)) {
	case 0:
		api_decide(s, w, d);
		return s->sw & SW_REFUSED_LIES && d == DECISION_COMMIT ? INPUT_RecordRefused : INPUT_RecordUnknown;
	case 1:
		late_add(w, LATE_DECISION, (uint8_t)d, 0);
		return INPUT_RecordUnknown;
	case 2:
		return d == DECISION_COMMIT ? INPUT_RecordRefused : INPUT_RecordUnknown;
	default:
		return INPUT_RecordUnknown;
	}
}

static enum input report(struct sim *s, struct world *w, uint8_t state, uint8_t error)
{
	if (!fault(w, KIND_API))
		return api_state(s, w, state, error);
	switch (dice(w, 3)) {
	case 0:
		api_state(s, w, state, error);
		return INPUT_Failed;
	case 1:
		late_add(w, LATE_STATE, state, error);
		return INPUT_Failed;
	default:
		return INPUT_Failed;
	}
}

/* Reports of progress are not waited for. */
static void progress(struct sim *s, struct world *w, uint8_t state)
{
	if (fault(w, KIND_API)) {
		if (dice(w, 2))
			late_add(w, LATE_PROGRESS, state, 0);
	} else {
		api_state(s, w, state, w->o.error);
	}
}

/* --- the source's agent: deeds --- */

static enum input note(struct sim *s, struct world *w, uint8_t step)
{
	if (fault(w, KIND_NODE))
		return INPUT_Failed;
	w->journal = step;
	if (!(s->sw & SW_JOURNAL_UNSYNCED))
		w->journal_synced = step;
	return INPUT_Ok;
}

static bool listens(struct sim *s, const struct world *w)
{
	return works(s->destination, &w->destination) && w->dst_app != APP_ABSENT;
}

static enum input dial(struct sim *s, struct world *w, uint8_t hello)
{
	int i;

	conn_hang_up(w, true);
	if (w->severed || !listens(s, w) || fault(w, KIND_STREAM))
		return INPUT_Failed;
	i = !w->conn[0].used && w->destination.conn != 0 ? 0 : w->destination.conn == 1 ? 0 : w->destination.conn == 0 || !w->conn[1].used ? 1 : 0;
	w->conn[i] = (struct conn){ .used = 1, .src_open = 1, .dst_open = 1 };
	w->source.conn = (int8_t)i;
	if (hello)
		conn_send(w, true, hello);
	return hello ? NO_INPUT : INPUT_Ok;
}

static enum input freeze(struct sim *s, struct world *w)
{
	if (w->src_app == APP_RUNNING) {
		w->src_app = APP_FROZEN;
		w->thawed = 0;
	}
	w->was_frozen = 1;
	if (!w->remote)
		progress(s, w, SOURCE_Freezing);
	return fault(w, KIND_NODE) ? INPUT_Failed : INPUT_Ok;
}

static enum input thaw(struct world *w)
{
	if (fault(w, KIND_NODE))
		return INPUT_Failed;
	if (w->src_app == APP_FROZEN) {
		w->src_app = APP_RUNNING;
		w->thawed = 1;
		w->lived++;
	}
	return INPUT_Ok;
}

static enum input tell(struct world *w, bool from_source, uint8_t frame)
{
	return conn_send(w, from_source, frame) ? INPUT_Ok : INPUT_StreamLost;
}

static enum input say_and_close(struct world *w, bool from_source, uint8_t frame)
{
	conn_send(w, from_source, frame);
	conn_hang_up(w, from_source);
	return INPUT_Ok;
}

static enum input send_state(struct sim *s, struct world *w)
{
	enum input in = w->src_app == APP_DEAD ? INPUT_Failed : tell(w, true, FRAME_STATE);

	if (in == INPUT_Ok)
		w->conn[w->source.conn].lived = w->lived;
	if (in == INPUT_Ok && !w->remote)
		progress(s, w, SOURCE_Restoring);
	return in;
}

static enum input send_rest(struct sim *s, struct world *w)
{
	if (!w->later)
		return INPUT_Ok;
	if (w->rest_freed)
		return NO_INPUT;
	w->rest_freed = !!(s->sw & SW_REST_FREED);
	return tell(w, true, FRAME_REST) == INPUT_Ok ? NO_INPUT : INPUT_StreamLost;
}

static enum input source_deed(struct sim *s, struct world *w, uint8_t deed)
{
	switch (deed) {
	case DEED_Inspect:
		return w->src_app == APP_DEAD || fault(w, KIND_NODE) ? INPUT_Failed : INPUT_Ok;
	case DEED_ReportReady:
		return report(s, w, SOURCE_Ready, 0) == INPUT_Ok ? NO_INPUT : INPUT_Failed;
	case DEED_Dial:
		return dial(s, w, FRAME_NONE);
	case DEED_Redial:
		if (!w->remote && !w->src.there && w->o.exists && w->o.phase == PHASE_Succeeded)
			return INPUT_RecordEnded;
		return dial(s, w, FRAME_AGAIN);
	case DEED_Hello:
		return tell(w, true, FRAME_HELLO) == INPUT_Ok ? NO_INPUT : INPUT_StreamLost;
	case DEED_SendAhead:
		return fault(w, KIND_NODE) ? INPUT_Failed : fault(w, KIND_STREAM) ? INPUT_StreamLost : INPUT_Ok;
	case DEED_JournalFreeze:
		return note(s, w, NOTED_FREEZE);
	case DEED_JournalSent:
		return note(s, w, NOTED_SENT);
	case DEED_JournalCommit:
		return note(s, w, NOTED_COMMIT);
	case DEED_JournalLost:
		return s->sw & SW_LOST_UNNOTED ? INPUT_Ok : note(s, w, NOTED_LOST);
	case DEED_JournalBack:
		return note(s, w, NOTED_BACK);
	case DEED_JournalRunning:
		return note(s, w, NOTED_RUNNING);
	case DEED_JournalRemove:
		return note(s, w, NOTED_NOTHING);
	case DEED_Freeze:
		return freeze(s, w);
	case DEED_SendState:
		return send_state(s, w);
	case DEED_RecordCommit:
		return ask(s, w, DECISION_COMMIT);
	case DEED_RecordAbort:
		return ask(s, w, DECISION_ABORT);
	case DEED_SendCommit:
		return tell(w, true, FRAME_COMMIT) == INPUT_Ok ? NO_INPUT : INPUT_StreamLost;
	case DEED_SendRest:
		return send_rest(s, w);
	case DEED_ReportLost:
		report(s, w, SOURCE_Committed, 1);
		return NO_INPUT;
	case DEED_ReportRunning:
		return report(s, w, SOURCE_Running, 0);
	case DEED_SendEnded:
		return say_and_close(w, true, FRAME_ENDED);
	case DEED_SendAbort:
		return say_and_close(w, true, w->source.rehearsed ? FRAME_REHEARSED : FRAME_ABORT);
	case DEED_Thaw:
		return thaw(w);
	case DEED_ReportAborted:
		return report(s, w, SOURCE_Aborted, w->journal == NOTED_BACK ? 1 : w->source.follows ? GIVES_UP | FOLLOWS : w->source.rehearsed ? GIVES_UP | REHEARSED : GIVES_UP);
	default:
		return NO_INPUT;
	}
}

/* --- the source's agent: its daemon --- */

/* No containers any more; who is at home looks only when the record is gone, too. */
static bool source_pod_gone(const struct world *w)
{
	return !w->src.there && (w->remote || !w->o.exists);
}

static bool source_found(struct sim *s, struct world *w)
{
	static const uint8_t found[] = { [NOTED_FREEZE] = INPUT_FoundFreeze, [NOTED_SENT] = INPUT_FoundSent, [NOTED_COMMIT] = INPUT_FoundCommit, [NOTED_LOST] = INPUT_FoundLost,
					 [NOTED_BACK] = INPUT_FoundBack, [NOTED_RUNNING] = INPUT_FoundRunning };

	if (w->journal == NOTED_RUNNING && s->sw & SW_RUNNING_FORGOTTEN)
		return false;
	if (s->sw & SW_INSPECT_FIRST && w->src_app == APP_DEAD)
		return false;
	/* The key to dial with is in the order to migrate; who only thaws needs none. */
	if (w->remote && s->sw & SW_ABORT_WITHOUT_KEY && w->order_view != ORDER_MIGRATES)
		return false;
	w->source.state = 0;
	w->source.started = 1;
	w->source.told = w->source.follows = w->source.rehearsed = 0;
	if (source_pod_gone(w) && heard(s, w, s->source, &w->source, source_side(w), INPUT_PodGone))
		return true;
	return heard(s, w, s->source, &w->source, source_side(w), (enum input)found[w->journal]);
}

static bool told_to_give_up(const struct world *w)
{
	const struct object *v = &w->source_view;

	if (w->remote)
		return w->order_view == ORDER_ABORTS;
	return v->decision == DECISION_ABORT || phase_ended((enum phase)v->phase);
}

static bool source_fresh(struct sim *s, struct world *w)
{
	const struct object *v = &w->source_view;
	bool wanted = w->remote ? w->order_view == ORDER_MIGRATES : v->exists && v->phase >= PHASE_Preparing && !told_to_give_up(w);

	/* A worker that crashed before the freeze is not started again: its daemon gives the migration up. */
	bool crashed = w->source.started && w->source.state == 0;

	if (!w->remote && (crashed || (told_to_give_up(w) && v->state >= SOURCE_Ready)) && v->state < SOURCE_Running && v->exists && w->src.there) {
		w->source.state = w->source.follows = w->source.rehearsed = 0;
		return heard(s, w, s->source, &w->source, SIDE_DECIDER, INPUT_OrderAbort);
	}
	if (!wanted || w->source.started)
		return false;
	w->source.state = 0;
	w->source.started = 1;
	w->source.told = w->source.follows = w->source.rehearsed = 0;
	return heard(s, w, s->source, &w->source, source_side(w), INPUT_Start);
}

bool source_daemon(struct sim *s, struct world *w)
{
	bool sees = false;

	if (!w->source.up && w->source.away) {
		w->source.away--;
		return true;
	}
	if (!w->source.up) {
		w->source = (struct agent){ .up = 1, .in = NO_INPUT, .conn = -1 };
		say(s, w, "source: the agent starts");
		return true;
	}
	if (!w->remote && !same_bytes(&w->source_view, &w->o, sizeof(w->o))) {
		w->source_view = w->o;
		sees = true;
	}
	if (works(s->source, &w->source)) {
		if (source_pod_gone(w) && heard(s, w, s->source, &w->source, source_side(w), INPUT_PodGone))
			return true;
		if (w->source.told || !told_to_give_up(w))
			return sees;
		w->source.told = 1;
		say(s, w, "source: told to give up");
		return true;
	}
	if (s->sw & SW_JOURNAL_DROPPED && !w->remote && w->journal && phase_ended((enum phase)w->source_view.phase) && w->source_view.exists) {
		w->journal = w->journal_synced = NOTED_NOTHING;
		say(s, w, "source: the migration has ended, the journal is removed");
		return true;
	}
	if (w->journal)
		return source_found(s, w) || sees;
	return source_fresh(s, w) || sees;
}

/* --- the source's agent: a step of its worker --- */

static bool source_hears(struct sim *s, struct world *w)
{
	static const uint8_t inputs[FRAME_COUNT] = { [FRAME_WELCOME] = INPUT_Welcome, [FRAME_PREPARED] = INPUT_Prepared, [FRAME_RUNNING] = INPUT_Running,
						     [FRAME_RUNNING_FAILED] = INPUT_RunningFailed, [FRAME_NEVER_RAN] = INPUT_NeverRan, [FRAME_ABORT] = INPUT_PeerAbort,
						     [FRAME_COMPLETE] = INPUT_Ok, [FRAME_COMPLETE_FAILED] = INPUT_RunningFailed };
	bool lost;
	uint8_t f = conn_take(w, true, &lost);

	if (lost)
		return heard(s, w, s->source, &w->source, source_side(w), INPUT_StreamLost) || lost;
	if (f == FRAME_NONE)
		return false;
	say(s, w, "source: hears %s", frame_name(f));
	if (f == FRAME_WELCOME && w->dry)
		w->source.rehearsed = heard(s, w, s->source, &w->source, source_side(w), INPUT_Rehearsed);
	else
		heard(s, w, s->source, &w->source, source_side(w), (enum input)inputs[f]);
	return true;
}

/* What an agent that crashes loses, and what the other one hears of it: what it knows, its connection, and the words under way on it. */
struct mortal {
	struct agent source, destination;
	struct conn conn[2];
};

static struct mortal mortal_of(const struct world *w)
{
	struct mortal m;

	memset(&m, 0, sizeof(m));
	m.source = w->source;
	m.destination = w->destination;
	memcpy(m.conn, w->conn, sizeof(m.conn));
	return m;
}

static void put_mortal(struct world *w, const struct mortal *m)
{
	w->source = m->source;
	w->destination = m->destination;
	memcpy(w->conn, m->conn, sizeof(w->conn));
}

static bool on_stream(uint8_t deed)
{
	return deed == DEED_Dial || deed == DEED_Redial || deed == DEED_Hello || deed == DEED_SendAhead || deed == DEED_SendState || deed == DEED_SendCommit || deed == DEED_SendEnded ||
	       deed == DEED_SendAbort || deed == DEED_Receive || deed == DEED_Answer || deed == DEED_SendPrepared || deed == DEED_SendRunning ||
	       deed == DEED_SendRest || deed == DEED_TakeRest || deed == DEED_SendNeverRan;
}

static bool listening(uint8_t deed)
{
	return deed == DEED_Listen || deed == DEED_AwaitOutcome || deed == DEED_ListenAgain || deed == DEED_Stay;
}

typedef enum input deed_fn(struct sim *s, struct world *w, uint8_t deed);

/*
 * It crashed right behind its deed, before it noted so, and does it again: what it knew and its connection are as before (words on the stream are said once, on a connection of their
 * own), what is durable is as the first time left it.  Nothing may change, and it hears and says the same.
 */
static void crash_and_do_again(struct sim *s, struct world *w, struct agent *a, uint8_t deed, const struct mortal *before, deed_fn *fn)
{
	struct durable was, is;
	struct mortal said = mortal_of(w), again;

	durable_of(w, &was);
	put_mortal(w, before);
	a->in = (uint8_t)fn(s, w, deed);
	durable_of(w, &is);
	again = mortal_of(w);
	if (!durable_same(&was, &is))
		violate(s, "a step done twice is not what it is done once");
	else if (!same_bytes(&said, &again, sizeof(said)))
		violate(s, "a step done twice hears or says something else");
}

static void do_deed(struct sim *s, struct world *w, struct agent *a, uint8_t deed, deed_fn *fn)
{
	int32_t faults = w->faults;
	struct mortal before;

	a->done = 1;
	before = mortal_of(w);
	a->in = (uint8_t)fn(s, w, deed);
	if (deed != DEED_Wait && !listening(deed))
		say(s, w, "  %s%s%s", deed_name((enum deed)deed), a->in == NO_INPUT ? "" : ": ", a->in == NO_INPUT ? "" : input_name((enum input)a->in));
	/* A restore that is under way is not done yet; a connection that was cut is gone. */
	if (w->settling || dice(w, 16) || (deed == DEED_Restore && a->in == NO_INPUT) || (on_stream(deed) && faults != w->faults))
		return;
	/* A first time that went wrong may have done it or not: what comes after is judged by a time that went well. */
	if (faults != w->faults) {
		faults = w->faults;
		w->faults = 0;
		put_mortal(w, &before);
		a->in = (uint8_t)fn(s, w, deed);
	}
	w->faults = 0;
	crash_and_do_again(s, w, a, deed, &before, fn);
	w->faults = faults;
}

bool source_run(struct sim *s, struct world *w)
{
	struct agent *a = &w->source;

	if (!works(s->source, a))
		return false;
	if (a->told && heard(s, w, s->source, a, source_side(w), INPUT_OrderAbort)) {
		a->follows = 1;
		return true;
	}
	if (!a->done) {
		do_deed(s, w, a, s->source->states[a->state].deed, source_deed);
		return true;
	}
	if (a->in != NO_INPUT) {
		enum input in = (enum input)a->in;

		a->in = NO_INPUT;
		return heard(s, w, s->source, a, source_side(w), in);
	}
	if (w->source_view.has_ip && heard(s, w, s->source, a, source_side(w), INPUT_Address))
		return true;
	return source_hears(s, w);
}

bool source_timer(struct sim *s, struct world *w)
{
	return works(s->source, &w->source) && w->source.done && heard(s, w, s->source, &w->source, source_side(w), INPUT_Timer);
}

void source_crash(struct sim *s, struct world *w, bool daemon)
{
	struct agent *a = &w->source;

	if (!a->up || (!daemon && !works(s->source, a)))
		return;
	crashed_source(s, w);
	say(s, w, "source: the %s crashes in %s%s", daemon ? "agent" : "worker", s->source->states[a->state].name, a->done ? ", deed done" : "");
	conn_hang_up(w, true);
	w->journal = w->journal_synced;
	*a = (struct agent){ .up = !daemon, .started = !daemon && a->started, .in = NO_INPUT, .conn = -1, .away = away(w) };
	memset(&w->source_view, 0, daemon ? sizeof(w->source_view) : 0);
}

/* --- the destination's agent --- */

static enum input restore(struct sim *s, struct world *w)
{
	if (w->dst_app == APP_BARRIER)
		return INPUT_Ok;
	if (w->dst_app != APP_WAITING && w->dst_app != APP_RESTORING)
		return INPUT_Failed;
	claim_write(s, w, WORD_USED);
	if (w->dst_app == APP_WAITING && !w->settling && dice(w, 4) == 0)
		w->dst_app = APP_RESTORING;
	else
		w->dst_app = fault(w, KIND_CONTAINER) ? APP_DEAD : APP_BARRIER;
	return w->dst_app == APP_BARRIER ? INPUT_Ok : w->dst_app == APP_DEAD ? INPUT_Failed : NO_INPUT;
}

/* Whether it answers or not, a container that was not opened and is dead stays so: its claim is used. One that does not answer may still open. */
static bool never_ran(struct sim *s, struct world *w)
{
	if (s->sw & SW_NEVER_GUESSED && w->dst_app == APP_BARRIER)
		return true;
	return (w->dst_app == APP_DEAD || w->dst_app == APP_REFUSED) && w->claim == WORD_USED;
}

/* Its monitor is stopped: the word to open waits for it. */
static bool does_not_answer(struct world *w)
{
	return w->dst_app == APP_BARRIER && fault(w, KIND_CONTAINER);
}

void open_container(struct sim *s, struct world *w)
{
	if (w->lived_received != w->lived)
		violate(s, "opened with a state that is not the last");
	claim_write(s, w, WORD_OPENED);
	w->dst_app = APP_OPEN;
	w->opened = 1;
}

/* Its monitor has written that it opens, and ends before it does. */
static void lose_container(struct sim *s, struct world *w)
{
	claim_write(s, w, WORD_OPENING);
	w->dst_app = APP_DEAD;
	w->dst_died = w->dst_lost = 1;
	say(s, w, "the destination's container dies in the instant in which it is opened");
}

static enum input open_barrier(struct sim *s, struct world *w)
{
	if (does_not_answer(w)) {
		w->destination.failed = 1;
		late_add(w, LATE_OPEN, 0, 0);
		return never_ran(s, w) ? INPUT_NeverRan : INPUT_NoAnswer;
	}
	if (w->dst_app == APP_BARRIER && fault(w, KIND_CONTAINER))
		lose_container(s, w);
	if (w->dst_app == APP_BARRIER)
		open_container(s, w);
	w->destination.failed = w->dst_app != APP_OPEN;
	return w->dst_app == APP_OPEN ? INPUT_Ok : never_ran(s, w) ? INPUT_NeverRan : INPUT_Failed;
}

static enum input kill_restored(struct sim *s, struct world *w)
{
	if (w->dst_app == APP_WAITING || w->dst_app == APP_RESTORING || w->dst_app == APP_BARRIER) {
		claim_write(s, w, WORD_USED);
		w->dst_app = APP_DEAD;
	} else if (s->sw & SW_KILL_CLEARS_CLAIM && w->dst_app == APP_DEAD) {
		claim_write(s, w, WORD_NONE);
	}
	return INPUT_Ok;
}

/* PostCopy.  What has all, or has lost it, says so again to who asks again. */
static enum input take_rest(struct world *w)
{
	struct agent *a = &w->destination;

	if (!w->later || a->failed)
		return INPUT_Ok;
	if (!w->filled && !w->dst_died)
		return a->conn < 0 ? INPUT_StreamLost : NO_INPUT;
	a->failed = !w->filled;
	if (tell(w, false, a->failed ? FRAME_COMPLETE_FAILED : FRAME_COMPLETE) != INPUT_Ok && !w->remote)
		return INPUT_StreamLost;
	return a->failed ? INPUT_Failed : INPUT_Ok;
}

/* Nobody is left who could bring its memory: the filler kills what waits for it, and the kubelet starts it anew. */
static void starve(struct sim *s, struct world *w)
{
	if (w->by_order)
		violate(s, "opened by an order, and its memory cannot come");
	w->dst_app = APP_DEAD;
	w->dst_died = 1;
	say(s, w, "destination: its memory is lost, the container is killed");
}

static bool lacks(const struct world *w)
{
	return w->later && w->dst_app == APP_OPEN && !w->filled && !w->dst_died;
}

static bool starves(struct sim *s, struct world *w)
{
	if (!lacks(w) || (w->src_app != APP_DEAD && !w->severed))
		return false;
	starve(s, w);
	return true;
}

static enum input destination_deed(struct sim *s, struct world *w, uint8_t deed)
{
	switch (deed) {
	case DEED_Receive:
		w->noted = 1;
		if (w->remote)
			progress(s, w, SOURCE_Freezing);
		w->welcomed = 1;
		return tell(w, false, FRAME_WELCOME) == INPUT_Ok ? NO_INPUT : INPUT_StreamLost;
	case DEED_Answer:
		if (tell(w, false, FRAME_WELCOME) != INPUT_Ok)
			return INPUT_StreamLost;
		return w->remote ? INPUT_Ok : NO_INPUT;
	case DEED_Restore:
		if (w->remote && w->dst_app == APP_WAITING)
			progress(s, w, SOURCE_Restoring);
		return restore(s, w);
	case DEED_SendPrepared:
		return tell(w, false, FRAME_PREPARED) == INPUT_Ok ? NO_INPUT : INPUT_StreamLost;
	case DEED_RecordCommit:
		return ask(s, w, DECISION_COMMIT);
	case DEED_RecordAbort:
		return ask(s, w, DECISION_ABORT);
	case DEED_Open:
		return open_barrier(s, w);
	case DEED_SendRunning:
		return tell(w, false, w->destination.failed ? FRAME_RUNNING_FAILED : FRAME_RUNNING);
	case DEED_SendNeverRan:
		return say_and_close(w, false, FRAME_NEVER_RAN);
	case DEED_TakeRest:
		return take_rest(w);
	case DEED_ReportRunning:
		return report(s, w, SOURCE_Running, w->destination.failed);
	case DEED_Kill:
		return kill_restored(s, w);
	case DEED_SendAbort:
		return say_and_close(w, false, FRAME_ABORT);
	case DEED_ReportAborted:
		return report(s, w, SOURCE_Aborted, w->destination.state == DST_ReportingNever ? 1 : w->destination.rehearsed ? GIVES_UP | REHEARSED : GIVES_UP);
	case DEED_NoteTold:
		w->told = 1;
		return INPUT_Ok;
	default:
		return NO_INPUT;
	}
}

static void end_destination(struct world *w)
{
	conn_hang_up(w, false);
	for (int i = 0; i < 2; i++)
		w->conn[i].dst_open = 0;
}

/* Its watch of the record.  The source is told from there, whatever the worker is doing, and the worker hears of it behind what it does. */
static bool hears_abort(struct sim *s, struct world *w)
{
	struct agent *a = &w->destination;
	bool aborted = w->o.exists && (w->o.decision == DECISION_ABORT || (s->sw & SW_ABORT_UNRECORDED && w->o.cancel));

	if (!aborted || a->told || !works(s->destination, a) || machine_next(s->destination, a->state, INPUT_OrderAbort, destination_side(w)) < 0)
		return false;
	a->told = 1;
	say(s, w, "destination: hears that the record says Abort, and tells");
	say_and_close(w, false, FRAME_ABORT);
	return true;
}

bool destination_daemon(struct sim *s, struct world *w)
{
	static const uint8_t found[APP_REFUSED + 1] = { [APP_WAITING] = INPUT_FoundWaiting, [APP_RESTORING] = INPUT_FoundRestoring,
							[APP_BARRIER] = INPUT_FoundBarrier, [APP_OPEN] = INPUT_FoundOpen };
	struct agent *a = &w->destination;

	if (starves(s, w))
		return true;
	if (!a->up && a->away) {
		a->away--;
		return true;
	}
	if (!a->up) {
		*a = (struct agent){ .up = 1, .in = NO_INPUT, .conn = -1 };
		say(s, w, "destination: the agent starts");
		return true;
	}
	if (hears_abort(s, w))
		return true;
	if (works(s->destination, a)) {
		if (w->dst_app != APP_ABSENT)
			return false;
		if (!heard(s, w, s->destination, a, destination_side(w), INPUT_PodGone))
			return false;
		end_destination(w);
		return true;
	}
	if (a->state) {
		end_destination(w);
		a->state = 0;
	}
	/* One that runs and has no note came here in the past. */
	if (!found[w->dst_app] || (w->dst_app == APP_OPEN && (w->told || !w->noted)))
		return false;
	if (w->dst_app != APP_WAITING && s->sw & SW_BARRIER_FORGOTTEN)
		return false;
	a->failed = a->told = 0;
	/* Its source was greeted before, and does not come a second time. */
	if (w->dst_app == APP_WAITING && w->noted)
		return heard(s, w, s->destination, a, destination_side(w), INPUT_FoundRestoring);
	return heard(s, w, s->destination, a, destination_side(w), (enum input)found[w->dst_app]);
}

static bool refuse(struct sim *s, struct world *w)
{
	say(s, w, "destination: refuses a second migration");
	say_and_close(w, false, FRAME_ABORT);
	return true;
}

/* What is in the pod's order file.  PostCopy: who opened without the source's memory would only starve. */
static bool destination_ordered(struct sim *s, struct world *w)
{
	struct agent *a = &w->destination;
	bool whole = !w->later || w->filled;

	if (w->order_file != ORDER_COMMITS)
		return false;
	if (s->sw & SW_RECEIPT_GUESSED && !w->receipt_there) {
		w->receipt_there = 1;
		return true;
	}
	if ((a->state == DST_Prepared || a->state == DST_InDoubt) && (whole || s->sw & SW_ORDER_STARVES) && heard(s, w, s->destination, a, destination_side(w), INPUT_OrderCommit)) {
		w->by_order = 1;
		return true;
	}
	if (a->state == DST_Staying && a->failed && heard(s, w, s->destination, a, destination_side(w), INPUT_OrderCommit))
		return true;
	if (a->state != DST_Staying || w->receipt_there || w->receipt_home || a->failed || (!whole && !(s->sw & SW_RECEIPT_EARLY)) || (w->receipts && s->sw & SW_RECEIPT_ONCE))
		return false;
	w->receipts = 1;
	w->receipt_there = !fault(w, KIND_API);
	say(s, w, "destination: gives its receipt%s", w->receipt_there ? "" : ", which is lost");
	return true;
}

static bool destination_hears(struct sim *s, struct world *w)
{
	static const uint8_t inputs[FRAME_COUNT] = { [FRAME_HELLO] = INPUT_Hello, [FRAME_AGAIN] = INPUT_HelloAgain, [FRAME_STATE] = INPUT_State,
						     [FRAME_COMMIT] = INPUT_Commit, [FRAME_ABORT] = INPUT_PeerAbort, [FRAME_REHEARSED] = INPUT_PeerAbort,
						     [FRAME_ENDED] = INPUT_Ended };
	enum side side = destination_side(w);
	struct agent *a = &w->destination;
	bool lost;
	uint8_t f = conn_take(w, false, &lost);

	if (lost)
		return heard(s, w, s->destination, &w->destination, side, INPUT_StreamLost) || lost;
	if (f == FRAME_NONE)
		return false;
	say(s, w, "destination: hears %s", frame_name(f));
	if (f == FRAME_REST) {
		w->filled |= w->src_app == APP_FROZEN && lacks(w);
		a->done = a->state != DST_Completing;
		return true;
	}
	/* The cause is kept as long as this worker lives; who comes after it has its own. */
	a->rehearsed |= f == FRAME_REHEARSED;
	if (f == FRAME_STATE)
		w->lived_received = w->conn[w->destination.conn].lived;
	if (heard(s, w, s->destination, &w->destination, side, (enum input)inputs[f]))
		return true;
	if (f == FRAME_HELLO)
		return refuse(s, w);
	/* Nothing to say to that yet. */
	if (f == FRAME_AGAIN)
		conn_hang_up(w, false);
	return true;
}

/* One connection at a time, the next ones wait; which of them comes first is chance. */
static bool accept_one(struct world *w)
{
	int first = (int)dice(w, 2);

	for (int k = 0; k < 2; k++) {
		int i = (first + k) % 2;

		if (w->conn[i].used && w->conn[i].dst_open) {
			w->destination.conn = (int8_t)i;
			return true;
		}
	}
	return false;
}

bool destination_run(struct sim *s, struct world *w)
{
	struct agent *a = &w->destination;
	uint8_t deed = s->destination->states[a->state].deed;

	if (!works(s->destination, a))
		return false;
	if (a->told && heard(s, w, s->destination, a, destination_side(w), INPUT_OrderAbort))
		return true;
	if (!a->done) {
		do_deed(s, w, a, deed, destination_deed);
		return true;
	}
	if (a->in != NO_INPUT) {
		enum input in = (enum input)a->in;

		a->in = NO_INPUT;
		if (!heard(s, w, s->destination, a, destination_side(w), in))
			return false;
		if (s->destination->states[a->state].at & AT_END)
			end_destination(w);
		return true;
	}
	if (deed == DEED_Restore) {
		a->in = (uint8_t)restore(s, w);
		return true;
	}
	if (a->state == DST_Staying && s->sw & SW_RUNNING_ONCE) {
		end_destination(w);
		w->told = 1;
		a->state = DST_Moved;
		return true;
	}
	if (deed == DEED_TakeRest && w->dst_died) {
		a->done = 0;
		return true;
	}
	if (destination_ordered(s, w))
		return true;
	if (listening(deed) && a->conn < 0 && !accept_one(w))
		return false;
	return destination_hears(s, w);
}

bool destination_timer(struct sim *s, struct world *w)
{
	return works(s->destination, &w->destination) && w->destination.done &&
	       heard(s, w, s->destination, &w->destination, destination_side(w), INPUT_Timer);
}

void destination_crash(struct sim *s, struct world *w, bool daemon)
{
	struct agent *a = &w->destination;

	if (!a->up || (!daemon && !works(s->destination, a)))
		return;
	if (lacks(w))
		starve(s, w);
	crashed_destination(s, w);
	say(s, w, "destination: the %s crashes in %s%s", daemon ? "agent" : "worker", s->destination->states[a->state].name, a->done ? ", deed done" : "");
	end_destination(w);
	w->dst_crashed = 1;
	*a = (struct agent){ .up = !daemon, .in = NO_INPUT, .conn = -1, .away = away(w) };
}
