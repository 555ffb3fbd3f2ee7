/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "container/process_info.h"
#include "net/reset.h"
#include "source.h"

/*
 * Only when the kubelet has begun to end a container may we end it: of one that ends by itself the kubelet would start another, cold, beside the pod that has moved.
 * That it has begun is seen by its signal, which waits for the container's frozen first process and did not when the destination was known to run; nobody within the
 * pod can have sent it meanwhile.  (A first process that does not handle the signal is not sent it, since it is the init of its pid namespace: such a container ends in
 * its two seconds.)  The kernel tells nobody when a signal begins to wait: it is looked for, some hundred times at most.
 */
#define LOOK_US 20000
#define PATIENCE_US (9 * INT64_C(1000000))      /* the record is told, the controller waits for the destination to be Ready (LIMIT_SERVES) and deletes, the kubelet hears of it and begins */

/*
 * With its last container the kubelet takes away the pod's network, which refuses whoever still connects to the old address (net/reset.h): a refused client tries again, one that nobody
 * answers waits for its own patience, seconds.  The Service sends nobody here any more when kube-proxy has heard of the deletion and written its rules, which it does once a second at
 * most (minSyncPeriod).  So a pod that has listened keeps its network that long; and as long as clients are seen to come still, all of the time that the kubelet gives it: rules may take longer
 * than that second, and Liqo and the API servers have to be passed before.
 */
#define REFUSE_US 1200000
#define STILL_US 300000         /* so long after the last refused client the next one is waited for */

#define BIT(signal) (UINT64_C(1) << ((signal) - 1))
/* What images name as their STOPSIGNAL: the default; PostgreSQL; nginx; systemd (SIGRTMIN+3 of glibc, whose SIGRTMIN is 34). */
#define STOPS (BIT(SIGTERM) | BIT(SIGINT) | BIT(SIGQUIT) | BIT(37))

void source_note_signals(struct source *s)
{
	struct error ignored = { 0 };

	for (int i = 0; s->freezer_ready && i < s->n; i++) {
		struct source_container *c = &s->containers[i];

		c->waiting_known = c->waiting_known || process_pending_signals(c->init_pid, &c->waiting, &ignored) == 0;
	}
}

bool source_refuses(struct refusing *f, int64_t asked_us, int64_t now_us, uint64_t resets)
{
	if (f->resets != resets || !f->last_us) {
		f->resets = resets;
		f->last_us = now_us;
	}
	return now_us - asked_us < REFUSE_US || now_us - f->last_us < STILL_US;
}

/* Its network is needed.  Where nobody can tell whether clients come: for the time that kube-proxy needs. */
static bool must_stay(struct source *s, const struct source_container *c)
{
	struct error ignored = { 0 };
	uint64_t resets = 0;

	if (!s->listened)
		return false;
	if (tcp_resets_sent(c->init_pid, &resets, &ignored) < 0)
		resets = s->refusing.resets;
	return source_refuses(&s->refusing, c->asked_us, clock_mono_us(), resets);
}

/* Nothing is left to be done for it. */
static bool is_over(struct source *s, struct source_container *c)
{
	struct error why = { 0 };
	uint64_t waiting = 0;
	bool frozen = false;
	int r;

	if (!c->waiting_known || freezer_is_frozen(&s->freezer, c->index, &frozen, &why) < 0 || !frozen ||
	    process_pending_signals(c->init_pid, &waiting, &why) < 0)
		return true;
	if (!(waiting & ~c->waiting & STOPS))
		return false;
	if (!c->asked_us)
		c->asked_us = clock_mono_us();
	if (must_stay(s, c))
		return false;
	r = freezer_kill(&s->freezer, c->index, &why);
	if (r < 0 && r != -ESTALE)
		log_warning("a container that is being deleted is left to the kubelet", LOG_S("container", c->info.name), LOG_S("err", why.message));
	return true;
}

void source_hasten(struct source *s)
{
	int64_t end = clock_mono_us() + PATIENCE_US;
	bool over[WIRE_CONTAINERS_MAX] = { false };
	int left = s->freezer_ready ? s->n : 0;

	while (left > 0 && clock_mono_us() < end) {
		left = 0;
		for (int i = 0; i < s->n; i++) {
			over[i] = over[i] || is_over(s, &s->containers[i]);
			left += !over[i];
		}
		if (left > 0)
			usleep(LOOK_US);
	}
}
