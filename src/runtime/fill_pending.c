/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t end_of(const struct fill_seg *s)
{
	return s->vaddr + (uint64_t)s->pages * FILL_PAGE;
}

/* Number of the first segment that ends behind this address. */
static uint32_t place_of(const struct fill_pending *p, uint64_t vaddr)
{
	uint32_t from = p->first, to = p->n;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;

		if (end_of(&p->segs[mid]) <= vaddr)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

static int make_room(struct fill_pending *p, uint32_t more)
{
	uint64_t room = (uint64_t)p->n + more;
	struct fill_seg *segs;

	if (room <= p->room)
		return 0;
	room += room / 8 + 16;
	segs = room > UINT32_MAX ? NULL : realloc(p->segs, room * sizeof(*segs));
	if (!segs)
		return -ENOMEM;
	p->segs = segs;
	p->room = (uint32_t)room;
	return 0;
}

int pending_load(struct fill_pending *p, const struct fill_runs *runs, uint32_t ns_pid)
{
	uint32_t first, n = fill_runs_of(runs, ns_pid, &first);

	if (make_room(p, n) < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const struct fill_run *r = &runs->runs[first + i];

		p->segs[p->n++] = (struct fill_seg){ r->vaddr, r->offset, r->pages };
		p->pages += r->pages;
	}
	return 0;
}

int pending_clone(const struct fill_pending *from, struct fill_pending *ret)
{
	uint32_t n = from->n - from->first;
	struct fill_pending p = { 0 };

	if (make_room(&p, n) < 0)
		return -ENOMEM;
	if (n)
		memcpy(p.segs, from->segs + from->first, n * sizeof(*p.segs));
	p.n = n;
	p.pages = from->pages;
	*ret = p;
	return 0;
}

void pending_free(struct fill_pending *p)
{
	free(p->segs);
	*p = (struct fill_pending){ 0 };
}

const struct fill_seg *pending_find(const struct fill_pending *p, uint64_t vaddr)
{
	uint32_t i = place_of(p, vaddr);

	return i < p->n && p->segs[i].vaddr <= vaddr ? &p->segs[i] : NULL;
}

const struct fill_seg *pending_next(const struct fill_pending *p, uint64_t vaddr)
{
	uint32_t i = place_of(p, vaddr);

	return i < p->n ? &p->segs[i] : NULL;
}

/* The part of s in [start, end), which it overlaps. */
static struct fill_seg part_of(const struct fill_seg *s, uint64_t start, uint64_t end)
{
	uint64_t from = s->vaddr > start ? s->vaddr : start, to = end_of(s) < end ? end_of(s) : end;

	return (struct fill_seg){ from, s->offset + (from - s->vaddr), (uint32_t)((to - from) / FILL_PAGE) };
}

/* Splits the segment that address lies within, so that one begins there. */
static void split_at(struct fill_pending *p, uint64_t vaddr)
{
	uint32_t i = place_of(p, vaddr);
	struct fill_seg *s = &p->segs[i];

	if (i == p->n || s->vaddr >= vaddr)
		return;
	memmove(s + 1, s, (p->n - i) * sizeof(*s));
	p->n++;
	s[1] = part_of(&s[1], vaddr, UINT64_MAX);
	s->pages -= s[1].pages;
}

int pending_cut(struct fill_pending *p, uint64_t start, uint64_t end)
{
	uint32_t from = place_of(p, start), to;

	if (start >= end || from == p->n || p->segs[from].vaddr >= end)
		return 0;
	if (make_room(p, 2) < 0)
		return -ENOMEM;
	split_at(p, start);
	split_at(p, end);
	from = place_of(p, start);
	to = place_of(p, end);
	for (uint32_t i = from; i < to; i++)
		p->pages -= p->segs[i].pages;
	/* At the front, where most is taken away, nothing need be moved. */
	if (from == p->first) {
		p->first = to;
		return 0;
	}
	memmove(p->segs + from, p->segs + to, (p->n - to) * sizeof(*p->segs));
	p->n -= to - from;
	return 0;
}

int pending_move(struct fill_pending *p, uint64_t from, uint64_t to, uint64_t len)
{
	uint32_t a = place_of(p, from), b = place_of(p, from + len), n, at;
	struct fill_seg *moved;

	if (from == to)
		return 0;
	if (b < p->n && p->segs[b].vaddr < from + len)
		b++;
	n = b > a ? b - a : 0;
	moved = malloc((n + 1) * sizeof(*moved));
	if (!moved || make_room(p, n + 4) < 0) {
		free(moved);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++) {
		moved[i] = part_of(&p->segs[a + i], from, from + len);
		moved[i].vaddr = moved[i].vaddr - from + to;
	}
	pending_cut(p, from, from + len);
	pending_cut(p, to, to + len);
	at = place_of(p, to);
	memmove(p->segs + at + n, p->segs + at, (p->n - at) * sizeof(*p->segs));
	memcpy(p->segs + at, moved, n * sizeof(*moved));
	p->n += n;
	for (uint32_t i = 0; i < n; i++)
		p->pages += moved[i].pages;
	free(moved);
	return 0;
}

void pending_advance(struct fill_pending *p, uint32_t pages)
{
	struct fill_seg *s = &p->segs[p->first];

	p->pages -= pages;
	s->vaddr += (uint64_t)pages * FILL_PAGE;
	s->offset += (uint64_t)pages * FILL_PAGE;
	s->pages -= pages;
	p->first += s->pages == 0;
}
