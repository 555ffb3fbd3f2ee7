/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define EVENTS_MAX 200          /* with faults */
#define CALM_MAX 80             /* about what a migration takes */
#define ROUNDS_MAX 300          /* without */
#define ROUNDS_STILL 6          /* nothing durable has changed for so long, more than all the limits together: settled */
#define JUMP 1000
#define MUTANT_FIRST 1
#define MUTANT_SCHEDULES 10000
#define COMPLETE_FROM 1000000  /* as many schedules have a crash everywhere */
#define NARROW_SCHEDULES 10000  /* of the right machine, in each of the ways in which a mutant is looked for */

/* --- one schedule --- */

static void narrow(struct world *w, unsigned focus)
{
	if (focus & (FOCUS_HOME | FOCUS_REMOTE))
		w->remote = focus & FOCUS_REMOTE ? 1 : 0;
	if (focus & FOCUS_DELETED) {
		w->users = 2;
	}
	if (focus & (FOCUS_STREAM | FOCUS_AGENT)) {
		w->kinds = (focus & FOCUS_STREAM ? 1u << KIND_STREAM : 0) | 1u << KIND_CRASH_SOURCE;
		w->faulty = 200;
		w->faults = 6;
	}
	if (focus & FOCUS_LEADER) {
		w->kinds |= 1u << KIND_CONTROLLER;
		w->faulty = 200;
		w->faults = 6;
		w->calm = 0;
	}
	if (focus & FOCUS_LATER)
		w->later = 1;
	if (focus & FOCUS_DRY) {
		w->remote = !!(focus & FOCUS_REMOTE);
		w->dry = DRY_DESTINATION;
	}
	if (focus & FOCUS_CONTAINER)
		w->kinds |= 1u << KIND_CONTAINER;
	if (focus & (FOCUS_STREAM | FOCUS_CONTAINER))
		w->calm = 30 + (int32_t)dice(w, 40);
	if (focus & FOCUS_API) {
		w->kinds = 1u << KIND_API;
		w->faulty = 200;
		w->faults = 4;
	}
	if (focus & FOCUS_POWER) {
		w->kinds = 1u << KIND_POWER;
		w->faulty = 200;
		w->faults = 2;
		w->calm = 30 + (int32_t)dice(w, 40);
	}
	if (focus & FOCUS_SEVERED) {
		w->sever_at = 20 + (int32_t)dice(w, 100);
		w->calm = w->sever_at;
		w->kinds |= 1u << KIND_TIME;
	}
}

static void begin(struct world *w, uint64_t seed, unsigned focus)
{
	static const uint16_t rates[] = { 0, 16, 64, 200, 400 };
	uint32_t dry;

	memset(w, 0, sizeof(*w));
	w->random = seed;
	w->remote = (uint8_t)dice(w, 2);
	w->expires = dice(w, 4) == 0;
	w->later = dice(w, 3) == 0;
	w->served = seed % 3 == 0;      /* no dice: the schedules stay what they were */
	dry = dice(w, 16);
	/* Of a source in another cluster only one that asks both is more than the checks. */
	w->dry = focus || dry > 1 ? DRY_NOT : dry || w->remote ? DRY_DESTINATION : DRY_SOURCE;
	w->slow = dice(w, 2) ? 0 : (uint8_t)dice(w, 8);
	w->faulty = rates[dice(w, 5)];
	w->faults = (int32_t)dice(w, 8);
	w->calm = (int32_t)dice(w, 2 * CALM_MAX) - CALM_MAX / 2;
	w->kinds = dice(w, 4) ? dice(w, 1u << KIND_COUNT) : ~0u;
	w->users = dice(w, 2) == 0 ? 1 + (int32_t)dice(w, 2) : 0;
	w->sever_at = dice(w, 8) ? 0 : 20 + (int32_t)dice(w, 100);
	if (focus)
		narrow(w, focus);
	w->o.exists = 1;
	w->src.there = 1;
	w->src_app = APP_RUNNING;
	w->source = w->destination = (struct agent){ .up = 1, .in = NO_INPUT, .conn = -1 };
	w->c[0] = (struct controller){ .up = 1, .leads = 1, .epoch = ++w->epoch, .o = w->o, .src = w->src, .dst = w->dst };
}

