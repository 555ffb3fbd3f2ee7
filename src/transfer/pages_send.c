/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "mappings.h"
#include "page_frames.h"
#include "pagemap.h"
#include "pages_known.h"
#include "transfer/pages.h"

#define PAGE 4096u

enum content { DATA, ZERO, SAME, ABSENT };

/* Pages that are next to each other in the process. */
struct piece {
	uint64_t address;
	uint32_t pages;
	bool swapped;
	bool note;                      /* by soft-dirty bits: where they are is to be known */
};

/* Mappings next to each other. */
struct span {
	uint64_t start, end;
	bool file;
};

struct spans {
	struct span *items;
	size_t n, room;
};

/* Up to one frame's worth of pages is read by one system call, wherever the pieces lie. */
struct sender {
	struct wire *wire;
	const struct pages_source *from;
	struct pages_stats *stats;
	int mem_fd;                     /* /proc/PID/mem, opened when needed */
	struct piece pieces[WIRE_PAGES_MAX];
	size_t count;
	uint32_t pages;                 /* in all pieces */
	uint8_t content[WIRE_PAGES_MAX];        /* enum content of each page in buffer */
	uint64_t where[WIRE_PAGES_MAX]; /* each of them was (pagemap_where), if that is to be known; else 0 */
	const struct pagemap *map;      /* by soft-dirty bits: tells that; else NULL */
	bool note;                      /* of what is added now */
	bool again;                     /* the same pages are gone through once more */
	uint8_t *buffer;
	uint64_t zero_start, zero_end;  /* not sent yet */
	struct spans fresh;             /* of a tracked process: where nobody watched yet */
};

static int send_run(struct sender *s, uint64_t address, uint32_t pages, const uint8_t *data, struct error *err)
{
	const struct wire_pages p = { .ns_pid = s->from->ns_pid, .address = address, .pages = pages, .data = data };

	return page_frame_send(s->wire, s->from->container, s->from->packer, &p, s->stats, err);
}

static int flush_zeros(struct sender *s, struct error *err)
{
	while (s->zero_start < s->zero_end) {
		uint64_t pages = (s->zero_end - s->zero_start) / PAGE;
		uint32_t n = pages < WIRE_ZEROS_MAX ? (uint32_t)pages : WIRE_ZEROS_MAX;
		int r = page_source_alive(s->from, err);

		if (r == 0)
			r = send_run(s, s->zero_start, n, NULL, err);

		if (r < 0)
			return r;
		s->zero_start += (uint64_t)n * PAGE;
	}
	return 0;
}

/* Zero pages wait, so that neighbours found later go in the same frame. */
static int add_zeros(struct sender *s, uint64_t start, uint64_t end, struct error *err)
{
	if (s->from->known)
		pages_known_clear(s->from->known, s->from->ns_pid, start, end);
	if (s->zero_end != start || s->zero_start == s->zero_end) {
		int r = flush_zeros(s, err);

		if (r < 0)
			return r;
		s->zero_start = start;
	}
	s->zero_end = end;
	return 0;
}

/*
 * /proc/PID/mem reads what the process itself may not (PROT_NONE), which process_vm_readv refuses.  A swap entry that cannot be
 * read may be a marker without content (guard pages of kernel 6.13 and 6.14, poison): left out, and the destination refuses when
 * CRIU wants it all the same.
 */
static int read_page(struct sender *s, const struct piece *piece, uint64_t address, uint8_t *out, enum content *content,
		     struct error *err)
{
	ssize_t n;
	int device;

	if (s->mem_fd < 0) {
		char path[64];

		path_format(path, sizeof(path), "/proc/%d/mem", (int)s->from->pid);
		s->mem_fd = open(path, O_RDONLY | O_CLOEXEC);
		if (s->mem_fd < 0)
			return error_errno(err, "open %s", path);
	}
	do
		n = pread(s->mem_fd, out, PAGE, (off_t)address);
	while (n < 0 && errno == EINTR);
	*content = DATA;
	if (n == PAGE)
		return 0;
	*content = ABSENT;
	if (n >= 0)
		return error_set(err, -ESRCH, "process %d ended while its memory was read", (int)s->from->pid);
	if (s->from->later)
		return error_set(err, -EFAULT, "page %" PRIx64 " of process %d cannot be read, so it could not be sent later", address, (int)s->from->pid);
	/* Protected it is already: it would pass for sent ever after, although it may only be unreadable for the moment. */
	if (s->from->running && s->from->track)
		track_forget(s->from->track, address);
	if (piece->swapped || s->from->running)
		return 0;
	device = mapping_is_device(s->from->pid, address, err);
	if (device != 0)
		return device < 0 ? device : 0;
	return error_set(err, -EFAULT, "page %" PRIx64 " of process %d cannot be read", address, (int)s->from->pid);
}

