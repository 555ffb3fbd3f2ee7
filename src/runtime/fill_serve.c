/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "fill.h"
#include "fill_copy.h"
#include "fill_events.h"
#include "fill_run.h"
#include "pass_fd.h"

#define RESTORE_FINISHED 0x52535446     /* criu/uffd.c, LAZY_PAGES_RESTORE_FINISHED */
#define SLICE_PAGES 32u                 /* copied between two looks around */
#define HOLD_US 250000                  /* from the open: only what is asked for, while the pod's other containers are being resumed */
#define FIXED 4                         /* in polls, before the tasks */
#define LOOK_MS 1000                    /* whether what was asked for is overdue */
#define LOST_MS 1000                    /* whether those that nobody can fill any more have ended */
#define RETRY_MS 1                      /* when a page cannot be placed for the moment */
#define BLOCKED_US 5000000              /* an address that is not registered for so long never will be */
#define NO_MEMORY_US 10000000

struct filling {
	int listen_fd, control_fd;
	int monitor_fd;                 /* a pidfd; -1: it has died, and the program runs */
	int criu_fd;                    /* -1: not connected (yet) */
	bool connected;
	struct fill_source source;
	struct fill_tasks tasks;
	struct pollfd *polls;           /* control, listener or CRIU, monitor, pages that come later, then the tasks */
	uint32_t polled;                /* how many tasks */
	uint32_t room;
	bool barrier;                   /* CRIU stands there: nothing new is registered */
	bool ready;                     /* what is in the list can be filled, and that was told */
	bool open;                      /* the program runs */
	int64_t open_us;                /* since when */
	int cut[2];                     /* to be shut down when the monitor dies; -1: none */
	bool over;                      /* failed, and told */
	bool done;                      /* all in place, and told */
	bool wait;                      /* nothing could be placed the last time */
	bool starved;                   /* the next page is not here yet */
	int current;                    /* userfaultfd of the task that is filled */
	uint64_t pages;
	int64_t busy_us, no_memory_us;
};

/* --- the monitor --- */

