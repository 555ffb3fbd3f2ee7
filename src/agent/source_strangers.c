/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "container/process_info.h"
#include "migration/reason.h"

#define PATIENCE_US 10000000    /* a probe that exec's takes a tenth of a second; what stays for this long is a person's shell */
#define PATIENCE_AFTER_US 2000000

struct stranger {
	pid_t pid;
	const char *container;
};

/* The first one found, in any container; pid 0: none. */
static int find(struct source *s, struct stranger *ret, struct error *err)
{
	pid_t pids[SOURCE_PROCESSES_MAX];

	*ret = (struct stranger){ 0 };
	for (int i = 0; i < s->n; i++) {
		const struct source_container *c = &s->containers[i];
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		if (n < 0)
			return error_set(err, n, "container %s: its processes cannot be listed", c->info.name);
		for (int k = 0; k < n; k++)
			if (!process_descends(pids[k], c->init_pid)) {
				*ret = (struct stranger){ pids[k], c->info.name };
				return 0;
			}
	}
	return 0;
}

static int refuse(const struct stranger *x, struct error *err)
{
	cleanup_buf struct buf name = BUF_INIT(64);
	char path[64];

	path_format(path, sizeof(path), "/proc/%d/comm", x->pid);
	if (file_read(AT_FDCWD, path, &name, NULL) < 0)
		buf_puts(&name, "?");
	return error_reason(err, -EBUSY, REASON_UnsupportedContainer,
			    "container %s: process %d (%.*s) is not the container's own but was put into it (kubectl exec, a probe or hook), or has outlived its parent in a pod "
			    "that shares its process namespace; end it",
			    x->container, x->pid, (int)strcspn(name.data, "\n"), name.data);
}

/* Until it has ended; -EBUSY when it has not by then. */
static int wait_end(const struct stranger *x, int64_t deadline_us, struct error *err)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, x->pid, 0);
	struct pollfd p = { fd, POLLIN, 0 };

	while (fd >= 0) {
		int64_t left = deadline_us - clock_mono_us();
		int n = poll(&p, 1, left > 0 ? (int)((left + 999) / 1000) : 0);

		if (n > 0)
			return 0;
		if (n == 0 && left <= 0)
			return refuse(x, err);
	}
	return errno == ESRCH ? 0 : error_errno(err, "wait for the end of process %d", x->pid);
}

/* All that are there. */
static void add_all(struct source *s, struct obstacles *found)
{
	pid_t pids[SOURCE_PROCESSES_MAX];

	for (int i = 0; i < s->n; i++) {
		const struct source_container *c = &s->containers[i];
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		if (n < 0)
			obstacles_add(found, REASON_NONE, "container %s: its processes cannot be listed: %s", c->info.name, strerror(-n));
		for (int k = 0; k < n; k++) {
			struct error one = { 0 };

			if (!process_descends(pids[k], c->init_pid))
				obstacles_take(found, refuse(&(struct stranger){ pids[k], c->info.name }, &one), &one);
		}
	}
}

/* Who has waited for the memory of its last migration already has less: the controller waits for a first word of us (source_filled.c). */
static int64_t patience(const struct source *s)
{
	int64_t own = clock_mono_us() + PATIENCE_US, all = s->filled_us + PATIENCE_AFTER_US;

	return s->filled_us && all < own ? all : own;
}

int source_wait_strangers(struct source *s, struct obstacles *found, struct error *err)
{
	int64_t deadline;
	struct stranger x;
	int r;

	/* It cannot go anyway. */
	if (found->n) {
		add_all(s, found);
		return 0;
	}
	deadline = patience(s);
	/* Probes come one after the other: only the one that stays is in the way. */
	while ((r = find(s, &x, err)) == 0 && x.pid && clock_mono_us() < deadline) {
		r = wait_end(&x, deadline, err);
		if (r < 0)
			break;
	}
	if (r != -EBUSY)
		return r;
	add_all(s, found);
	return 0;
}

/* A program that shares its process namespace and leaves orphans behind all the time would otherwise be frozen and thawed for ever, whatever is ordered meanwhile. */
static int may_try_again(struct source *s, const struct stranger *x, int64_t deadline_us, struct error *err)
{
	int r = control_check(s->control, err);

	if (r < 0 || clock_mono_us() < deadline_us)
		return r;
	return error_reason(err, -EBUSY, REASON_UnsupportedContainer,
			    "container %s: there was no moment in %d s without a process that is not its own (the last one was %d): probes or hooks that follow each other without a pause, or processes that "
			    "outlive their parents in a pod that shares its process namespace",
			    x->container, (int)(PATIENCE_US / 1000000), x->pid);
}

int source_freeze(struct source *s, int64_t timeout_us, struct error *err)
{
	int64_t deadline = clock_mono_us() + PATIENCE_US;

	for (;;) {
		struct stranger x;
		int r;

		s->mark[MARK_FREEZE] = clock_mono_us();
		r = freezer_freeze(&s->freezer, s->mark[MARK_FREEZE] + timeout_us, err);
		if (r < 0)
			return error_reason(err, r, REASON_FreezeFailed, "%s", err->message);
		r = find(s, &x, err);
		if (r < 0 || !x.pid)
			return r;
		/* Only a pod that runs lets it end. */
		r = freezer_thaw(&s->freezer, err);
		if (r == 0)
			r = wait_end(&x, deadline, err);
		if (r == 0)
			r = may_try_again(s, &x, deadline, err);
		if (r < 0)
			return r;
	}
}