static int read_one_by_one(struct sender *s, struct error *err)
{
	uint32_t k = 0;

	for (size_t i = 0; i < s->count; i++)
		for (uint32_t j = 0; j < s->pieces[i].pages; j++, k++) {
			enum content content;
			int r = read_page(s, &s->pieces[i], s->pieces[i].address + (uint64_t)j * PAGE,
					  s->buffer + (size_t)k * PAGE, &content, err);

			if (r < 0)
				return r;
			s->content[k] = (uint8_t)content;
		}
	return 0;
}

static int read_batch(struct sender *s, struct error *err)
{
	struct iovec local = { s->buffer, (size_t)s->pages * PAGE }, remote[WIRE_PAGES_MAX];
	ssize_t n;

	for (size_t i = 0; i < s->count; i++)
		remote[i] = (struct iovec){ (void *)(uintptr_t)s->pieces[i].address, (size_t)s->pieces[i].pages * PAGE };
	n = process_vm_readv(s->from->pid, &local, 1, remote, s->count, 0);
	if (n < 0 && errno != EFAULT)
		return error_errno(err, "read the memory of process %d", (int)s->from->pid);
	if (n != (ssize_t)local.iov_len) {
		int r = read_one_by_one(s, err);

		if (r < 0)
			return r;
	} else {
		memset(s->content, DATA, s->pages);
	}
	return 0;
}

static bool by_bits(const struct pages_source *from)
{
	return from->track && from->known && track_by_bits(from->track) && !track_broken(from->track);
}

static void look(const struct sender *s, uint64_t *where)
{
	uint32_t k = 0;

	memset(where, 0, s->pages * sizeof(*where));
	for (size_t i = 0; i < s->count; k += s->pieces[i++].pages)
		if (s->pieces[i].note && s->map)
			pagemap_look(s->map, s->pieces[i].address, s->pieces[i].pages, where + k);
}

/* A page that has come or gone while it was read is not known to be what was read. */
static int read_where(struct sender *s, struct error *err)
{
	uint64_t after[WIRE_PAGES_MAX];
	int r;

	look(s, s->where);
	r = read_batch(s, err);
	look(s, after);
	for (uint32_t k = 0; k < s->pages; k++)
		if (s->where[k] != after[k])
			s->where[k] = 0;
	return r;
}

/*
 * The other side has it, or will: what has the bit later is looked at in any case, and what has not is this, if it is where it was.  No memory for it: it is looked at again.
 * Zeros may have been written by nobody: their bit can be the mapping's alone.  True when another page had been here, and neither was written.
 */
static bool note(struct sender *s, uint64_t address, uint32_t k)
{
	bool nothing = s->content[k] == ABSENT || (s->where[k] & 1 && page_is_zero(s->buffer + (size_t)k * PAGE));
	uint64_t was, now = nothing ? 0 : s->where[k];

	if (!by_bits(s->from))
		return false;
	was = pages_known_noted(s->from->known, s->from->ns_pid, address);
	pages_known_note(s->from->known, s->from->ns_pid, address, now);
	return was && now && was != now && !(was & 1) && !(now & 1);
}

/* Of what was read: what need not go as data. */
static int sort_out(struct sender *s, struct error *err)
{
	uint32_t k = 0;

	for (size_t i = 0; i < s->count; i++)
		for (uint32_t j = 0; j < s->pieces[i].pages; j++, k++) {
			const uint8_t *page = s->buffer + (size_t)k * PAGE;
			uint64_t address = s->pieces[i].address + (uint64_t)j * PAGE;
			bool same = false, another = note(s, address, k);

			if (s->content[k] != DATA)
				continue;
			if (page_is_zero(page))
				s->content[k] = ZERO;
			else if (s->from->known && pages_known_same(s->from->known, s->from->ns_pid, address, page, &same) < 0)
				return error_set(err, -ENOMEM, "out of memory for the digests of pages");
			/* The kernel moves pages itself; then they are the same. */
			if (another && s->content[k] == DATA && !same)
				track_pages_move(s->from->track);
			if (same)
				s->content[k] = SAME;
			s->stats->same_pages += same;
		}
	return 0;
}

