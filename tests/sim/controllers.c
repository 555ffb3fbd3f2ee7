/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <stddef.h>
#include <string.h>

/* The clock's unit has no name; what matters is that a limit is longer than any sequence of events without a jump. */
#define LIMIT 1000
#define TIMEOUT 3000

bool controller_refresh(struct world *w, int i, unsigned which)
{
	struct controller *c = &w->c[i];
	const struct {
		void *to;
		const void *from;
		size_t size;
	} parts[] = { { &c->o, &w->o, sizeof(c->o) }, { &c->src, &w->src, sizeof(c->src) }, { &c->dst, &w->dst, sizeof(c->dst) } };

	/* A step is done with what was seen when it was decided. */
	if (c->acting || !c->up || (w->slow & 1u << which && dice(w, 32)) || !memcmp(parts[which].to, parts[which].from, parts[which].size))
		return false;
	memcpy(parts[which].to, parts[which].from, parts[which].size);
	return true;
}

void controller_lead(struct sim *s, struct world *w, int i)
{
	struct controller *c = &w->c[i];

	*c = (struct controller){ .up = 1, .leads = 1, .epoch = ++w->epoch, .o = w->o, .src = w->src, .dst = w->dst };
	say(s, w, "controller %d: leads, epoch %d", i, c->epoch);
}

static bool over(const struct world *w, int32_t since, int32_t limit)
{
	return w->now - since >= limit;
}

/* Whether the pod is there: a watch that has it may be behind, one that has it not is not believed. */
static void add_pods(const struct controller *c, const struct world *w, uint64_t *f)
{
	const struct pod *src = c->src.there ? &c->src : &w->src, *dst = c->dst.there ? &c->dst : &w->dst;

	*f |= src->there ? FACT_SourceThere : 0;
	*f |= src->there && src->deleting ? FACT_SourceDeleting : 0;
	/* A dry run has no order to abort: it takes its own back. */
	*f |= src->order == ORDER_MIGRATES ? FACT_OrderedMigrate : w->dry || src->order == ORDER_ABORTS ? FACT_OrderedAbort : 0;
	*f |= !src->there || src->deleting ? FACT_SourceUnfit : 0;
	*f |= dst->there ? FACT_DestinationThere : 0;
	*f |= dst->there && dst->deleting ? FACT_DestinationDeleting : 0;
	*f |= dst->order == ORDER_COMMITS ? FACT_OrderedCommit : 0;
	*f |= c->o.recorded && (!dst->there || w->dst_app == APP_DEAD || w->dst_app == APP_REFUSED) ? FACT_DestinationUnfit : 0;
	*f |= dst->there && w->dst_app != APP_ABSENT ? FACT_DestinationRuns : 0;
}

static void add_source_state(const struct object *o, uint64_t *f)
{
	bool frozen = o->state == SOURCE_Freezing || o->state == SOURCE_Restoring || o->state == SOURCE_Committed;

	*f |= o->error || o->state == SOURCE_Aborted ? FACT_AgentGaveUp : 0;
	*f |= o->state == SOURCE_Aborted ? FACT_GivenBack : 0;
	*f |= o->state == SOURCE_Ready && !o->error ? FACT_SeenReady : 0;
	*f |= o->state == SOURCE_Freezing ? FACT_SeenFreezing : 0;
	*f |= o->state == SOURCE_Restoring ? FACT_SeenRestoring : 0;
	*f |= (o->state == SOURCE_Running && !o->error) || o->receipt ? FACT_SeenRunning : 0;
	*f |= o->state >= SOURCE_Committed ? FACT_ReportedCommitted : 0;
	*f |= frozen && *f & FACT_SourceThere ? FACT_MayBeFrozen : 0;
	*f |= o->state >= SOURCE_Ready && o->state < SOURCE_Running ? FACT_AgentOwes : 0;
}

/* As seen_final_cause: what the agent saw from near counts for more than a destination pod that was seen to be in trouble from afar. */
bool dry_done(const struct object *o)
{
	return o->cause == CAUSE_DRY ? o->error != 1 : o->error == REHEARSED && o->cause != CAUSE_OTHER;
}

