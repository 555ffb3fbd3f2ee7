/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_run.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

static int damaged(struct error *err, const char *what)
{
	return error_set(err, -EBADMSG, "the list of pages is damaged: %s", what);
}

static bool follows(const struct fill_run *a, const struct fill_run *b)
{
	return a->ns_pid < b->ns_pid || (a->ns_pid == b->ns_pid && a->vaddr + (uint64_t)a->pages * FILL_PAGE <= b->vaddr);
}

static int check_run(const struct fill_run *r, uint64_t store_size, struct error *err)
{
	uint64_t len = (uint64_t)r->pages * FILL_PAGE, offset = r->offset & ~(uint64_t)FILL_LATER;

	if (r->ns_pid == 0 || r->ns_pid > FILL_PID_MAX || r->pages == 0)
		return damaged(err, "a run is empty or of no process");
	if (r->vaddr % FILL_PAGE || r->vaddr >= FILL_VADDR_END || len > FILL_VADDR_END - r->vaddr)
		return damaged(err, "an address is out of range");
	if (offset % FILL_PAGE || offset > store_size || len > store_size - offset)
		return damaged(err, "a page is not in the store");
	return 0;
}

static int check_runs(const struct fill_runs *l, uint64_t pages, struct error *err)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		int r = check_run(&l->runs[i], l->store_size, err);

		if (r < 0)
			return r;
		if (i && !follows(&l->runs[i - 1], &l->runs[i]))
			return damaged(err, "runs overlap or are out of order");
		sum += l->runs[i].pages;
	}
	return sum == pages ? 0 : damaged(err, "its number of pages");
}

static int read_at(int fd, void *data, size_t len, off_t at)
{
	while (len) {
		ssize_t n = pread(fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		data = (char *)data + n;
		len -= (size_t)n;
		at += n;
	}
	return 0;
}

static int read_head(int list_fd, int store_fd, struct fill_head *h, struct fill_runs *l, struct error *err)
{
	struct stat list, store;

	if (fstat(list_fd, &list) < 0 || fstat(store_fd, &store) < 0)
		return error_errno(err, "look at the list of pages");
	if (!S_ISREG(list.st_mode) || !S_ISREG(store.st_mode) || read_at(list_fd, h, sizeof(*h), 0) < 0)
		return damaged(err, "it has no head");
	if (h->magic != FILL_MAGIC || h->runs > FILL_RUNS_MAX ||
	    (uint64_t)list.st_size != sizeof(*h) + h->runs * sizeof(struct fill_run))
		return damaged(err, "its head");
	l->n = (uint32_t)h->runs;
	l->store_size = (uint64_t)store.st_size;
	return 0;
}

/* Into memory first, then checked: nobody can change it in between. */
int fill_runs_load(int list_fd, int store_fd, struct fill_runs *ret, struct error *err)
{
	struct fill_runs l = { 0 };
	struct fill_head h = { 0 };
	int r = read_head(list_fd, store_fd, &h, &l, err);

	if (r < 0)
		return r;
	l.runs = calloc(l.n + 1, sizeof(*l.runs));
	if (!l.runs)
		r = error_set(err, -ENOMEM, "out of memory for the list of pages");
	if (r == 0 && (r = read_at(list_fd, l.runs, l.n * sizeof(*l.runs), sizeof(h))) < 0)
		error_set(err, r, "read the list of pages: %s", strerror(-r));
	if (r == 0)
		r = check_runs(&l, h.pages, err);
	if (r < 0) {
		fill_runs_free(&l);
		return r;
	}
	*ret = l;
	return 0;
}

void fill_runs_free(struct fill_runs *l)
{
	free(l->runs);
	*l = (struct fill_runs){ 0 };
}

/* Number of the first run at or behind this place. */
static uint32_t lower_bound(const struct fill_runs *l, uint32_t ns_pid, uint64_t end)
{
	const struct fill_run place = { .ns_pid = ns_pid, .vaddr = end };
	uint32_t from = 0, to = l->n;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;

		if (follows(&l->runs[mid], &place))
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

uint32_t fill_runs_of(const struct fill_runs *l, uint32_t ns_pid, uint32_t *ret_first)
{
	*ret_first = lower_bound(l, ns_pid, 0);
	return lower_bound(l, ns_pid + 1, 0) - *ret_first;
}
