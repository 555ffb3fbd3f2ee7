/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_copy.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"

#define PIECE_MAX 256u                  /* pages */
#define AROUND 65536u                   /* bytes, aligned: what comes along with a page that is waited for */
#define WINDOW (4u << 20)               /* of the store is mapped at once: nobody is served while it is */

static _Alignas(FILL_PAGE) const uint8_t zero_page[FILL_PAGE];

/* --- the store --- */

static void unmap(struct fill_source *s)
{
	if (s->map)
		munmap((void *)(uintptr_t)s->map, s->map_len);
	s->map = NULL;
}

void fill_source_close(struct fill_source *s)
{
	unmap(s);
	fill_runs_free(&s->list);
	later_free(s->later);
	s->later = NULL;
	if (s->store_fd >= 0)
		close(s->store_fd);
	s->store_fd = -1;
}

/*
 * The page at offset, which is here, and as many of the *pages behind it as are mapped (of pages that come later the kernel would make empty ones).  Populated, since a fault costs a hundred times as much as a page that
 * the kernel maps along with others; and only the kernel reads it, so that a store that was cut off is an error and not a SIGBUS.
 */
static const uint8_t *look_at(struct fill_source *s, uint64_t offset, uint32_t *pages)
{
	uint64_t left;

	if (!s->map || offset < s->map_at || offset >= s->map_at + s->map_len) {
		left = s->store_size - offset;
		unmap(s);
		s->map_at = offset;
		s->map_len = (size_t)later_here(s->later, offset, (uint32_t)((left < WINDOW ? left : WINDOW) / FILL_PAGE)) * FILL_PAGE;
		s->map = mmap(NULL, s->map_len, PROT_READ, MAP_SHARED | MAP_POPULATE, s->store_fd, (off_t)offset);
		if (s->map == MAP_FAILED) {
			s->map = NULL;
			return NULL;
		}
	}
	left = (s->map_at + s->map_len - offset) / FILL_PAGE;
	if (*pages > left)
		*pages = (uint32_t)left;
	return s->map + (offset - s->map_at);
}

/* --- copying --- */

static int copy_error(const struct fill_task *t, uint64_t vaddr, int e, struct error *err)
{
	switch (e) {
	case ESRCH:
	case ENOSPC:                    /* before kernel 4.13 */
		return error_set(err, -ESRCH, "process %u ended while its memory was filled", t->pid);
	case ENOENT:
		return error_set(err, -ENOENT, "page 0x%llx of process %u: CRIU has no mapping there", (unsigned long long)vaddr, t->pid);
	case ENOMEM:
		return error_set(err, -ENOMEM, "the container's memory limit (or this node's memory) is too small for its state: page 0x%llx of process %u",
				 (unsigned long long)vaddr, t->pid);
	default:
		return error_set(err, -e, "fill page 0x%llx of process %u: %s", (unsigned long long)vaddr, t->pid, strerror(e));
	}
}

/* A mapping may end within the piece: UFFDIO_COPY takes one mapping at a time, and says ENOENT as for one that is not registered. */
static int not_there(struct fill_task *t, uint64_t vaddr, struct error *err)
{
	if (t->piece > 1) {
		t->piece /= 2;
		return 0;
	}
	if (!t->blocked_us)
		t->blocked_us = clock_mono_us();
	return copy_error(t, vaddr, ENOENT, err);
}

static void advance(struct fill_task *t, uint32_t pages)
{
	t->blocked_us = 0;
	t->piece = t->piece < PIECE_MAX ? t->piece * 2 : PIECE_MAX;
	pending_advance(&t->pending, pages);
}

int fill_copy(struct fill_source *s, struct fill_task *t, uint32_t max, uint32_t *ret_pages, struct error *err)
{
	const struct fill_seg *seg = &t->pending.segs[t->pending.first];
	uint32_t pages = seg->pages < t->piece ? seg->pages : t->piece;
	const uint8_t *src;
	struct uffdio_copy c;

	*ret_pages = 0;
	pages = pages < max ? pages : max;
	src = look_at(s, seg->offset, &pages);
	if (!src)
		return error_errno(err, "map the page store");
	/* Who waits for a page has a fault that is read, and is woken then. */
	c = (struct uffdio_copy){ .dst = seg->vaddr, .src = (uintptr_t)src, .len = (uint64_t)pages * FILL_PAGE, .mode = UFFDIO_COPY_MODE_DONTWAKE };
	if (ioctl(t->uffd, UFFDIO_COPY, &c) < 0) {
		if (c.copy > 0)
			pages = (uint32_t)((uint64_t)c.copy / FILL_PAGE);       /* EAGAIN: what stopped it, the next call tells */
		else if (errno == EEXIST)
			pages = 1;              /* a fault was faster */
		else if (errno == ENOENT)
			return not_there(t, c.dst, err);
		else
			return errno == EAGAIN || errno == EINTR ? 0 : copy_error(t, c.dst, errno, err);
	}
	advance(t, pages);
	*ret_pages = pages;
	return 0;
}

