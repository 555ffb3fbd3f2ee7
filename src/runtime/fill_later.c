/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_later.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

#define AHEAD 1024u                     /* pages asked for and not here yet: 4 MiB, what 1 Gbit/s carries in 32 ms */
#define PATIENCE_US 60000000            /* the source is lost when nothing comes for so long */

enum { HERE, AWAY, ASKED };

struct waiter {
	int uffd;
	uint64_t vaddr, offset;
};

struct fill_later {
	int fd;
	uint8_t *state;                 /* of each page of the store */
	uint64_t pages;
	uint32_t asked;
	int64_t heard_us;               /* when something came last, or was asked for while nothing was under way */
	struct waiter *waiters;
	uint32_t n, room;
};

static int note_marks(struct fill_later *l, struct fill_runs *runs)
{
	int later = 0;

	for (uint32_t i = 0; i < runs->n; i++) {
		struct fill_run *r = &runs->runs[i];

		if (!(r->offset & FILL_LATER))
			continue;
		later = 1;
		r->offset &= ~(uint64_t)FILL_LATER;
		for (uint32_t k = 0; k < r->pages; k++)
			l->state[r->offset / FILL_PAGE + k] = AWAY;
	}
	return later;
}

int later_new(struct fill_runs *runs, int fd, struct fill_later **ret, struct error *err)
{
	struct fill_later *l = calloc(1, sizeof(*l));
	int later;

	*ret = NULL;
	if (l) {
		l->fd = fd;
		l->pages = runs->store_size / FILL_PAGE;
		l->state = calloc(l->pages + 1, 1);
	} else if (fd >= 0) {
		close(fd);
	}
	if (!l || !l->state) {
		later_free(l);
		return error_set(err, -ENOMEM, "out of memory for the pages that come later");
	}
	later = note_marks(l, runs);
	if (later && fd < 0) {
		later_free(l);
		return error_set(err, -EPROTO, "pages are to come later, and nobody is there to ask for them");
	}
	if (later)
		*ret = l;
	else
		later_free(l);
	return 0;
}

void later_free(struct fill_later *l)
{
	if (!l)
		return;
	if (l->fd >= 0)
		close(l->fd);
	free(l->state);
	free(l->waiters);
	free(l);
}

int later_fd(const struct fill_later *l)
{
	return l ? l->fd : -1;
}

static uint32_t count(const struct fill_later *l, uint64_t offset, uint32_t pages, uint8_t state)
{
	uint64_t first = offset / FILL_PAGE;
	uint32_t n = 0;

	while (n < pages && first + n < l->pages && l->state[first + n] == state)
		n++;
	return n;
}

static void set(struct fill_later *l, uint64_t offset, uint32_t pages, uint8_t state)
{
	for (uint32_t i = 0; i < pages; i++)
		l->state[offset / FILL_PAGE + i] = state;
}

uint32_t later_here(const struct fill_later *l, uint64_t offset, uint32_t pages)
{
	return l ? count(l, offset, pages, HERE) : pages;
}

bool later_has_room(const struct fill_later *l)
{
	return l->asked < AHEAD;
}

/* Pages that are all away. */
static int ask(struct fill_later *l, uint64_t offset, uint32_t pages, struct error *err)
{
	struct fill_packet p = { .offset = offset, .pages = pages };

	if (l->fd < 0 || send(l->fd, &p, sizeof(p), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		if (l->fd >= 0 && errno == EAGAIN)
			return 0;
		return error_set(err, -EPIPE, "memory is still at the source, and the agent that brought it has ended");
	}
	if (l->asked == 0)
		l->heard_us = clock_mono_us();
	set(l, offset, pages, ASKED);
	l->asked += pages;
	return 0;
}

int later_ask(struct fill_later *l, uint64_t offset, uint32_t pages, struct error *err)
{
	uint32_t i = 0;
	int r = 0;

	while (r == 0 && i < pages) {
		uint32_t left = pages - i < FILL_ASK_MAX ? pages - i : FILL_ASK_MAX, n = count(l, offset + (uint64_t)i * FILL_PAGE, left, AWAY);

		if (n)
			r = ask(l, offset + (uint64_t)i * FILL_PAGE, n, err);
		i += n ? n : 1;
	}
	return r;
}

int later_wait(struct fill_later *l, int uffd, uint64_t vaddr, uint64_t offset)
{
	if (l->n == l->room) {
		uint32_t room = l->room ? l->room * 2 : 64;
		struct waiter *more = realloc(l->waiters, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->waiters = more;
		l->room = room;
	}
	l->waiters[l->n++] = (struct waiter){ uffd, vaddr, offset };
	return 0;
}

/* What was asked for can be asked again: whoever needs it finds out that there is nobody. */
static void agent_has_gone(struct fill_later *l)
{
	close(take_fd(&l->fd));
	for (uint64_t i = 0; i < l->pages; i++)
		if (l->state[i] == ASKED)
			l->state[i] = AWAY;
	l->asked = 0;
}

static int take(struct fill_later *l, const struct fill_packet *p, struct error *err)
{
	if (p->offset % FILL_PAGE || p->pages == 0 || count(l, p->offset, p->pages, ASKED) != p->pages)
		return error_set(err, -EPROTO, "pages came that were not asked for");
	set(l, p->offset, p->pages, HERE);
	l->asked -= p->pages;
	l->heard_us = clock_mono_us();
	return 0;
}

/* Those for whom the socket had no room, and those whose answer will not come. */
static int ask_for_waiters(struct fill_later *l, struct error *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < l->n; i++)
		if (l->state[l->waiters[i].offset / FILL_PAGE] == AWAY)
			r = ask(l, l->waiters[i].offset, 1, err);
	return r;
}

int later_hear(struct fill_later *l, struct error *err)
{
	struct fill_packet p;
	ssize_t n = -1;
	int r = 0;

	while (r == 0 && l->fd >= 0 && (n = recv(l->fd, &p, sizeof(p), MSG_DONTWAIT)) == (ssize_t)sizeof(p))
		r = take(l, &p, err);
	if (r < 0)
		return r;
	if (l->fd >= 0 && (n >= 0 || (errno != EAGAIN && errno != EINTR)))
		agent_has_gone(l);
	r = ask_for_waiters(l, err);
	if (r < 0)
		return r;
	if (l->asked && clock_mono_us() - l->heard_us > PATIENCE_US)
		return error_set(err, -ETIMEDOUT, "nothing came from the source for %d s, and memory is still there", PATIENCE_US / 1000000);
	return 0;
}

bool later_next_waiter(struct fill_later *l, bool all, int *ret_uffd, uint64_t *ret_vaddr)
{
	for (uint32_t i = 0; i < l->n; i++) {
		const struct waiter *w = &l->waiters[i];

		if (!all && l->state[w->offset / FILL_PAGE] != HERE)
			continue;
		*ret_uffd = w->uffd;
		*ret_vaddr = w->vaddr;
		l->waiters[i] = l->waiters[--l->n];
		return true;
	}
	return false;
}

void later_forget(struct fill_later *l, int uffd)
{
	for (uint32_t i = l->n; i > 0; i--)
		if (l->waiters[i - 1].uffd == uffd)
			l->waiters[i - 1] = l->waiters[--l->n];
}