static uint64_t facts_of(const struct sim *s, const struct controller *c, const struct world *w)
{
	const struct object *o = &c->o;
	uint64_t f = 0;
	bool silent = (o->phase == PHASE_Preparing && !w->remote && o->state == SOURCE_None && over(w, o->t_preparing, LIMIT)) ||
		      ((o->phase == PHASE_Transferring || (w->dry && o->has_ip)) && o->state <= SOURCE_Ready && over(w, o->t_transferring, LIMIT));

	f |= o->finalizer ? FACT_Finalizer : 0;
	f |= o->deleting ? FACT_Deleting : 0;
	f |= (o->decision == DECISION_ABORT ? o->by_person : o->cancel || o->deleting) ? FACT_Cancel : 0;
	f |= w->expires && phase_ended((enum phase)o->phase) ? FACT_Expired : 0;
	f |= over(w, o->t_preparing, TIMEOUT) ? FACT_TimedOut : 0;
	f |= silent ? FACT_Silent : 0;
	f |= o->recorded ? FACT_DestinationRecorded : 0;
	f |= w->remote ? FACT_Remote : 0;
	f |= w->dry ? FACT_DryRun : 0;
	f |= w->dry == DRY_DESTINATION ? FACT_AsksDestination : 0;
	f |= o->has_ip ? FACT_AddressRecorded : 0;
	f |= dry_done(o) ? FACT_DryRunDone : 0;
	f |= w->served && (s->sw & SW_READY_FOR_EVER || !over(w, o->t_committed, LIMIT / 4)) ? FACT_AwaitsReady : 0;
	f |= over(w, o->t_abort, LIMIT) ? FACT_ThawOver : 0;
	f |= over(w, o->t_abort, 2 * LIMIT) ? FACT_GoneOver : 0;
	add_pods(c, w, &f);
	add_source_state(o, &f);
	f |= w->receipt_home && !o->receipt ? FACT_ReceiptSeen : 0;
	f |= ((o->deleting && o->error) || over(w, o->t_committed, LIMIT / 2)) && o->state != SOURCE_Completing && o->state != SOURCE_Running ? FACT_Unheard : 0;
	if (!(f & FACT_SeenRunning) && (o->error || !(f & FACT_DestinationThere) || over(w, o->t_committed, LIMIT)))
		f |= FACT_Stuck;
	return f;
}

bool controller_decide(struct sim *s, struct world *w, int i)
{
	struct controller *c = &w->c[i];

	if (!c->up || !c->leads || c->acting || c->stopped || !c->o.exists)
		return false;
	controller_came_upon(s, &c->o);
	c->facts = facts_of(s, c, w);
	c->row = controller_next(s->rows, s->n_rows, (enum phase)c->o.phase, (enum decision)c->o.decision, c->facts);
	if (c->row->move == MOVE_Wait || c->row->move == MOVE_AwaitPod)
		return false;
	/* An object that a later leader has written to is not ours to touch. */
	if (c->o.epoch > c->epoch) {
		c->leads = 0;
		return true;
	}
	if (c->row->move == MOVE_Record && c->o.phase == c->row->phase && (c->o.has_ip || c->row->phase != PHASE_Preparing) && c->o.stuck == (c->facts & FACT_Stuck && c->row->phase == PHASE_Committed))
		return false;
	c->acting = 1;
	return true;
}

/* A write that the server refuses when the object is not the one that was read. */
static bool guarded(struct sim *s, struct world *w, struct controller *c)
{
	if (w->o.exists && c->o.rv == w->o.rv && !fault(w, KIND_API))
		return true;
	say(s, w, "  conflict");
	c->o = w->o;
	return false;
}