static void user(struct sim *s, struct world *w)
{
	w->users--;
	switch (dice(w, 6)) {
	case 0:
	case 1:
		w->o.cancel = 1;
		api_touch(w);
		say(s, w, "user: cancels");
		return;
	case 2:
	case 3:
		w->o.deleting = w->o.exists;
		api_touch(w);
		api_remove_if_free(w);
		say(s, w, "user: deletes the PodMigration");
		return;
	case 4:
		w->user_src |= w->src.there;
		w->src.deleting = w->src.there;
		say(s, w, "user: deletes the source pod");
		return;
	default:
		w->user_dst |= w->dst.there;
		w->dst.deleting = w->dst.there;
		say(s, w, "user: deletes the destination pod");
	}
}

static void controllers_change(struct sim *s, struct world *w)
{
	int i = (int)dice(w, 2);

	if (w->c[i].up && w->c[i].leads)
		crashed_controller(s, &w->c[i]);
	/* The old leader goes on where it was stopped, until it finds out. */
	if (dice(w, 3)) {
		controller_lead(s, w, i);
		w->c[!i].stopped = (uint8_t)dice(w, 24);
	} else if (w->c[i].up) {
		w->c[i].up = 0;
		say(s, w, "controller %d: crashes", i);
	}
}

static void container_dies(struct sim *s, struct world *w)
{
	if (w->dst_app != APP_BARRIER && w->dst_app != APP_RESTORING)
		return;
	w->dst_app = APP_DEAD;
	w->dst_died = 1;
	say(s, w, "the destination's container dies before it was opened");
}

static void bad_event(struct sim *s, struct world *w, enum kind k)
{
	switch (k) {
	case KIND_CRASH_SOURCE:
		source_crash(s, w, dice(w, 2));
		return;
	case KIND_CRASH_DESTINATION:
		destination_crash(s, w, dice(w, 2));
		return;
	case KIND_STREAM:
		conn_cut(w);
		say(s, w, "the stream is cut");
		return;
	case KIND_CONTROLLER:
		controllers_change(s, w);
		return;
	case KIND_TIME:
		w->now += JUMP * (1 + (int32_t)dice(w, 3));
		/* Events live for an hour. */
		w->receipt_there = w->receipt_home = 0;
		say(s, w, "time passes");
		return;
	case KIND_CONTAINER:
		container_dies(s, w);
		return;
	case KIND_POWER:
		destination_power(s, w);
		return;
	default:
		return;
	}
}

static bool event(struct sim *s, struct world *w)
{
	switch (dice(w, 16)) {
	case 0:
	case 1:
	case 2:
		return source_run(s, w);
	case 3:
	case 4:
	case 5:
		return destination_run(s, w);
	case 6:
		return source_daemon(s, w);
	case 7:
		return destination_daemon(s, w);
	case 8:
		return kubelet_source(s, w);
	case 9:
		return dice(w, 4) ? kubelet_destination(s, w) : destination_syncs(s, w);
	case 10:
		return controller_refresh(w, (int)dice(w, 2), dice(w, 3));
	case 11:
	case 12:
		return controller_decide(s, w, (int)dice(w, 2));
	case 13:
		return controller_act(s, w, (int)dice(w, 2));
	case 14:
		return late_arrives(s, w, (int)dice(w, LATE_MAX));
	default:
		return dice(w, 2) ? liqo(s, w) : dice(w, 2) == 0 && (dice(w, 2) ? source_timer(s, w) : destination_timer(s, w));
	}
}

/* Something that can happen, does. */
static void any_event(struct sim *s, struct world *w)
{
	for (int i = 0; i < 24; i++)
		if (event(s, w))
			return;
}

static void sever(struct sim *s, struct world *w)
{
	w->severed = 1;
	conn_cut(w);
	say(s, w, "the pod network is lost for good");
}

static void with_faults(struct sim *s, struct world *w)
{
	int32_t n = 10 + (int32_t)dice(w, EVENTS_MAX - 10);

	for (; w->events < n && !s->violation; w->events++, w->now++) {
		enum kind k = (enum kind)dice(w, KIND_COUNT);

		if (w->sever_at && w->events >= w->sever_at && !w->severed)
			sever(s, w);
		if (w->users > 0 && w->events >= w->calm && dice(w, 32) == 0)
			user(s, w);
		else if (fault(w, k))
			bad_event(s, w, k);
		else
			any_event(s, w);
		judge_now(s, w);
	}
}