/* Sends pages [from, to) of a piece whose first page is number `first` in the buffer; all have the same content. */
static int send_same(struct sender *s, const struct piece *piece, uint32_t first, uint32_t from, uint32_t to, struct error *err)
{
	uint64_t start = piece->address + (uint64_t)from * PAGE, end = piece->address + (uint64_t)to * PAGE;

	switch (s->content[first + from]) {
	case DATA:
		return send_run(s, start, to - from, s->buffer + (size_t)(first + from) * PAGE, err);
	case ZERO:
		return add_zeros(s, start, end, err);
	default:
		return 0;
	}
}

static int flush_batch(struct sender *s, struct error *err)
{
	uint32_t first = 0;
	int r = s->count ? read_where(s, err) : 0;

	/* Before it is noted as what the other side has. */
	if (r == 0)
		r = page_source_alive(s->from, err);
	if (r == 0)
		r = sort_out(s, err);
	for (size_t i = 0; i < s->count && r == 0; i++) {
		const struct piece *piece = &s->pieces[i];
		uint32_t from = 0;

		for (uint32_t j = 1; j <= piece->pages && r == 0; j++) {
			if (j < piece->pages && s->content[first + j] == s->content[first + from])
				continue;
			r = send_same(s, piece, first, from, j, err);
			from = j;
		}
		first += piece->pages;
	}
	s->count = s->pages = 0;
	return r;
}

