/* SPDX-License-Identifier: Apache-2.0 */
#include "fill_copy.h"

#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE_MAX 256u                  /* pages: 1 MiB between two looks at the faults */
#define WINDOW (32u << 20)              /* of the store is mapped at once: page tables for the whole would be memory, too */

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
	if (s->store_fd >= 0)
		close(s->store_fd);
	s->store_fd = -1;
}

/*
 * The page at offset, and as many of the *pages behind it as are mapped.  Populated, since a fault costs a hundred times as much as a page that
 * the kernel maps along with others; and only the kernel reads it, so that a store that was cut off is an error and not a SIGBUS.
 */
static const uint8_t *look_at(struct fill_source *s, uint64_t offset, uint32_t *pages)
{
	uint64_t left;

	if (!s->map || offset < s->map_at || offset >= s->map_at + s->map_len) {
		left = s->list.store_size - offset;
		unmap(s);
		s->map_at = offset;
		s->map_len = left < WINDOW ? (size_t)left : WINDOW;
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
	t->blocked = true;
	return copy_error(t, vaddr, ENOENT, err);
}

static void advance(struct fill_task *t, const struct fill_run *run, uint32_t pages)
{
	t->blocked = false;
	t->piece = t->piece < PIECE_MAX ? t->piece * 2 : PIECE_MAX;
	t->page += pages;
	if (t->page == run->pages) {
		t->page = 0;
		t->next++;
	}
}

int fill_copy(struct fill_source *s, struct fill_task *t, uint32_t *ret_pages, struct error *err)
{
	const struct fill_run *run = &s->list.runs[s->list.order[t->next]];
	uint64_t done = (uint64_t)t->page * FILL_PAGE;
	uint32_t pages = run->pages - t->page < t->piece ? run->pages - t->page : t->piece;
	const uint8_t *src = look_at(s, run->offset + done, &pages);
	/* Who waits for a page has a fault that is read, and is woken then. */
	struct uffdio_copy c = { .dst = run->vaddr + done, .src = (uintptr_t)src, .mode = UFFDIO_COPY_MODE_DONTWAKE };

	*ret_pages = 0;
	if (!src)
		return error_errno(err, "map the page store");
	c.len = (uint64_t)pages * FILL_PAGE;
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
	advance(t, run, pages);
	*ret_pages = pages;
	return 0;
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

static int place_page(const struct fill_task *t, uint64_t vaddr, const uint8_t *page, struct error *err)
{
	struct uffdio_copy c = { .dst = vaddr, .src = (uintptr_t)page, .len = FILL_PAGE };

	return placed(t, vaddr, ioctl(t->uffd, UFFDIO_COPY, &c), err);
}

static int place_zero(const struct fill_task *t, uint64_t vaddr, bool write, struct error *err)
{
	struct uffdio_zeropage z = { .range = { vaddr, FILL_PAGE } };

	/* A page of its own at once for who writes to it. */
	return write ? place_page(t, vaddr, zero_page, err) : placed(t, vaddr, ioctl(t->uffd, UFFDIO_ZEROPAGE, &z), err);
}

static int serve(struct fill_source *s, const struct fill_task *t, uint64_t address, bool write, bool zeros, struct error *err)
{
	static _Alignas(FILL_PAGE) uint8_t page[FILL_PAGE];
	uint64_t vaddr = address & ~(uint64_t)(FILL_PAGE - 1), offset;

	if (zeros)
		return place_zero(t, vaddr, false, err);
	if (!fill_runs_find(&s->list, t->pid, vaddr, &offset))
		return place_zero(t, vaddr, write, err);
	if (pread(s->store_fd, page, sizeof(page), (off_t)offset) != (ssize_t)sizeof(page))
		return error_set(err, -EIO, "page 0x%llx of process %u cannot be read from the page store", (unsigned long long)vaddr, t->pid);
	return place_page(t, vaddr, page, err);
}

/* CRIU asks for events of fork, mremap and the like, for a page server that stays when the application runs; this one never does. */
static int event(struct fill_source *s, const struct fill_task *t, const struct uffd_msg *m, bool zeros, struct error *err)
{
	if (m->event == UFFD_EVENT_PAGEFAULT)
		return serve(s, t, m->arg.pagefault.address, m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE, zeros, err);
	if (m->event == UFFD_EVENT_FORK)
		close((int)m->arg.fork.ufd);
	return zeros ? 0 : error_set(err, -EPROTO, "process %u changes its memory (event 0x%x) while it is restored", t->pid, m->event);
}

int fill_faults(struct fill_source *s, struct fill_task *t, bool zeros, struct error *err)
{
	struct uffd_msg m[16];
	ssize_t n;

	/* EAGAIN also when the one who had the fault was killed. */
	while ((n = read(t->uffd, m, sizeof(m))) > 0)
		for (size_t i = 0; i < (size_t)n / sizeof(m[0]); i++) {
			int r = event(s, t, &m[i], zeros, err);

			if (r < 0 && !zeros)
				return r;
		}
	return n < 0 && errno != EAGAIN && errno != EINTR ? error_errno(err, "read the faults of process %u", t->pid) : 0;
}