static void tell(struct filling *f, char word, const char *text)
{
	char packet[sizeof(((struct error *)0)->message) + 1];
	int n = snprintf(packet, sizeof(packet), "%c%s", word, text);

	send(f->control_fd, packet, n < (int)sizeof(packet) ? (size_t)n : sizeof(packet) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void give_up(struct filling *f, int r, const struct error *err)
{
	if (!f->over && !f->done)
		tell(f, r == -ESRCH && !f->open ? FILL_GONE : FILL_FAILED, err->message);
	f->over = true;
	if (!f->open)
		fill_wake(&f->source, true);
}

static int find_pending(struct filling *f, struct fill_task *t)
{
	return f->source.store_fd >= 0 ? pending_load(&t->pending, &f->source.list, t->pid) : 0;
}

static int take_list(struct filling *f, const int *fds, int n, struct error *err)
{
	cleanup_close int list = n > 0 ? fds[0] : -1, store = n > 1 ? fds[1] : -1, later = n > 2 ? fds[2] : -1;
	int r;

	if (store < 0 || f->source.store_fd >= 0)
		return error_set(err, -EPROTO, "the filler wants one list and one store");
	r = fill_runs_load(list, store, &f->source.list, err);
	if (r == 0)
		r = later_new(&f->source.list, take_fd(&later), &f->source.later, err);
	if (r < 0)
		return r;
	f->source.store_fd = take_fd(&store);
	f->source.store_size = f->source.list.store_size;
	for (uint32_t i = 0; r == 0 && i < f->tasks.n; i++)
		r = find_pending(f, &f->tasks.items[i]);
	return r < 0 ? error_set(err, r, "out of memory for the filler") : 0;
}

static int hear_monitor(struct filling *f, struct error *err)
{
	int fds[PASS_FDS_MAX], n;
	struct fill_open m = { 0 };
	ssize_t len;

	n = pass_fds_receive(f->control_fd, &m, sizeof(m), 0, fds, PASS_FDS_MAX, &len);
	if (len <= 0)
		return 0;
	if (m.word == FILL_GIVE)
		return take_list(f, fds, n, err);
	f->barrier = m.word == FILL_BARRIER || f->barrier;
	if (m.word == FILL_OPEN && !f->open && len == (ssize_t)sizeof(m)) {
		f->open = true;
		memcpy(f->cut, m.cut, sizeof(f->cut));
		f->open_us = clock_mono_us();
	}
	return 0;
}

/*
 * As long as nothing runs, the restore dies with its monitor.  Once the program runs, this process is what it gets its memory from, and goes on alone.
 */
static void monitor_died(struct filling *f)
{
	if (!f->open || f->done)
		_exit(0);
	close(take_fd(&f->monitor_fd));
	/* What waits there would not be told by the monitor's end: we have these open, too.  A number that means something else by now is of the monitor as well. */
	for (int i = 0; i < 2; i++)
		if (f->cut[i] >= 0)
			shutdown(f->cut[i], SHUT_RDWR);
}

/* --- CRIU --- */

static int accept_criu(struct filling *f, struct error *err)
{
	const struct timeval patience = { 5, 0 };
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	f->criu_fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (f->criu_fd < 0)
		return error_errno(err, "accept CRIU's connection");
	/* The folder is root's alone; this is for the day it is not. */
	if (getsockopt(f->criu_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != geteuid()) {
		close(take_fd(&f->criu_fd));
		return error_set(err, -EPERM, "lazy-pages.socket: not CRIU");
	}
	setsockopt(f->criu_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	close(take_fd(&f->listen_fd));
	f->connected = true;
	return 0;
}

/* The pid has come; the fd follows with one byte of its own (criu/include/common/scm-code.c). */
static int add_task(struct filling *f, uint32_t pid, struct error *err)
{
	cleanup_close int uffd = -1;
	ssize_t len;
	char byte;

	if (pass_fds_receive(f->criu_fd, &byte, 1, 0, &uffd, 1, &len) != 1)
		return error_set(err, -EPROTO, "CRIU sent no userfaultfd for process %u", pid);
	for (uint32_t i = 0; i < f->tasks.n; i++)
		if (f->tasks.items[i].pid == pid)
			return error_set(err, -EPROTO, "CRIU sent process %u twice", pid);
	/* CRIU opens it so; a read that blocks would stop everything. */
	fcntl(uffd, F_SETFL, O_NONBLOCK);
	if (tasks_add(&f->tasks, pid, take_fd(&uffd)) < 0 || find_pending(f, &f->tasks.items[f->tasks.n - 1]) < 0)
		return error_set(err, -ENOMEM, "too many processes to fill");
	return 0;
}

static void criu_left(struct filling *f)
{
	close(take_fd(&f->criu_fd));
	if (f->open || f->done)
		return;
	give_up(f, -ESRCH, &(struct error){ .message = "CRIU has gone" });
	_exit(0);
}

/* A message begins with an int: a pid, a negative pid (of a zombie: no fd follows), or the end. */
static int hear_criu(struct filling *f, struct error *err)
{
	int32_t word;
	int r = read_full(f->criu_fd, &word, sizeof(word));

	if (r < 0 || word == RESTORE_FINISHED)
		criu_left(f);
	else if (word == 0 || word > (int32_t)FILL_PID_MAX)
		return error_set(err, -EPROTO, "CRIU speaks another language: 0x%x on lazy-pages.socket", (unsigned)word);
	else if (word > 0)
		return add_task(f, (uint32_t)word, err);
	return 0;
}

static bool readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	return fd >= 0 && poll(&p, 1, 0) > 0;
}

/* --- the work --- */

static void remove_task(struct filling *f, uint32_t i)
{
	if (f->source.later)
		later_forget(f->source.later, f->tasks.items[i].uffd);
	tasks_remove(&f->tasks, i);
}

/* Who runs and has ended needs nothing more; memory that the container's limit does not give may be there in a moment, or the kernel ends one of its processes. */
static int judge(struct filling *f, uint32_t i, int r)
{
	const struct fill_task *t = &f->tasks.items[i];

	if (r == -ESRCH && f->open) {
		remove_task(f, i);
		return 0;
	}
	f->wait = r < 0 || f->wait;
	if (r == -ENOMEM && f->open) {
		if (!f->no_memory_us)
			f->no_memory_us = clock_mono_us();
		return clock_mono_us() - f->no_memory_us < NO_MEMORY_US ? 0 : r;
	}
	/* Registered it was; an event that has not been told yet says what became of it. */
	if (r == -ENOENT && f->ready && t->blocked_us && clock_mono_us() - t->blocked_us < BLOCKED_US)
		return 0;
	if (r == -ENOENT && f->open && t->child) {
		const struct fill_seg *s = &t->pending.segs[t->pending.first];

		return pending_cut(&f->tasks.items[i].pending, s->vaddr, s->vaddr + (uint64_t)s->pages * FILL_PAGE);
	}
	return r;
}

/* One after the other: the largest of those that were there from the beginning, then the children, since most of these end, or become other programs, soon. */
static uint32_t whom_to_fill(const struct filling *f)
{
	uint32_t best = UINT32_MAX;

	for (uint32_t i = 0; i < f->tasks.n; i++) {
		const struct fill_task *t = &f->tasks.items[i], *b = best == UINT32_MAX ? NULL : &f->tasks.items[best];

		if (t->pending.pages && t->uffd == f->current)
			return i;
		if (t->pending.pages && (!b || (!t->child && b->child) || (t->child == b->child && t->pending.pages > b->pending.pages)))
			best = i;
	}
	return best;
}

/* 1: the task's next page is here. */
static int fetch(struct filling *f, const struct fill_task *t, struct error *err)
{
	int r = fill_ask_ahead(&f->source, t, err);

	f->starved = later_here(f->source.later, t->pending.segs[t->pending.first].offset, 1) == 0;
	return r < 0 ? r : !f->starved;
}

static int fill_some(struct filling *f, struct error *err)
{
	uint32_t i = whom_to_fill(f), pages = 0;
	int64_t start = clock_mono_us();
	int r;

	f->wait = false;
	if (i == UINT32_MAX)
		return 0;
	f->current = f->tasks.items[i].uffd;
	if (f->source.later && (r = fetch(f, &f->tasks.items[i], err)) <= 0)
		return r;
	r = fill_copy(&f->source, &f->tasks.items[i], SLICE_PAGES, &pages, err);
	f->pages += pages;
	f->busy_us += clock_mono_us() - start;
	if (pages)
		f->no_memory_us = 0;
	return r < 0 ? judge(f, i, r) : 0;
}

static bool has_task(const struct filling *f, uint32_t pid)
{
	for (uint32_t i = 0; i < f->tasks.n; i++)
		if (f->tasks.items[i].pid == pid)
			return true;
	return false;
}

/* At the barrier CRIU has sent all tasks: who is in the list must be among them, with memory that is registered. */
static int get_ready(struct filling *f, struct error *err)
{
	const struct fill_runs *l = &f->source.list;
	int r = 0;

	for (uint32_t i = 0; i < l->n; i++)
		if ((i == 0 || l->runs[i].ns_pid != l->runs[i - 1].ns_pid) && !has_task(f, l->runs[i].ns_pid))
			return error_set(err, -EPROTO, "CRIU restored no process %u", l->runs[i].ns_pid);
	for (uint32_t i = 0; r == 0 && i < f->tasks.n; i++)
		r = fill_probe(&f->source, &f->tasks.items[i], &f->pages, err);
	if (r < 0)
		return r;
	f->ready = true;
	fill_runs_free(&f->source.list);
	/* Whoever dies now, the other goes on (or ends what runs): they share their open files. */
	prctl(PR_SET_PDEATHSIG, 0);
	process_keep();
	tell(f, FILL_READY, "");
	return 0;
}

/* CRIU's own copies of the fds were closed when it had registered the memory (criu/pie/restorer.c): by these the kernel forgets. */
static void release(struct filling *f)
{
	char text[64];

	for (uint32_t i = f->tasks.n; i > 0; i--)
		if (f->tasks.items[i - 1].pending.pages == 0)
			remove_task(f, i - 1);
	if (f->tasks.n || f->done)
		return;
	snprintf(text, sizeof(text), "%llu %lld", (unsigned long long)f->pages, (long long)f->busy_us);
	f->done = true;
	fill_source_close(&f->source);
	tell(f, FILL_DONE, text);
}

/* The program runs, its memory will never be complete, and the monitor, which would end it, has died. */
static bool is_last(const struct filling *f)
{
	return f->over && f->open && f->monitor_fd < 0;
}

/*
 * The shim, which has seen its monitor die, ends the container, now or later.  Until then this process must stay: without it the kernel would give zeros for what is missing.  After that
 * nobody must hold the memory that is in the store.
 */
static void leave_the_dead(struct filling *f)
{
	for (uint32_t i = f->tasks.n; i > 0; i--)
		if (fill_is_gone(&f->tasks.items[i - 1]))
			remove_task(f, i - 1);
	if (f->tasks.n == 0)
		_exit(0);
}

/* --- the loop --- */

/*
 * Microseconds until memory is filled that nobody has asked for; -1: not before the open.  While the pod stands still the processors are for CRIU, which
 * restores and resumes its other containers.
 */
static int64_t held_us(const struct filling *f)
{
	int64_t left = f->open_us + HOLD_US - clock_mono_us();

	return !f->open ? -1 : left > 0 ? left : 0;
}

/* Milliseconds; -1: until something happens. */
static int how_long(const struct filling *f)
{
	int64_t held = held_us(f);

	if (is_last(f))
		return LOST_MS;
	if (f->over || f->done || !f->ready || held < 0 || whom_to_fill(f) == UINT32_MAX)
		return f->source.later && !f->over && !f->done ? LOOK_MS : -1;
	return held > 0 ? (int)((held + 999) / 1000) : f->wait ? RETRY_MS : f->starved ? LOOK_MS : 0;
}

static int make_room(struct filling *f)
{
	struct pollfd *polls;

	if (f->tasks.n + FIXED <= f->room)
		return 0;
	polls = realloc(f->polls, (f->tasks.n * 2 + 64) * sizeof(*polls));
	if (!polls)
		return -ENOMEM;
	f->polls = polls;
	f->room = f->tasks.n * 2 + 64;
	return 0;
}

static void look(struct filling *f)
{
	/* When it failed and the program runs, who waits for a page waits until it is ended. */
	bool answer = f->over ? !f->open : f->source.store_fd >= 0;

	if (make_room(f) < 0)
		_exit(1);
	f->polls[0] = (struct pollfd){ f->control_fd, POLLIN, 0 };
	f->polls[1] = (struct pollfd){ f->criu_fd >= 0 ? f->criu_fd : f->listen_fd, POLLIN, 0 };
	f->polls[2] = (struct pollfd){ f->monitor_fd, POLLIN, 0 };
	f->polls[3] = (struct pollfd){ f->over ? -1 : later_fd(f->source.later), POLLIN, 0 };
	for (uint32_t i = 0; i < f->tasks.n; i++)
		f->polls[FIXED + i] = (struct pollfd){ answer ? f->tasks.items[i].uffd : -1, POLLIN, 0 };
	f->polled = f->tasks.n;
	if (poll(f->polls, f->polled + FIXED, how_long(f)) < 0)
		memset(f->polls, 0, (f->polled + FIXED) * sizeof(*f->polls));
}

static int answer_faults(struct filling *f, uint32_t i, struct error *err)
{
	for (uint32_t k = 0; k < f->tasks.n_faults; k++) {
		const struct fill_fault *fault = &f->tasks.faults[k];
		uint32_t pages = 0, before = f->tasks.n;
		int r = 0;

		if (f->over)
			fill_serve_zero(&f->tasks.items[i], fault->address);
		else
			r = fill_serve(&f->source, &f->tasks.items[i], fault->address, fault->write, &pages, err);
		f->pages += pages;
		if (r < 0 && (r = judge(f, i, r)) < 0)
			return r;
		if (f->tasks.n != before)
			return 0;
		if (f->no_memory_us)
			fill_try_again(&f->tasks.items[i], fault->address);
	}
	return 0;
}

/* From the last to the first: one that is removed is replaced by the last, one that is new comes behind. */
static int serve_tasks(struct filling *f, struct error *err)
{
	for (uint32_t i = f->polled; i > 0; i--) {
		bool told = f->polls[FIXED + i - 1].revents;
		int r = told ? tasks_hear(&f->tasks, i - 1, err) : 0;

		if (r == 0 && told)
			r = answer_faults(f, i - 1, err);
		if (r < 0 && !f->over)
			return r;
		if (r < 0)
			remove_task(f, i - 1);
	}
	return 0;
}

static int hear_later(struct filling *f, struct error *err)
{
	int r = f->source.later && !f->over && !f->done ? later_hear(f->source.later, err) : 0;

	if (r == 0)
		fill_wake(&f->source, false);
	return r;
}

static int step(struct filling *f, struct error *err)
{
	int r = serve_tasks(f, err);

	if (r == 0)
		r = hear_later(f, err);
	/* What the monitor said before it died counts. */
	while (r == 0 && readable(f->control_fd))
		r = hear_monitor(f, err);
	if (r == 0 && f->polls[2].revents)
		monitor_died(f);
	if (is_last(f))
		leave_the_dead(f);
	if (r == 0 && !f->connected && readable(f->listen_fd))
		r = accept_criu(f, err);
	/* All that it has said: what came before the barrier has been heard before that is looked at. */
	while (r == 0 && readable(f->criu_fd))
		r = hear_criu(f, err);
	if (r < 0 || f->over || f->done || !f->barrier || f->source.store_fd < 0)
		return r;
	if (!f->ready)
		r = get_ready(f, err);
	else if (held_us(f) == 0)
		r = fill_some(f, err);
	if (r == 0 && f->ready)
		release(f);
	return r;
}

void fill_main(int listen_fd, int control_fd, int monitor_fd)
{
	struct filling f = { .listen_fd = listen_fd, .control_fd = control_fd, .monitor_fd = monitor_fd, .criu_fd = -1, .current = -1, .cut = { -1, -1 },
			     .source = { .store_fd = -1 } };
	struct error err = { 0 };

	/* CRIU says goodbye when it has resumed the program, and takes a closed connection for a failed restore. */
	while (!f.done || !f.open || f.criu_fd >= 0) {
		int r;

		look(&f);
		r = step(&f, &err);
		if (r < 0)
			give_up(&f, r, &err);
	}
	/* The table of open files is the monitor's as well. */
	if (f.listen_fd >= 0)
		close(f.listen_fd);
	if (f.monitor_fd >= 0)
		close(f.monitor_fd);
	_exit(0);
}