static void write_phase(struct sim *s, struct world *w, struct controller *c, uint8_t phase)
{
	uint8_t stuck = c->facts & FACT_Stuck && phase == PHASE_Committed;
	bool address = c->row->move == MOVE_Record && phase <= PHASE_Transferring;

	if (c->o.phase != phase && !phase_may_follow((enum phase)c->o.phase, (enum phase)phase)) {
		violate(s, "a phase follows that may not");
		return;
	}
	if (!guarded(s, w, c))
		return;
	if (w->o.phase != phase) {
		int32_t *t = phase == PHASE_Preparing ? &w->o.t_preparing : phase == PHASE_Transferring ? &w->o.t_transferring :
			     phase == PHASE_Committed ? &w->o.t_committed : NULL;

		if (t)
			*t = w->now;
	}
	/* A dry run has no phase that begins with it. */
	if (address && phase == PHASE_Preparing && !w->o.has_ip)
		w->o.t_transferring = w->now;
	w->o.phase = phase;
	w->o.stuck = stuck;
	w->o.epoch = c->epoch;
	w->o.has_ip |= address;
	if (phase == PHASE_Failed || phase == PHASE_Cancelled)
		w->o.not_known = !!(c->facts & FACT_MayBeFrozen);
	api_touch(w);
}

static uint8_t cause_of(const struct controller *c)
{
	if (c->row->need & FACT_DryRun || (c->row->need & FACT_AgentGaveUp && c->o.error == REHEARSED))
		return CAUSE_DRY;
	return c->row->need & FACT_DestinationUnfit ? CAUSE_UNFIT : CAUSE_OTHER;
}

static void write_abort(struct sim *s, struct world *w, struct controller *c)
{
	if (s->sw & SW_ABORT_ANEW && w->o.decision == DECISION_ABORT) {
		w->o.t_abort = w->now;
		return;
	}
	if (s->sw & SW_ABORT_UNGUARDED) {
		if (w->o.decision == DECISION_NONE && !fault(w, KIND_API))
			w->o.decision = DECISION_ABORT;
		w->o.phase = PHASE_Failed;
		w->o.epoch = c->epoch;
		api_touch(w);
		return;
	}
	if (!guarded(s, w, c) || api_decide(s, w, DECISION_ABORT) != INPUT_RecordAbort)
		return;
	w->o.by_person = !!(c->facts & FACT_Cancel);
	w->o.cause = cause_of(c);
	w->o.t_abort = w->now;
}

static void prepare(struct sim *s, struct world *w, struct controller *c)
{
	if (!w->src.there) {
		write_abort(s, w, c);
		return;
	}
	if (!w->dst.there) {
		w->dst.there = 1;
		w->dst.deleting = 0;
	} else if (s->sw & SW_POD_ANEW) {
		w->strays++;
	}
	if (!guarded(s, w, c))
		return;
	w->o.recorded = 1;
	w->o.epoch = c->epoch;
	api_touch(w);
}

static void order(struct sim *s, struct world *w, struct controller *c, uint8_t what)
{
	if (!w->src.there)
		return;
	/* A dry run's are for the pod as it was read. */
	if (w->dry ? c->src.there && c->src.writes != w->src.writes : what == ORDER_MIGRATES && (c->src.there ? c->src.order : w->src.order) != w->src.order) {
		say(s, w, "  conflict");
		c->src = w->src;
		return;
	}
	w->src.order = what;
	w->src.writes = (uint8_t)(w->src.writes + (w->dry != DRY_NOT));
	c->src = w->src;
}

/* The mark that a dry run in another cluster has set is taken away of the pod as it was read: an order that another controller has on its way finds another pod. */
static bool unmark(struct sim *s, struct world *w, struct controller *c)
{
	if (w->dry != DRY_DESTINATION || !w->remote || !w->src.there)
		return true;
	if (c->src.there && c->src.writes != w->src.writes) {
		say(s, w, "  conflict");
		c->src = w->src;
		return false;
	}
	w->src.writes++;
	c->src = w->src;
	return true;
}

static void note_receipt(struct sim *s, struct world *w, struct controller *c)
{
	if (!guarded(s, w, c))
		return;
	w->o.receipt = 1;
	w->o.epoch = c->epoch;
	api_touch(w);
}

/* Whatever the controller has seen of the pod: written twice it is the same. */
static void order_commit(struct world *w, struct controller *c)
{
	if (w->dst.there)
		w->dst.order = ORDER_COMMITS;
	c->dst = w->dst;
}

