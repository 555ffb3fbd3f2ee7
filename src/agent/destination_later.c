/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "destination.h"
#include "migration/reason.h"

/*
 * PostCopy: memory that is still at the source.  Each container's filler asks for pages by their place in the page store (migration/fill.h), the source is asked by
 * process and address (WANT), and what comes goes into the store before the filler is told.  All of it in the main thread, between the frames that it waits for:
 * CRIU itself wants pages before the barrier.
 */

/* Asked of the source. */
struct later_ask {
	uint16_t container;
	struct fill_run run;            /* what: at most FILL_ASK_MAX pages */
	uint32_t left;                  /* not come */
	bool here[FILL_ASK_MAX];
};

int destination_later_begin(struct destination *d, struct error *err)
{
	const struct timeval patience = { 5, 0 };

	d->finished_fd = eventfd(0, EFD_CLOEXEC);
	if (d->finished_fd < 0)
		return error_errno(err, "eventfd");
	for (int i = 0; i < d->n; i++) {
		struct destination_container *c = &d->containers[i];
		int pair[2];

		if (!c->lazy)
			continue;
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return error_errno(err, "socketpair");
		setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		c->later_fd = pair[0];
		c->filler_fd = pair[1];
		c->later = d->later = d->note.later = true;
	}
	return 0;
}

void destination_later_end(struct destination *d)
{
	for (int i = 0; i < d->n; i++) {
		struct destination_container *c = &d->containers[i];

		if (c->later_fd >= 0)
			close(take_fd(&c->later_fd));
		if (c->filler_fd >= 0)
			close(take_fd(&c->filler_fd));
		free(take_ptr(c->later_runs));
	}
	free(take_ptr(d->asks));
	if (d->finished_fd >= 0)
		close(take_fd(&d->finished_fd));
}

bool destination_lacks(const struct destination *d)
{
	for (int i = 0; i < d->n; i++)
		if (d->containers[i].later && (!d->containers[i].monitor || !monitor_filled(d->containers[i].monitor)))
			return true;
	return false;
}

/* --- to the source --- */

static int send_want(struct destination *d, const struct later_ask *a, struct error *err)
{
	struct wire_pages p = { .ns_pid = (pid_t)a->run.ns_pid, .address = a->run.vaddr, .pages = a->run.pages };
	uint8_t head[WIRE_PAGES_HEAD];

	wire_pages_pack(&p, head);
	return wire_send(d->wire, WIRE_WANT, a->container, head, sizeof(head), NULL, 0, err);
}

static int add_ask(struct destination *d, uint16_t container, const struct fill_run *run, struct error *err)
{
	struct later_ask *a;

	if (d->n_asks == d->asks_room) {
		size_t room = d->asks_room ? d->asks_room * 2 : 64;
		struct later_ask *more = realloc(d->asks, room * sizeof(*more));

		if (!more)
			return error_set(err, -ENOMEM, "out of memory for the pages that come later");
		d->asks = more;
		d->asks_room = room;
	}
	a = &d->asks[d->n_asks++];
	*a = (struct later_ask){ .container = container, .run = *run, .left = run->pages };
	return send_want(d, a, err);
}

/* The run that holds the place, or NULL. */
static const struct fill_run *find_run(const struct destination_container *c, uint64_t offset)
{
	size_t from = 0, to = c->n_later_runs;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		const struct fill_run *r = &c->later_runs[mid];

		if (offset < r->offset)
			to = mid;
		else if (offset >= r->offset + (uint64_t)r->pages * FILL_PAGE)
			from = mid + 1;
		else
			return r;
	}
	return NULL;
}

/* What lies side by side in the store may be apart in memory. */
static int ask(struct destination *d, struct destination_container *c, const struct fill_packet *p, struct error *err)
{
	uint64_t at = p->offset, end = at + (uint64_t)p->pages * FILL_PAGE;
	int r = 0;

	if (p->pages > FILL_ASK_MAX)
		return error_set(err, -EPROTO, "the filler asks for too much");
	while (r == 0 && at < end) {
		const struct fill_run *run = find_run(c, at);
		struct fill_run part;
		uint64_t last;

		if (!run)
			return error_set(err, -EPROTO, "the filler asks for a page that does not come later");
		last = run->offset + (uint64_t)run->pages * FILL_PAGE;
		last = last < end ? last : end;
		part = (struct fill_run){ run->ns_pid, (uint32_t)((last - at) / FILL_PAGE), run->vaddr + (at - run->offset), at };
		r = add_ask(d, c->index, &part, err);
		at = last;
	}
	return r;
}

static int hear_filler(struct destination *d, struct destination_container *c, struct error *err)
{
	struct fill_packet p;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = recv(c->later_fd, &p, sizeof(p), MSG_DONTWAIT)) == (ssize_t)sizeof(p))
		r = ask(d, c, &p, err);
	/* It has all, or has ended: its monitor tells. */
	if (r == 0 && (n >= 0 || (errno != EAGAIN && errno != EINTR)))
		close(take_fd(&c->later_fd));
	return r;
}

int destination_ask_again(struct destination *d, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < d->n_asks; i++)
		r = send_want(d, &d->asks[i], err);
	return r;
}

/* --- from the source --- */