/* [start, start + len), which the task lacks.  *ret_len: how much of it came in place. */
static int place(struct fill_source *s, const struct fill_task *t, uint64_t start, uint64_t offset, size_t len, uint64_t *ret_len, struct error *err)
{
	static _Alignas(FILL_PAGE) uint8_t pages[AROUND];
	struct uffdio_copy c = { .dst = start, .src = (uintptr_t)pages, .len = len };

	*ret_len = 0;
	if (pread(s->store_fd, pages, len, (off_t)offset) != (ssize_t)len)
		return error_set(err, -EIO, "page 0x%llx of process %u cannot be read from the page store", (unsigned long long)start, t->pid);
	if (ioctl(t->uffd, UFFDIO_COPY, &c) == 0)
		*ret_len = len;
	else if (c.copy > 0)
		*ret_len = (uint64_t)c.copy;
	else
		return -errno;
	return 0;
}

/* --- before anything runs --- */

#define STRETCH_GAP 65536u              /* segments as close as that are one stretch: the pages between them are zero */

static int probe_page(struct fill_source *s, struct fill_task *t, const struct fill_seg *seg, struct error *err)
{
	uint64_t done, vaddr = seg->vaddr;
	int r = place(s, t, vaddr, seg->offset, FILL_PAGE, &done, err);

	if (r == -EEXIST)
		r = 0;
	return r == 0 || r == -EIO ? r : copy_error(t, vaddr, -r, err);
}

/* No page is there yet to try it with; of anonymous memory the kernel refuses this with EINVAL, after it has looked whether it is registered. */
static int probe_registration(const struct fill_task *t, uint64_t vaddr, struct error *err)
{
	struct uffdio_continue c = { .range = { vaddr, FILL_PAGE } };

	return ioctl(t->uffd, UFFDIO_CONTINUE, &c) < 0 && errno == ENOENT ? copy_error(t, vaddr, ENOENT, err) : 0;
}

bool fill_is_gone(const struct fill_task *t)
{
	const struct fill_seg *seg = pending_next(&t->pending, 0);
	struct uffdio_continue c = { .range = { seg ? seg->vaddr : 0, FILL_PAGE } };

	/* Refused in any case, as above; whether there is memory at all is looked at before. */
	return !seg || (ioctl(t->uffd, UFFDIO_CONTINUE, &c) < 0 && errno == ESRCH);
}

int fill_probe(struct fill_source *s, struct fill_task *t, uint64_t *pages, struct error *err)
{
	uint64_t at = 0, end = 0;

	for (;;) {
		const struct fill_seg *seg = pending_next(&t->pending, at);
		uint64_t vaddr;
		int r;

		if (!seg)
			return 0;
		vaddr = seg->vaddr;
		at = vaddr + (uint64_t)seg->pages * FILL_PAGE;
		if (vaddr - end < STRETCH_GAP && end) {
			end = at;
			continue;
		}
		end = at;
		if (later_here(s->later, seg->offset, 1) == 0) {
			r = probe_registration(t, vaddr, err);
			if (r < 0)
				return r;
			continue;
		}
		r = probe_page(s, t, seg, err);
		if (r < 0)
			return r;
		if (pending_cut(&t->pending, vaddr, vaddr + FILL_PAGE) < 0)
			return error_set(err, -ENOMEM, "out of memory for the filler");
		++*pages;
	}
}

/* --- faults --- */

static int wake(const struct fill_task *t, uint64_t vaddr)
{
	struct uffdio_range r = { vaddr, FILL_PAGE };

	/* Of a range that is not there any more nobody waits for a page. */
	ioctl(t->uffd, UFFDIO_WAKE, &r);
	return 0;
}

/* EEXIST: it has been copied since the fault.  EAGAIN, ENOENT: the mapping changes; who is woken finds out. */
static int placed(const struct fill_task *t, uint64_t vaddr, int r, struct error *err)
{
	if (r == 0)
		return 0;
	if (errno == EEXIST || errno == EAGAIN || errno == ENOENT)
		return wake(t, vaddr);
	return copy_error(t, vaddr, errno, err);
}