static void release(struct sim *s, struct world *w, struct controller *c)
{
	if (!guarded(s, w, c))
		return;
	w->o.finalizer = 0;
	api_touch(w);
	api_remove_if_free(w);
}

static void perform(struct sim *s, struct world *w, struct controller *c)
{
	switch ((enum controller_move)c->row->move) {
	case MOVE_AddFinalizer:
		if (guarded(s, w, c) && !w->o.deleting) {
			w->o.finalizer = 1;
			api_touch(w);
		}
		break;
	case MOVE_Preflight:
		write_phase(s, w, c, w->src.there && !w->src.deleting ? PHASE_Preparing : PHASE_Failed);
		break;
	case MOVE_Prepare:
		prepare(s, w, c);
		break;
	case MOVE_End:
		if (!unmark(s, w, c))
			break;
		/* fall through */
	case MOVE_Record:
		write_phase(s, w, c, c->row->phase);
		break;
	case MOVE_Order:
		order(s, w, c, ORDER_MIGRATES);
		break;
	case MOVE_OrderAbort:
		order(s, w, c, w->dry ? ORDER_NONE : ORDER_ABORTS);
		break;
	case MOVE_OrderCommit:
		order_commit(w, c);
		break;
	case MOVE_NoteReceipt:
		note_receipt(s, w, c);
		break;
	case MOVE_Abort:
		write_abort(s, w, c);
		break;
	case MOVE_DeleteDestination:
		w->dst.deleting = w->dst.there;
		c->dst = w->dst;
		break;
	case MOVE_DeleteSource:
		w->src.deleting = w->src.there;
		c->src = w->src;
		break;
	case MOVE_Release:
		release(s, w, c);
		break;
	case MOVE_DeleteObject:
		if (!w->o.exists || w->o.deleting)
			break;
		w->o.deleting = 1;
		api_touch(w);
		api_remove_if_free(w);
		break;
	default:
		break;
	}
}

/*
 * A restart right behind the write: with what it had seen before (a watch that is behind) it makes the same step again, and nothing may change; with what is there now the step is
 * behind it, and must not be chosen again.
 */
static void restart_and_act_again(struct sim *s, struct world *w, int i, const struct controller *seen, const struct durable *before)
{
	struct controller *c = &w->c[i], saved = *c;
	struct durable was, is;
	int32_t faults = w->faults;

	durable_of(w, &was);
	w->faults = 0;
	w->now++;
	*c = *seen;
	perform(s, w, c);
	durable_of(w, &is);
	if (!durable_same(&was, &is))
		violate(s, "a step of the controller done twice is not what it is done once");
	*c = *seen;
	c->o = w->o;
	c->src = w->src;
	c->dst = w->dst;
	/* Half a step may be done when another has written meanwhile: a pod, and not its name. */
	if (!durable_same(before, &was) && seen->o.rv == before->o.rv && controller_decide(s, w, i) && c->acting && c->row == seen->row)
		violate(s, "a step of the controller is chosen again although it is done");
	*c = saved;
	w->now--;
	w->faults = faults;
}

bool controller_act(struct sim *s, struct world *w, int i)
{
	struct controller *c = &w->c[i], seen;
	struct durable before;
	int32_t faults;

	if (c->stopped) {
		c->stopped--;
		return false;
	}
	if (!c->up || !c->acting)
		return false;
	c->acting = 0;
	say(s, w, "controller %d: %s: %s %s", i, c->row->when, move_name((enum controller_move)c->row->move),
	    c->row->move == MOVE_Record || c->row->move == MOVE_End ? phase_name((enum phase)c->row->phase) : "");
	/* Lost on the way: nothing is done, and it is looked at again. */
	if (fault(w, KIND_API) && dice(w, 2)) {
		say(s, w, "  lost");
		return true;
	}
	seen = *c;
	faults = w->faults;
	durable_of(w, &before);
	perform(s, w, c);
	if (!w->settling && faults == w->faults && dice(w, 16) == 0)
		restart_and_act_again(s, w, i, &seen, &before);
	/* The answer may be lost as well. */
	if (!fault(w, KIND_API))
		c->o = w->o;
	return true;
}