static struct later_ask *find_ask(struct destination *d, uint16_t container, const struct wire_pages *p)
{
	for (size_t i = 0; i < d->n_asks; i++) {
		struct later_ask *a = &d->asks[i];

		if (a->container == container && a->run.ns_pid == (uint32_t)p->ns_pid && p->address >= a->run.vaddr &&
		    p->pages <= a->run.pages && p->address - a->run.vaddr <= (uint64_t)(a->run.pages - p->pages) * FILL_PAGE)
			return a;
	}
	return NULL;
}

/* Answered again after the source was dialled again: only what is new is told. */
static void tell_filler(struct destination *d, struct later_ask *a, uint32_t first, uint32_t pages)
{
	struct destination_container *c = &d->containers[a->container];

	for (uint32_t i = first; i < first + pages;) {
		struct fill_packet p = { .offset = a->run.offset + (uint64_t)i * FILL_PAGE };

		while (i < first + pages && !a->here[i]) {
			a->here[i++] = true;
			p.pages++;
		}
		a->left -= p.pages;
		c->later_pages += p.pages;
		/* One that has ended, or that takes nothing any more: its monitor tells. */
		if (p.pages && c->later_fd >= 0 && send(c->later_fd, &p, sizeof(p), MSG_NOSIGNAL) < 0)
			close(take_fd(&c->later_fd));
		while (i < first + pages && a->here[i])
			i++;
	}
}

static int take_pages(struct destination *d, const struct wire_frame *f, struct error *err)
{
	struct later_ask *a;
	struct wire_pages p;
	int r = wire_pages_unpack(f, &p, err);

	if (r < 0)
		return r;
	a = f->container < d->n ? find_ask(d, f->container, &p) : NULL;
	if (!a)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "pages came that nobody asked for");
	r = page_store_put(d->store, f, err);
	if (r == 0)
		tell_filler(d, a, (uint32_t)((p.address - a->run.vaddr) / FILL_PAGE), p.pages);
	if (a->left == 0)
		*a = d->asks[--d->n_asks];
	return r;
}

/* --- between other frames --- */

enum { AT_UNTIL, AT_WIRE, AT_FILLERS };

static void look(struct destination *d, int until_fd, bool monitors, struct pollfd *p)
{
	p[AT_UNTIL] = (struct pollfd){ until_fd, POLLIN, 0 };
	p[AT_WIRE] = (struct pollfd){ wire_fd(d->wire), POLLIN, 0 };
	for (int i = 0; i < d->n; i++) {
		const struct destination_container *c = &d->containers[i];

		p[AT_FILLERS + i] = (struct pollfd){ c->later_fd, POLLIN, 0 };
		p[AT_FILLERS + d->n + i] = (struct pollfd){ monitors && c->later && c->monitor && !monitor_filled(c->monitor) ? monitor_fd(c->monitor) : -1, POLLIN, 0 };
	}
}

static int hear_containers(struct destination *d, const struct pollfd *p, struct error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < d->n; i++) {
		struct destination_container *c = &d->containers[i];

		if (p[AT_FILLERS + i].revents)
			r = hear_filler(d, c, err);
		if (r == 0 && p[AT_FILLERS + d->n + i].revents && (r = monitor_hear(c->monitor, err)) < 0) {
			d->filler_failed = true;
			error_wrap(err, r, "container %s", c->info.name);
		}
	}
	return r;
}

/* 1: *ret is a frame of another kind; 0: it was one of pages. */
static int hear_wire(struct destination *d, struct wire_frame *ret, struct error *err)
{
	int r = wire_receive(d->wire, 0, ret, err);

	if (r < 0)
		return r;
	return ret->type == WIRE_PAGES || ret->type == WIRE_ZEROS ? take_pages(d, ret, err) : 1;
}

int destination_pump(struct destination *d, int until_fd, int64_t idle_us, struct wire_frame *ret, struct error *err)
{
	struct pollfd p[AT_FILLERS + 2 * WIRE_CONTAINERS_MAX];
	bool completing = until_fd < 0 && idle_us > 0;
	int r = 0;

	while (r == 0) {
		bool more = wire_has_more(d->wire);
		int n;

		if (completing && !destination_lacks(d))
			return 0;
		look(d, until_fd, completing, p);
		n = poll(p, (nfds_t)(AT_FILLERS + 2 * d->n), more ? 0 : idle_us > 0 ? (int)(idle_us / 1000) : -1);
		if (n < 0 && errno != EINTR)
			return error_errno(err, "poll");
		if (n == 0 && !more)
			return error_reason(err, -ETIMEDOUT, REASON_TransferFailed, "the source does not answer, and memory is still there");
		if (n < 0)
			continue;
		r = hear_containers(d, p, err);
		if (r == 0 && (more || p[AT_WIRE].revents))
			r = hear_wire(d, ret, err);
		if (r == 0 && p[AT_UNTIL].revents)
			return 0;
	}
	return r;
}

/* --- while something else is done --- */

void destination_finished(struct destination *d)
{
	if (d->finished_fd >= 0)
		eventfd_write(d->finished_fd, 1);
}

int destination_pump_until(struct destination *d, int times, struct error *err)
{
	struct wire_frame f;
	eventfd_t done;

	while (times > 0) {
		int r = destination_pump(d, d->finished_fd, 0, &f, err);

		if (r < 0)
			return r;
		if (r > 0)
			return error_reason(err, -ECONNABORTED, f.type == WIRE_ABORT ? REASON_Cancelled : REASON_ProtocolError,
					    "the source sent frame type %d while its memory was awaited", f.type);
		if (eventfd_read(d->finished_fd, &done) == 0)
			times -= (int)done;
	}
	return 0;
}
