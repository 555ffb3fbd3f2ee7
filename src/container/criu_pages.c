/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "container/criu_images.h"
#include "criu_pagemap.h"
#include "migration/reason.h"

#define PAGE CRIU_PAGE_SIZE
#define BATCH 256              /* pages or pieces written at once */

static const unsigned char zero_page[PAGE];

/* The pages file being written, in order. */
struct writer {
	int fd;
	uint64_t pages; /* put so far */
	off_t flushed;  /* bytes of the file that are written, or skipped as zeros */
	struct iovec iov[BATCH];
	int n;
};

static int flush(struct writer *w)
{
	struct iovec *v = w->iov;
	int left = w->n;

	while (left > 0) {
		ssize_t done = pwritev(w->fd, v, left, w->flushed);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		w->flushed += done;
		while (left > 0 && (size_t)done >= v->iov_len) {
			done -= (ssize_t)v->iov_len;
			v++;
			left--;
		}
		if (done > 0) {
			v->iov_base = (char *)v->iov_base + done;
			v->iov_len -= (size_t)done;
		}
	}
	w->n = 0;
	return 0;
}

/* Most pages fail the first comparison. */
static bool is_zero(const void *page)
{
	return !memcmp(page, zero_page, 16) && !memcmp(page, zero_page, PAGE);
}

/*
 * Pages that lie behind one another in memory are one piece.  A zero page becomes a hole: it reads the same and takes no memory.
 */
static int put(struct writer *w, const void *page)
{
	struct iovec *last = w->n ? &w->iov[w->n - 1] : NULL;
	int r;

	if (is_zero(page)) {
		r = flush(w);
		w->pages++;
		w->flushed = (off_t)(w->pages * PAGE);
		return r;
	}
	if (last && (const char *)last->iov_base + last->iov_len == page && last->iov_len < BATCH * PAGE) {
		last->iov_len += PAGE;
	} else {
		if (w->n == BATCH && (r = flush(w)) < 0)
			return r;
		w->iov[w->n++] = (struct iovec){ (void *)(uintptr_t)page, PAGE };
	}
	w->pages++;
	return 0;
}

static int append_entry(struct buf *out, const struct pagemap_entry *e)
{
	struct pagemap_entry present = *e;
	uint8_t packed[4 + PAGEMAP_ENTRY_MAX];

	present.flags |= PE_PRESENT;
	return buf_append(out, packed, pagemap_entry_pack(&present, packed));
}

/* The pages CRIU wrote itself, mapped. */
struct old_pages {
	const char *map;
	uint64_t pages;
};

static void old_pages_unmap(struct old_pages *o)
{
	if (o->map)
		munmap((void *)(uintptr_t)o->map, o->pages * PAGE);
}

static int old_pages_map(int dir_fd, const char *name, struct old_pages *o, struct error *err)
{
	cleanup_close int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	void *p;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_errno(err, "open CRIU image %s", name);
	if (!S_ISREG(st.st_mode) || st.st_size % PAGE)
		return error_reason(err, -EBADMSG, REASON_RestoreFailed, "CRIU image %s is damaged: its size", name);
	if (st.st_size == 0)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return error_errno(err, "map CRIU image %s", name);
	*o = (struct old_pages){ p, (uint64_t)st.st_size / PAGE };
	return 0;
}

struct completion {
	struct criu_pagemap rd;
	struct writer w;
	struct buf pagemap;
	struct old_pages old;
	uint64_t old_next;
	page_lookup lookup;
	void *ctx;
	pid_t pid;
};

static int write_error(struct completion *c, int r)
{
	return error_reason(c->rd.err, r, r == -ENOSPC ? REASON_NoSpace : REASON_RestoreFailed,
			    "write the pages of process %d: %s", c->pid, strerror(-r));
}

static int put_entry(struct completion *c, const struct pagemap_entry *e)
{
	for (uint64_t i = 0; i < e->pages; i++) {
		uint64_t vaddr = e->vaddr + i * PAGE;
		const void *page;
		int r;

		if (e->flags & PE_PRESENT)
			page = c->old.map + c->old_next++ * PAGE;
		else
			page = c->lookup(c->ctx, vaddr);
		if (!page)
			return error_reason(c->rd.err, -ENODATA, REASON_TransferFailed,
					    "page 0x%llx of process %d was not transferred", (unsigned long long)vaddr, c->pid);
		r = put(&c->w, page);
		if (r < 0)
			return write_error(c, r);
	}
	return append_entry(&c->pagemap, e) < 0 ? write_error(c, -ENOMEM) : 0;
}

static int put_all(struct completion *c)
{
	uint64_t from = 0;
	struct pagemap_entry e;
	int r;

	while ((r = criu_pagemap_next(&c->rd, from, &e)) > 0) {
		from = e.vaddr + e.pages * PAGE;
		r = put_entry(c, &e);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	r = flush(&c->w);
	if (r == 0 && ftruncate(c->w.fd, (off_t)(c->w.pages * PAGE)) < 0)
		r = -errno;
	return r < 0 ? write_error(c, r) : 0;
}

/* Writes the pages file anew beside the old one, renames it, then the pagemap. */
static int rewrite(int dir_fd, struct completion *c, const char *pages_name, const struct buf *image, struct error *err)
{
	char tmp[80];
	cleanup_close int fd = -1;
	uint32_t id;
	int r;

	path_format(tmp, sizeof(tmp), "%s.tmp", pages_name);
	unlinkat(dir_fd, tmp, 0);
	fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_errno(err, "create %s", tmp);
	c->w.fd = fd;
	r = criu_pagemap_start(&c->rd, image, &id);
	if (r == 0 && buf_append(&c->pagemap, image->data, (size_t)(c->rd.p - (const uint8_t *)image->data)) < 0)
		r = write_error(c, -ENOMEM);
	if (r == 0)
		r = put_all(c);
	if (r == 0 && renameat(dir_fd, tmp, dir_fd, pages_name) < 0)
		r = error_errno(err, "rename %s", tmp);
	if (r == 0)
		r = file_write(dir_fd, c->rd.name, c->pagemap.data, c->pagemap.len, 0600, false, err);
	if (r < 0)
		unlinkat(dir_fd, tmp, 0);
	return r;
}

int criu_pages_complete(int image_dir_fd, pid_t ns_pid, page_lookup lookup, void *ctx, struct error *err)
{
	cleanup_buf struct buf image = BUF_INIT(PAGEMAP_MAX);
	struct completion c = { .pagemap = BUF_INIT(2 * PAGEMAP_MAX), .lookup = lookup, .ctx = ctx, .pid = ns_pid };
	char name[64], pages_name[64];
	uint64_t lazy;
	uint32_t id;
	int r;

	path_format(name, sizeof(name), "pagemap-%d.img", ns_pid);
	c.rd = (struct criu_pagemap){ .name = name, .err = err };
	r = file_read(image_dir_fd, name, &image, err);
	if (r == 0)
		r = criu_pagemap_start(&c.rd, &image, &id);
	if (r < 0)
		return r;
	path_format(pages_name, sizeof(pages_name), "pages-%u.img", id);
	/* Everything is checked before anything is written. */
	r = old_pages_map(image_dir_fd, pages_name, &c.old, err);
	if (r == 0)
		r = criu_pagemap_check(&c.rd, c.old.pages, &lazy);
	if (r == 0 && lazy)
		r = rewrite(image_dir_fd, &c, pages_name, &image, err);
	old_pages_unmap(&c.old);
	buf_free(&c.pagemap);
	return r;
}
