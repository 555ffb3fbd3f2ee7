/* SPDX-License-Identifier: Apache-2.0 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* splitmix64 */
uint32_t dice(struct world *w, uint32_t n)
{
	uint64_t z = (w->random += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

bool fault_kind(const struct world *w, enum kind k)
{
	return w->kinds & 1u << k;
}

bool fault(struct world *w, enum kind k)
{
	if (w->settling || w->faults <= 0 || w->events < w->calm || !fault_kind(w, k) || dice(w, 1024) >= w->faulty)
		return false;
	w->faults--;
	return true;
}

void say(struct sim *s, struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!s->trace)
		return;
	printf("%6d%s ", w->now, w->settling ? "*" : " ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void violate(struct sim *s, const char *what)
{
	if (!s->violation)
		s->violation = what;
}

void durable_of(const struct world *w, struct durable *d)
{
	memset(d, 0, sizeof(*d));
	d->o = w->o;
	d->src = w->src;
	d->dst = w->dst;
	d->src_app = w->src_app;
	d->dst_app = w->dst_app;
	d->claim = w->claim;
	d->claim_synced = w->claim_synced;
	d->noted = w->noted;
	d->told = w->told;
	d->journal = w->journal;
	d->journal_synced = w->journal_synced;
	d->order_view = w->order_view;
	d->order_file = w->order_file;
	d->receipt_home = w->receipt_home;
	d->lived = w->lived;
	d->filled = w->filled;
	d->strays = w->strays;
}

bool durable_same(const struct durable *a, const struct durable *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* --- the API server --- */

void api_touch(struct world *w)
{
	w->o.rv++;
}

enum input api_decide(struct sim *s, struct world *w, enum decision d)
{
	if (!w->o.exists)
		return INPUT_RecordGone;
	if (w->o.decision == DECISION_NONE || (s->sw & SW_NO_FENCE && w->o.decision != d)) {
		w->o.decision = (uint8_t)d;
		/* An agent's too: what is to go has its time from then on. */
		if (d == DECISION_ABORT)
			w->o.t_abort = w->now;
		api_touch(w);
	} else if (s->sw & SW_DECIDE_ANEW) {
		api_touch(w);
	}
	return w->o.decision == DECISION_COMMIT ? INPUT_RecordCommit : INPUT_RecordAbort;
}

enum input api_state(struct sim *s, struct world *w, uint8_t state, uint8_t error)
{
	uint8_t is = w->o.state;

	if (!w->o.exists)
		return INPUT_RecordGone;
	/* The last word is final: a report that was under way for long is refused.  A second try may end otherwise than the first. */
	if ((is == SOURCE_Running || (is == SOURCE_Aborted && state != SOURCE_Running)) && state != is && !(s->sw & SW_LATE_PROGRESS))
		return INPUT_Failed;
	if (state == SOURCE_Running && !error && w->later && w->opened && !w->filled)
		violate(s, "the end was reported, and memory was still at the source");
	if (error & GIVES_UP && !(s->sw & SW_ABORT_APART) && api_decide(s, w, DECISION_ABORT) != INPUT_RecordAbort)
		return INPUT_Failed;
	error = error & FOLLOWS ? FOLLOWS : error & REHEARSED ? REHEARSED : error != 0;
	if (error == 0 && s->sw & SW_ERROR_STAYS)
		error = w->o.error;
	if (is != state || w->o.error != error) {
		w->o.state = state;
		w->o.error = error;
		api_touch(w);
	}
	return INPUT_Ok;
}

void api_remove_if_free(struct world *w)
{
	if (w->o.exists && w->o.deleting && !w->o.finalizer)
		w->o.exists = 0;
}

void late_add(struct world *w, uint8_t kind, uint8_t a, uint8_t b)
{
	for (int i = 0; i < LATE_MAX; i++)
		if (w->late[i].kind == LATE_NONE) {
			w->late[i] = (struct late){ kind, a, b };
			return;
		}
}

bool late_arrives(struct sim *s, struct world *w, int i)
{
	struct late l = w->late[i];

	if (l.kind == LATE_NONE)
		return false;
	w->late[i].kind = LATE_NONE;
	if (l.kind == LATE_OPEN) {
		if (w->dst_app == APP_BARRIER)
			open_container(s, w);
		say(s, w, "the monitor takes up what it was told");
		return true;
	}
	if (l.kind == LATE_DECISION)
		api_decide(s, w, (enum decision)l.a);
	else
		api_state(s, w, l.a, l.kind == LATE_PROGRESS ? w->o.error : l.b);
	say(s, w, "api: a request arrives: %s", l.kind == LATE_DECISION ? (l.a == DECISION_COMMIT ? "decision Commit" : "decision Abort") :
	    source_state_name((enum source_state)l.a));
	return true;
}

/* --- the kubelets --- */

bool kubelet_source(struct sim *s, struct world *w)
{
	if (w->order_view != w->src.order && w->remote && w->src.there) {
		w->order_view = w->src.order;
		say(s, w, "kubelet: the source's order file says %s", w->order_view == ORDER_ABORTS ? "abort" : "migrate");
		return true;
	}
	if (!w->src.there || !w->src.deleting)
		return false;
	if (w->src_app != APP_DEAD) {
		w->src_app = APP_DEAD;
		say(s, w, "kubelet: the source's containers are killed");
	} else {
		w->src.there = 0;
		say(s, w, "kubelet: the source pod is gone");
	}
	return true;
}

/* --- between the clusters, by their API servers: an order to the destination's node, a receipt from it.  Late, and of the receipts any may be lost --- */

bool liqo(struct sim *s, struct world *w)
{
	if (w->order_there != w->dst.order && w->dst.there && !fault(w, KIND_API)) {
		w->order_there = w->dst.order;
		return true;
	}
	if (w->order_file != w->order_there && dice(w, 2)) {
		w->order_file = w->order_there;
		say(s, w, "kubelet: the destination's order file says commit");
		return true;
	}
	if (!w->receipt_there || w->receipt_home)
		return false;
	if (fault(w, KIND_API)) {
		w->receipt_there = 0;
		say(s, w, "the receipt is lost");
		return true;
	}
	w->receipt_home = 1;
	say(s, w, "the receipt has come home");
	return true;
}

static void forget_orders(struct world *w)
{
	w->dst.order = w->order_there = w->order_file = ORDER_NONE;
}

static bool start_again(struct sim *s, struct world *w)
{
	bool cold = w->claim == WORD_OPENED || (w->claim == WORD_USED && s->sw & SW_NO_CLAIM) || (w->claim == WORD_OPENING && s->sw & SW_OPENING_COLD);
	uint8_t to = cold ? APP_OPEN : w->claim == WORD_NONE ? APP_WAITING : APP_REFUSED;

	w->cold = cold && w->dst_lost;
	w->dst_app = to;
	say(s, w, "kubelet: the destination's container is started again: %s", to == APP_OPEN ? "it runs" : to == APP_WAITING ? "it waits" : "refused");
	return true;
}

/* --- the destination's node --- */

/* "used" is on disk before the restore begins; what comes later is written there when the application runs. */
void claim_write(struct sim *s, struct world *w, uint8_t word)
{
	w->claim = word;
	if (word <= WORD_USED && !(s->sw & SW_CLAIM_UNSYNCED))
		w->claim_synced = word;
}

bool destination_syncs(struct sim *s, struct world *w)
{
	if (w->claim_synced == w->claim)
		return false;
	w->claim_synced = w->claim;
	say(s, w, "the destination's claim is on disk");
	return true;
}

/* Nothing runs there any more, /run is empty, and of what was not synced the old or the new is on disk. */
void destination_power(struct sim *s, struct world *w)
{
	say(s, w, "the destination's node loses power");
	if (dice(w, 2))
		w->claim = w->claim_synced;
	w->claim_synced = w->claim;
	w->dst_power = 1;
	w->dst_died |= w->dst_app == APP_BARRIER || w->dst_app == APP_RESTORING || w->dst_app == APP_OPEN;
	if (w->dst_app != APP_ABSENT)
		w->dst_app = APP_DEAD;
	for (int i = 0; i < LATE_MAX; i++)
		if (w->late[i].kind == LATE_OPEN)
			w->late[i].kind = LATE_NONE;
	w->noted = w->told = 0;
	w->order_file = ORDER_NONE;
	destination_crash(s, w, true);
}

bool kubelet_destination(struct sim *s, struct world *w)
{
	if (!w->dst.there)
		return false;
	if (w->dst.deleting) {
		if (w->dst_app != APP_DEAD && w->dst_app != APP_ABSENT) {
			w->dst_app = APP_DEAD;
			say(s, w, "kubelet: the destination's containers are killed");
		} else {
			w->dst_app = APP_ABSENT;
			for (int i = 0; i < LATE_MAX; i++)
				if (w->late[i].kind == LATE_OPEN)
					w->late[i].kind = LATE_NONE;
			w->dst.there = w->dst.deleting = 0;
			forget_orders(w);
			w->claim = w->claim_synced = WORD_NONE;
			say(s, w, "kubelet: the destination pod is gone");
		}
		return true;
	}
	if (w->dst_app == APP_ABSENT) {
		w->dst_app = APP_WAITING;
		w->claim = w->claim_synced = WORD_NONE;
		w->noted = w->told = 0;
		say(s, w, "kubelet: the destination's container waits");
		return true;
	}
	return w->dst_app == APP_DEAD ? start_again(s, w) : false;
}

/* --- the stream --- */

static const char *const frame_names[FRAME_COUNT] = { "none", "HELLO", "HELLO again", "WELCOME", "everything", "PREPARED", "COMMIT", "RUNNING",
						      "RUNNING with an error", "never ran", "ABORT", "the end", "memory", "COMPLETE", "COMPLETE with an error", "ABORT of a dry run" };

const char *frame_name(uint8_t f)
{
	return frame_names[f];
}

/* False: the stream is lost. */
bool conn_send(struct world *w, bool from_source, uint8_t frame)
{
	int i = from_source ? w->source.conn : w->destination.conn;
	struct conn *c;

	if (i < 0)
		return false;
	c = &w->conn[i];
	if (fault(w, KIND_STREAM)) {
		conn_cut(w);
		return false;
	}
	if (c->cut || (from_source ? !c->dst_open : !c->src_open))
		return false;
	if (from_source && c->n_to_dst < FRAMES)
		c->to_dst[c->n_to_dst++] = frame;
	else if (!from_source && c->n_to_src < FRAMES)
		c->to_src[c->n_to_src++] = frame;
	return true;
}

void conn_hang_up(struct world *w, bool by_source)
{
	struct agent *a = by_source ? &w->source : &w->destination;
	struct conn *c;

	if (a->conn < 0)
		return;
	c = &w->conn[a->conn];
	a->conn = -1;
	/* What the other side has not read may still come. */
	if (by_source)
		c->src_open = 0;
	else
		c->dst_open = 0;
	if (!c->src_open && !c->dst_open && !(by_source && c->n_to_dst))
		c->used = 0;
}

/* Both sides lose it; of what was under way anything may be lost, from the end. */
void conn_cut(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		struct conn *c = &w->conn[i];

		if (!c->used)
			continue;
		c->cut = 1;
		c->n_to_dst = (uint8_t)dice(w, c->n_to_dst + 1u);
		c->n_to_src = (uint8_t)dice(w, c->n_to_src + 1u);
	}
}

static uint8_t shift(uint8_t *list, uint8_t *n)
{
	uint8_t f = list[0];

	(*n)--;
	memmove(list, list + 1, *n);
	return f;
}

uint8_t conn_take(struct world *w, bool by_source, bool *lost)
{
	struct agent *a = by_source ? &w->source : &w->destination;
	struct conn *c;

	*lost = false;
	if (a->conn < 0)
		return FRAME_NONE;
	c = &w->conn[a->conn];
	if (by_source ? c->n_to_src : c->n_to_dst)
		return by_source ? shift(c->to_src, &c->n_to_src) : shift(c->to_dst, &c->n_to_dst);
	if (c->cut || (by_source ? !c->dst_open : !c->src_open)) {
		conn_hang_up(w, by_source);
		*lost = true;
	}
	return FRAME_NONE;
}
