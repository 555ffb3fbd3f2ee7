/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "box.h"
#include "check.h"
#include "dump.h"

#define GROUP "/container-test/podct-abort"
#define PROCESSES_MAX 16
#define BACK_STEP_MS 5

static void aborted(struct dump *d, struct box *b, struct freezer *f, const char *when)
{
	struct error err = { 0 };
	int64_t t = clock_mono_us(), us;

	runc_dump_abort(&d->dump);
	us = clock_mono_us() - t;
	freezer_thaw(f, &err);
	check(dump_processes_left(d) == 0 && !dump_traced(b->pid), "abort %s (%lld us): no process of the dump is left", when,
	      (long long)us);
	check(box_counts_on(b) && !box_memory_bad(b), "abort %s: the source runs", when);
	dump_end(d);
}

/* As a pod that stands still goes back: it is thawed as soon as nobody holds its processes, and what is left of the dump is ended behind that.  The time of the first half. */
static int64_t given_back(struct dump *d, struct box *b, struct freezer *f, const char *when)
{
	struct error err = { 0 };
	pid_t pids[PROCESSES_MAX];
	int n = freezer_pids(f, 0, pids, PROCESSES_MAX), traced = 0;
	int64_t t = clock_mono_us(), let_go, gone;

	runc_dump_hurry(&d->dump);
	runc_dump_let_go(&d->dump, pids, n);
	let_go = clock_mono_us() - t;
	for (int i = 0; i < n; i++)
		traced += dump_traced(pids[i]);
	check(n == 2 && traced == 0, "given back %s: nobody holds the source after %lld us", when, (long long)let_go);
	freezer_thaw(f, &err);
	t = clock_mono_us();
	runc_dump_abort(&d->dump);
	gone = clock_mono_us() - t;
	check(box_counts_on(b) && !box_memory_bad(b), "given back %s: the source runs", when);
	check(dump_processes_left(d) == 0, "given back %s: no process of the dump is left %lld us later", when, (long long)gone);
	dump_end(d);
	return let_go;
}

static bool begin(struct dump *d, const struct place *at, struct box *b, struct freezer *f)
{
	struct error err = { 0 };

	return check(dump_start(d, at, b, &err) && freezer_freeze(f, clock_mono_us() + 20000000, &err) == 0 && dump_go(d, &err),
		     "start a dump, freeze, and go %s", err.message);
}

/* The source's processes were never touched: nothing has to be thawed. */
static void at_the_gate(const struct place *at, struct box *b)
{
	struct error err = { 0 };
	struct dump d;
	int64_t t;
	int ms;

	if (!check(dump_start(&d, at, b, &err), "start a dump"))
		return;
	runc_dump_abort(&d.dump);
	check(dump_processes_left(&d) == 0 && box_counts_on(b), "abort before the gate: no process of the dump is left, the source runs");
	dump_end(&d);
	if (!check(dump_start(&d, at, b, &err) && runc_dump_wait_gate(&d.dump, clock_mono_us() + 60000000, &err) == 0, "at the gate"))
		return;
	t = clock_mono_us();
	runc_dump_abort(&d.dump);
	check(dump_processes_left(&d) == 0 && !dump_traced(b->pid) && box_counts_on(b), "abort at the gate (%lld us): the same",
	      (long long)(clock_mono_us() - t));
	dump_end(&d);
	if (!check(dump_start(&d, at, b, &err) && runc_dump_wait_gate(&d.dump, clock_mono_us() + 60000000, &err) == 0, "at the gate again"))
		return;
	/* What the death of an agent does. */
	close(d.dump.gate_fd);
	d.dump.gate_fd = -1;
	for (ms = 0; ms < 10000 && dump_processes_left(&d) > 0; ms += 20)
		sleep_ms(20);
	check(ms < 10000 && box_counts_on(b), "an agent that dies takes the dump at the gate with it (%d ms)", ms);
	runc_dump_abort(&d.dump);
	dump_end(&d);
}