/* --- to the end, without faults --- */

static void round_of(struct sim *s, struct world *w)
{
	for (int i = 0; i < LATE_MAX; i++)
		late_arrives(s, w, i);
	for (int k = 0; k < 3; k++) {
		kubelet_source(s, w);
		kubelet_destination(s, w);
		destination_syncs(s, w);
		liqo(s, w);
		source_daemon(s, w);
		destination_daemon(s, w);
		for (int i = 0; i < 2; i++) {
			controller_act(s, w, i);
			for (unsigned which = 0; which < 3; which++)
				controller_refresh(w, i, which);
			controller_decide(s, w, i);
		}
		source_run(s, w);
		destination_run(s, w);
		source_run(s, w);
		destination_run(s, w);
		judge_now(s, w);
	}
	source_timer(s, w);
	destination_timer(s, w);
	w->now += 800;
}

static bool somebody_is_away(const struct world *w)
{
	return !w->source.up || !w->destination.up || w->c[0].stopped || w->c[1].stopped;
}

static void settle(struct sim *s, struct world *w)
{
	struct durable was, is;
	int still = 0;

	w->settling = 1;
	durable_of(w, &was);
	if (w->sever_at && !w->severed)
		sever(s, w);
	w->slow = 0;
	say(s, w, "no more faults");
	if (!(w->c[0].up && w->c[0].leads) && !(w->c[1].up && w->c[1].leads && w->c[1].epoch == w->epoch))
		controller_lead(s, w, 0);
	for (int round = 0; round < ROUNDS_MAX && !s->violation; round++) {
		round_of(s, w);
		if (!(w->c[0].up && w->c[0].leads) && !(w->c[1].up && w->c[1].leads))
			controller_lead(s, w, 0);
		durable_of(w, &is);
		still = !durable_same(&was, &is) || somebody_is_away(w) ? 0 : still + 1;
		was = is;
		if (still == ROUNDS_STILL) {
			judge_end(s, w);
			return;
		}
	}
	violate(s, "NO END: it does not settle");
}

static const char *run(struct sim *s, struct world *w, uint64_t seed)
{
	s->violation = NULL;
	begin(w, seed, s->focus);
	say(s, w, "seed %" PRIu64 ": the %s decides", seed, w->remote ? "destination" : "source");
	with_faults(s, w);
	if (!s->violation)
		settle(s, w);
	if (s->violation)
		say(s, w, "VIOLATION: %s", s->violation);
	return s->violation;
}

/* --- many --- */

static void show_end(const struct world *w)
{
	printf("  phase=%s decision=%d state=%s error=%d stuck=%d exists=%d deleting=%d finalizer=%d source pod=%d app=%d destination pod=%d app=%d "
	       "claim=%d journal=%d order=%d\n",
	       phase_name((enum phase)w->o.phase), w->o.decision, source_state_name((enum source_state)w->o.state), w->o.error, w->o.stuck, w->o.exists,
	       w->o.deleting, w->o.finalizer, w->src.there, w->src_app, w->dst.there, w->dst_app, w->claim, w->journal, w->src.order);
}

/* Returns the seed of a violation, or 0. */
static uint64_t search(struct sim *s, uint64_t first, uint64_t n)
{
	struct world w;

	for (uint64_t seed = first; seed < first + n; seed++)
		if (run(s, &w, seed))
			return seed;
	return 0;
}

static void replay(struct sim *s, uint64_t seed)
{
	struct world w;

	s->trace = true;
	run(s, &w, seed);
	show_end(&w);
	s->trace = false;
}

/* Of the first seeds that fail, the one with the shortest story. */
static uint64_t nicest(struct sim *s, uint64_t first)
{
	uint64_t best = 0;
	int32_t length = INT32_MAX;
	struct world w;

	for (uint64_t seed = first; seed < first + 20000; seed++)
		if (run(s, &w, seed) && w.now < length) {
			length = w.now;
			best = seed;
		}
	return best;
}

static const struct mutant *find_mutant(const char *name)
{
	for (int i = 0; i < mutants_n; i++)
		if (!strcmp(mutants[i].name, name))
			return &mutants[i];
	fprintf(stderr, "sim: no such mutant: %s\n", name);
	exit(2);
}