/* A page that is zero.  One of its own at once for who writes to it. */
static int place_zero(const struct fill_task *t, uint64_t vaddr, bool write, struct error *err)
{
	struct uffdio_copy c = { .dst = vaddr, .src = (uintptr_t)zero_page, .len = FILL_PAGE };
	struct uffdio_zeropage z = { .range = { vaddr, FILL_PAGE } };

	return placed(t, vaddr, write ? ioctl(t->uffd, UFFDIO_COPY, &c) : ioctl(t->uffd, UFFDIO_ZEROPAGE, &z), err);
}

/* Of a page that is not here: with the pages behind it, up to end. */
static int serve_later(struct fill_source *s, const struct fill_task *t, uint64_t vaddr, uint64_t offset, uint64_t end, struct error *err)
{
	int r = later_ask(s->later, offset, (uint32_t)((end - vaddr) / FILL_PAGE), err);

	if (r >= 0 && later_wait(s->later, t->uffd, vaddr, offset) < 0)
		r = error_set(err, -EIO, "out of memory for who waits for a page");
	return r < 0 ? r : 0;
}

void fill_wake(struct fill_source *s, bool all)
{
	struct fill_task t = { 0 };
	uint64_t vaddr;

	while (s->later && later_next_waiter(s->later, all, &t.uffd, &vaddr))
		wake(&t, vaddr);
}

#define ASK_PAGES 64u

int fill_ask_ahead(struct fill_source *s, const struct fill_task *t, struct error *err)
{
	const struct fill_seg *seg;

	for (uint64_t at = 0; (seg = pending_next(&t->pending, at)); at = seg->vaddr + (uint64_t)seg->pages * FILL_PAGE)
		for (uint32_t i = 0; i < seg->pages; i += ASK_PAGES) {
			uint32_t n = seg->pages - i < ASK_PAGES ? seg->pages - i : ASK_PAGES;
			int r = later_has_room(s->later) ? later_ask(s->later, seg->offset + (uint64_t)i * FILL_PAGE, n, err) : 1;

			if (r != 0)
				return r < 0 ? r : 0;
		}
	return 0;
}

int fill_serve(struct fill_source *s, struct fill_task *t, uint64_t address, bool write, uint32_t *ret_pages, struct error *err)
{
	uint64_t vaddr = address & ~(uint64_t)(FILL_PAGE - 1), start = vaddr & ~(uint64_t)(AROUND - 1), end = start + AROUND, done, seg_end;
	const struct fill_seg *seg = pending_find(&t->pending, vaddr);
	int r;

	*ret_pages = 0;
	if (!seg)
		return place_zero(t, vaddr, write, err);
	seg_end = seg->vaddr + (uint64_t)seg->pages * FILL_PAGE;
	start = start < seg->vaddr ? seg->vaddr : start;
	end = end > seg_end ? seg_end : end;
	if (later_here(s->later, seg->offset + (vaddr - seg->vaddr), 1) == 0)
		return serve_later(s, t, vaddr, seg->offset + (vaddr - seg->vaddr), end, err);
	if (later_here(s->later, seg->offset + (start - seg->vaddr), (uint32_t)((end - start) / FILL_PAGE)) * (uint64_t)FILL_PAGE != end - start) {
		start = vaddr;
		end = vaddr + FILL_PAGE;
	}
	r = place(s, t, start, seg->offset + (start - seg->vaddr), (size_t)(end - start), &done, err);
	/* The neighbours may be of another mapping, or there already: then the page alone. */
	if (r < 0 && r != -EAGAIN && r != -ESRCH && r != -EIO) {
		start = vaddr;
		r = place(s, t, start, seg->offset + (start - seg->vaddr), FILL_PAGE, &done, err);
	}
	if (r == -EIO)
		return r;
	if (r == -EEXIST)
		done = FILL_PAGE;
	if (r < 0 && r != -EEXIST) {
		errno = -r;
		return placed(t, vaddr, -1, err);
	}
	if (pending_cut(&t->pending, start, start + done) < 0)
		return error_set(err, -ENOMEM, "out of memory for the filler");
	*ret_pages = (uint32_t)(done / FILL_PAGE);
	/* Copied without it, as far as it went: it tries again. */
	return r == -EEXIST || vaddr >= start + done ? wake(t, vaddr) : 0;
}

void fill_try_again(const struct fill_task *t, uint64_t address)
{
	usleep(1000);
	wake(t, address & ~(uint64_t)(FILL_PAGE - 1));
}

void fill_serve_zero(const struct fill_task *t, uint64_t address)
{
	place_zero(t, address & ~(uint64_t)(FILL_PAGE - 1), false, NULL);
}