static int add_run(struct sender *s, const struct page_run *run, struct error *err)
{
	uint64_t at = run->start;

	if (s->from->later && !run->swapped)
		return 0;
	if (run->zero)
		return add_zeros(s, run->start, run->end, err);
	while (at < run->end) {
		uint64_t left = (run->end - at) / PAGE;
		uint32_t room = WIRE_PAGES_MAX - s->pages, n = left < room ? (uint32_t)left : room;

		s->pieces[s->count++] = (struct piece){ .address = at, .pages = n, .swapped = run->swapped, .note = s->note };
		s->pages += n;
		at += (uint64_t)n * PAGE;
		if (s->pages == WIRE_PAGES_MAX) {
			int r = flush_batch(s, err);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Of a look at everything: what is watched and was not written is what the other side has; but see send_range. */
static bool must_go(const struct page_run *run, const struct span *in, enum page_select select)
{
	return select != SELECT_STATES || !run->watched || run->written || (in->file && run->swapped);
}

/*
 * By soft-dirty bits.  The bit alone would not do: a page that comes from elsewhere in the same process may be without it (mremap moves whole page tables as they are, mm/mremap.c, move_normal_pmd; so with
 * the pages of zeros, and those that KSM has merged).  So what is to pass for sent must also be in the frame in which it was when it was sent, without the bit then, too.  Of files all is looked at:
 * there is little, and the private huge pages among them (hugetlbfs) have no such bits.
 */
static int add_written(struct sender *s, const struct pagemap *map, const struct page_run *run, const struct span *in, struct error *err)
{
	bool anonymous = !in->file && !run->swapped;
	struct page_run part = *run;
	int r = 0;

	s->note = anonymous;
	for (uint64_t at = run->start; anonymous && !run->written && at < run->end && r == 0; at += PAGE) {
		uint64_t where = pagemap_where(map, at), was = pages_known_noted(s->from->known, s->from->ns_pid, at);

		if (was && was == (where | 1))
			track_bits_lost(s->from->track);
		if (!where || was != where)
			continue;
		part.end = at;
		r = add_run(s, &part, err);
		part = (struct page_run){ .start = at + PAGE, .end = run->end };
	}
	if (r == 0)
		r = add_run(s, &part, err);
	s->note = false;
	return r;
}

static int send_selected(struct sender *s, struct pagemap *map, const struct span *in, enum page_select select, bool protect, struct error *err)
{
	struct page_run run;
	int r;

	pagemap_files(map, in->file);
	pagemap_select(map, in->start, in->end, select, protect);
	while ((r = pagemap_next(map, &run, err)) > 0) {
		r = s->from->found && !s->again && !in->file && !run.zero ? s->from->found(s->from->found_ctx, run.start, run.end, err) : 0;
		if (r == 0 && select == SELECT_STATES && by_bits(s->from))
			r = add_written(s, map, &run, in, err);
		else if (r == 0 && must_go(&run, in, select))
			r = add_run(s, &run, err);
		if (r < 0)
			return r;
	}
	return r;
}

/* --- a process that is tracked --- */

#define GAP 65536u              /* what lies closer together is one span */

static int add_span(struct spans *l, uint64_t start, uint64_t end)
{
	if (l->n && start - l->items[l->n - 1].end <= GAP) {
		l->items[l->n - 1].end = end;
		return 0;
	}
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct span *more = realloc(l->items, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->items = more;
		l->room = room;
	}
	l->items[l->n++] = (struct span){ start, end, true };   /* of which kinds is not known */
	return 0;
}

/* Where pages are that nobody watches yet. */
static int find_unwatched(struct sender *s, struct pagemap *map, const struct span *in, struct error *err)
{
	struct page_run run;
	int r;

	pagemap_files(map, in->file);
	pagemap_select(map, in->start, in->end, SELECT_UNWATCHED, false);
	while ((r = pagemap_next(map, &run, err)) > 0)
		if (add_span(&s->fresh, run.start, run.end) < 0)
			return error_set(err, -ENOMEM, "out of memory for ranges of pages");
	return r;
}

/*
 * Frozen, one look tells all: each page of much memory costs time in which nobody runs.  A page of a file's mapping that was dropped (MADV_DONTNEED) leaves a mark of
 * the protection in its place, which CRIU takes for a page that is swapped out, and wants: what swapped pages of such mappings hold is looked at in any case.
 */
static int send_range(struct sender *s, struct pagemap *map, const struct span *in, struct error *err)
{
	const struct track *t = s->from->track;

	if (!t || track_broken(t))
		return send_selected(s, map, in, SELECT_ALL, false, err);
	if (!s->from->running || track_by_bits(t))
		return send_selected(s, map, in, SELECT_STATES, false, err);
	return send_selected(s, map, in, SELECT_WRITTEN, true, err);
}

/* --- all mappings --- */

static bool wanted(const struct mapping *m, enum pages_which which)
{
	return which == PAGES_ALL || m->executable == (which == PAGES_EXECUTABLE);
}

/* Neighbouring mappings are walked as one: a process with 60000 of them costs few system calls.  1: *ret is the next of them; 0: no more. */
static int next_span(struct mappings *maps, struct mapping *next, enum pages_which which, struct span *ret, struct error *err)
{
	*ret = (struct span){ next->start, next->end, next->file };
	for (;;) {
		int r = mappings_next(maps, next, err);

		if (r < 0)
			return r;
		if (r == 0) {
			*next = (struct mapping){ 0 };
			return ret->start < ret->end;
		}
		if (!wanted(next, which))
			continue;
		if (next->start != ret->end || next->file != ret->file) {
			if (ret->start < ret->end)
				return 1;
			*ret = (struct span){ next->start, next->end, next->file };
		}
		ret->end = next->end;
	}
}

static int each_span(struct sender *s, struct pagemap *map, enum pages_which which,
		     int (*fn)(struct sender *s, struct pagemap *map, const struct span *in, struct error *err), struct error *err)
{
	struct mapping next = { 0 };
	struct mappings maps;
	struct span in;
	int r = mappings_open(s->from->pid, &maps, err);

	if (r < 0)
		return r;
	while ((r = next_span(&maps, &next, which, &in, err)) > 0 && (r = fn(s, map, &in, err)) == 0)
		;
	if (s->from->sysv)
		*s->from->sysv |= maps.sysv;
	mappings_close(&maps);
	return r;
}

/*
 * A process that runs and is tracked.  What is not watched yet is found, then registered, then protected whatever a mark that a page may have brought along from
 * elsewhere says (mremap, before kernel 6.13), and all of it sent.  Then, of everything, what was written.  Pages are read only after they have been protected:
 * what is written from then on is found the next time.  So is a mapping that comes in between the steps.
 */
static int send_unwatched(struct sender *s, struct pagemap *map, enum pages_which which, struct error *err)
{
	int r = each_span(s, map, which, find_unwatched, err);

	if (r == 0)
		track_register(s->from->track);
	for (size_t i = 0; r == 0 && i < s->fresh.n; i++)
		r = send_selected(s, map, &s->fresh.items[i], SELECT_ALL, !track_broken(s->from->track), err);
	return r;
}

static int send_all(struct sender *s, struct pagemap *map, enum pages_which which, struct error *err)
{
	bool bits = by_bits(s->from), watch = s->from->track && s->from->running && !track_broken(s->from->track);
	int r = watch && !bits ? send_unwatched(s, map, which, err) : 0;

	s->map = bits ? map : NULL;
	if (bits && track_first_look(s->from->track))
		pages_known_forget_frames(s->from->known, s->from->ns_pid);
	if (r == 0)
		r = each_span(s, map, which, send_range, err);
	if (r == 0)
		r = flush_batch(s, err);
	/* While it runs, the next round does. */
	s->again = r == 0 && bits && !s->from->running && track_broken(s->from->track);
	if (s->again)
		r = each_span(s, map, which, send_range, err);
	if (s->again && r == 0)
		r = flush_batch(s, err);
	if (r == 0 && watch)
		track_check(s->from->track);
	return r == 0 ? flush_zeros(s, err) : r;
}

static int sender_open(struct sender *s, struct wire *w, const struct pages_source *from, struct pages_stats *stats, struct error *err)
{
	s->wire = w;
	s->from = from;
	s->stats = stats;
	s->mem_fd = -1;
	s->buffer = aligned_alloc(PAGE, (size_t)WIRE_PAGES_MAX * PAGE);
	return s->buffer ? 0 : error_set(err, -ENOMEM, "out of memory for pages");
}

static void sender_close(struct sender *s)
{
	free(s->buffer);
	free(s->fresh.items);
	if (s->mem_fd >= 0)
		close(s->mem_fd);
}

int pages_send(struct wire *w, const struct pages_source *from, enum pages_which which, struct pages_stats *stats, struct error *err)
{
	struct sender s = { 0 };
	int64_t began = clock_mono_us();
	struct pagemap *map = NULL;
	int r = sender_open(&s, w, from, stats, err);

	if (r == 0)
		r = pagemap_open(from->pid, !by_bits(from), &map, err);
	if (r == 0)
		r = send_all(&s, map, which, err);
	/* A page is noted before it is sent; and a new process may come to have the number of one that has ended. */
	if (r < 0 && from->known)
		pages_known_forget(from->known, from->ns_pid);
	pagemap_close(map);
	sender_close(&s);
	stats->micros += clock_mono_us() - began;
	return r;
}

int pages_answer(struct wire *w, const struct pages_source *from, uint64_t address, uint32_t pages, struct pages_stats *stats, struct error *err)
{
	const struct page_run run = { .start = address, .end = address + (uint64_t)pages * PAGE };
	struct sender s = { 0 };
	int r = sender_open(&s, w, from, stats, err);

	if (r == 0)
		r = add_run(&s, &run, err);
	if (r == 0)
		r = flush_batch(&s, err);
	if (r == 0)
		r = flush_zeros(&s, err);
	sender_close(&s);
	return r;
}

static int count_selected(struct pagemap *map, const struct mapping *m, enum page_select select, bool written, uint64_t *count, struct error *err)
{
	struct page_run run;
	int r;

	pagemap_files(map, m->file);
	pagemap_select(map, m->start, m->end, select, false);
	while ((r = pagemap_next(map, &run, err)) > 0)
		*count += !written || run.written ? (run.end - run.start) / PAGE : 0;
	return r;
}

int pages_count_written(const struct pages_source *from, uint64_t *count, struct error *err)
{
	bool bits = from->track && track_by_bits(from->track);
	struct pagemap *map = NULL;
	struct mappings maps;
	struct mapping m;
	int r;

	if (!from->track || track_broken(from->track))
		return error_set(err, -EOPNOTSUPP, "process %d is not tracked", (int)from->pid);
	r = mappings_open(from->pid, &maps, err);
	if (r < 0)
		return r;
	r = pagemap_open(from->pid, !bits, &map, err);
	while (r == 0 && (r = mappings_next(&maps, &m, err)) > 0) {
		r = bits ? count_selected(map, &m, SELECT_STATES, true, count, err) : count_selected(map, &m, SELECT_UNWATCHED, false, count, err);
		if (r == 0 && !bits)
			r = count_selected(map, &m, SELECT_WRITTEN, false, count, err);
	}
	pagemap_close(map);
	mappings_close(&maps);
	return r;
}