static int catch_mutants(uint64_t first)
{
	int caught = 0;

	for (int i = 0; i < mutants_n; i++) {
		struct sim s;
		uint64_t seed;

		mutant_apply(&mutants[i], &s);
		seed = search(&s, first, MUTANT_SCHEDULES);
		caught += seed != 0;
		if (seed)
			printf("%-26s caught after %5" PRIu64 "  %s\n", mutants[i].name, seed - first + 1, s.violation);
		else
			printf("FAIL %s (%s) is not caught in %d schedules\n", mutants[i].name, mutants[i].what, MUTANT_SCHEDULES);
	}
	return caught;
}

/* The machine as it should be; false: it is not. */
static bool is_right(struct sim *s, uint64_t first, uint64_t n, uint64_t *schedules, bool story)
{
	uint64_t seed = search(s, first, n);

	*schedules += seed ? seed - first + 1 : n;
	if (!seed)
		return true;
	printf("FAIL seed %" PRIu64 ", focus %u: %s\n", seed, s->focus, s->violation);
	if (story)
		replay(s, seed);
	return false;
}

static bool focus_of_an_earlier(int i)
{
	for (int k = 0; k < i; k++)
		if (mutants[k].focus == mutants[i].focus)
			return true;
	return false;
}

/* What a rare mutant needs is rare for the right machine, too: it has as many schedules of that kind.  Returns the number of kinds; *bad: those that it has not passed. */
static int search_narrowed(struct sim *s, uint64_t first, uint64_t n, uint64_t *schedules, int *bad)
{
	int kinds = 0;

	for (int i = 0; i < mutants_n; i++) {
		if (!mutants[i].focus || focus_of_an_earlier(i))
			continue;
		s->focus = mutants[i].focus;
		*bad += !is_right(s, first, n, schedules, *bad == 0);
		kinds++;
	}
	s->focus = 0;
	return kinds;
}

static int all(uint64_t first, uint64_t n)
{
	static struct crashes crashes;
	struct sim s;
	uint64_t schedules = 0;
	int caught, kinds, bad, missed;

	mutant_apply(NULL, &s);
	s.crashes = &crashes;
	bad = !is_right(&s, first, n, &schedules, true);
	kinds = 1 + search_narrowed(&s, first, n < NARROW_SCHEDULES ? n : NARROW_SCHEDULES, &schedules, &bad);
	caught = catch_mutants(MUTANT_FIRST);
	missed = crashes_print(&s, n >= COMPLETE_FROM);
	printf("%d passed, %d failed\n", caught + kinds - bad + !missed, mutants_n - caught + bad + !!missed);
	printf("sim: schedules=%" PRIu64 " kinds=%d violations=%d mutants=%d/%d\n", schedules, kinds, bad, caught, mutants_n);
	return bad || missed || caught != mutants_n;
}

static int usage(void)
{
	fprintf(stderr, "sim [--schedules N] [--first SEED] [--mutant NAME [--nicest]] [--focus BITS] [--seed SEED] | --draw\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t n = 1000000, first = 1, seed = 0;
	const struct mutant *m = NULL;
	bool short_one = false;
	unsigned focus = 0;
	struct sim s;

	for (int i = 1; i < argc; i++) {
		const char *o = argv[i], *v;

		if (!strcmp(o, "--draw")) {
			draw();
			return 0;
		}
		if (!strcmp(o, "--nicest")) {
			short_one = true;
			continue;
		}
		v = argv[++i];
		if (!v)
			return usage();
		if (!strcmp(o, "--schedules"))
			n = strtoull(v, NULL, 10);
		else if (!strcmp(o, "--first"))
			first = strtoull(v, NULL, 10);
		else if (!strcmp(o, "--seed"))
			seed = strtoull(v, NULL, 10);
		else if (!strcmp(o, "--focus"))
			focus = (unsigned)strtoul(v, NULL, 10);
		else if (!strcmp(o, "--mutant"))
			m = find_mutant(v);
		else
			return usage();
	}
	if (!m && !seed)
		return all(first, n);
	mutant_apply(m, &s);
	if (focus)
		s.focus = focus;
	if (!seed)
		seed = short_one ? nicest(&s, first) : search(&s, first, n);
	if (seed)
		replay(&s, seed);
	return s.violation ? 1 : 0;
}