static void steps(const struct place *at, struct box *b, struct freezer *f)
{
	static const struct {
		int ms;
		const char *when;
	} early[] = { { 0, "at once" }, { 15, "after 15 ms" }, { 40, "after 40 ms" }, { 80, "after 80 ms" } };
	struct error err = { 0 };
	struct dump d;
	int64_t t;
	int n;

	for (size_t i = 0; i < sizeof(early) / sizeof(early[0]); i++) {
		if (!begin(&d, at, b, f))
			return;
		sleep_ms(early[i].ms);
		aborted(&d, b, f, early[i].when);
	}
	if (!begin(&d, at, b, f))
		return;
	check(runc_dump_wait_ready(&d.dump, clock_mono_us() + 60000000, &err) == 0 && dump_processes_left(&d) >= 2,
	      "metadata is ready, runc and CRIU wait in their own network namespace");
	aborted(&d, b, f, "when ready");
	if (!begin(&d, at, b, f))
		return;
	check(runc_dump_wait_ready(&d.dump, clock_mono_us() + 60000000, &err) == 0 &&
		      freezer_refreeze(f, 0, clock_mono_us() + 20000000, &err) == 0,
	      "ready and frozen again");
	aborted(&d, b, f, "when ready and frozen again");
	/* The agent crashed: nobody holds the dump; its successor knows the folder and freezes first. */
	if (!begin(&d, at, b, f))
		return;
	check(runc_dump_wait_ready(&d.dump, clock_mono_us() + 60000000, &err) == 0 &&
		      freezer_refreeze(f, 0, clock_mono_us() + 20000000, &err) == 0,
	      "ready and frozen again");
	t = clock_mono_us();
	n = runc_dump_kill_left(&d.runc, d.work, &err);
	t = clock_mono_us() - t;
	check(n >= 2 && runc_dump_kill_left(&d.runc, d.work, &err) == 0, "what a crashed agent left is found and ended (%lld us)",
	      (long long)t);
	aborted(&d, b, f, "after a crash");
	if (!begin(&d, at, b, f))
		return;
	sleep_ms(30);
	t = clock_mono_us();
	n = runc_dump_kill_left(&d.runc, d.work, &err);
	t = clock_mono_us() - t;
	check(n >= 2, "ended before it was ready (%lld us)", (long long)t);
	aborted(&d, b, f, "after a crash before it was ready");
	if (!begin(&d, at, b, f))
		return;
	check(runc_dump_wait_ready(&d.dump, clock_mono_us() - 1, &err) < 0, "a deadline in the past: %s", err.message);
	aborted(&d, b, f, "after a deadline");
}

/* Anywhere in a dump: on a calm machine it takes some 60 ms. */
static void back(const struct place *at, struct box *b, struct freezer *f)
{
	int64_t longest = 0, us;
	struct error err = { 0 };
	char when[32];
	struct dump d;

	if (!check(dump_start(&d, at, b, &err) && runc_dump_wait_gate(&d.dump, clock_mono_us() + 60000000, &err) == 0 &&
			   freezer_freeze(f, clock_mono_us() + 20000000, &err) == 0,
		   "at the gate, and frozen"))
		return;
	given_back(&d, b, f, "at the gate");
	for (int ms = 0; ms < 80; ms += BACK_STEP_MS) {
		if (!begin(&d, at, b, f))
			return;
		sleep_ms(ms);
		snprintf(when, sizeof(when), "after %d ms", ms);
		us = given_back(&d, b, f, when);
		longest = us > longest ? us : longest;
	}
	if (!begin(&d, at, b, f))
		return;
	check(runc_dump_wait_ready(&d.dump, clock_mono_us() + 60000000, &err) == 0 && freezer_refreeze(f, 0, clock_mono_us() + 20000000, &err) == 0, "ready and frozen again");
	given_back(&d, b, f, "when ready and frozen again");
	printf("# given back in the middle of a dump: after %lld us at most\n", (long long)longest);
}

void suite_abort(const struct place *at)
{
	struct box b = { 0 };
	struct freezer f;
	struct error err = { 0 };

	if (check(box_start(&b, at, "ct-abort", GROUP, "count", 8), "start a container") &&
	    check(box_freezer(at, &b.pid, 1, &f, &err) == 0, "its group is found %s", err.message)) {
		at_the_gate(at, &b);
		steps(at, &b, &f);
		back(at, &b, &f);
		freezer_close(&f);
	}
	box_stop(&b);
}
