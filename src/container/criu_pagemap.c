/* SPDX-License-Identifier: Apache-2.0 */
#include "criu_pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "container/criu_images.h"
#include "migration/reason.h"
#include "proto/criu.pb-c.h"

/* criu/include/magic.h: the kind's magic is the place of a Russian town. */
#define IMG_COMMON_MAGIC 0x54564319u
#define PAGEMAP_MAGIC 0x56084025u

#define PAGE CRIU_PAGE_SIZE
#define VADDR_END (1ull << 57) /* five-level page tables; nothing a process maps is above */

static int damaged(const struct criu_pagemap *m, const char *what)
{
	return error_reason(m->err, -EBADMSG, REASON_RestoreFailed, "CRIU image %s is damaged: %s", m->name, what);
}

/* Next entry's bytes; 0 at the end. */
static int next_raw(struct criu_pagemap *m, const uint8_t **ret, uint32_t *ret_len)
{
	uint32_t len;

	if (m->p == m->end)
		return 0;
	if (m->end - m->p < 4)
		return damaged(m, "an entry is cut off");
	memcpy(&len, m->p, 4);
	m->p += 4;
	if (len == 0 || len > PAGEMAP_ENTRY_MAX || len > (size_t)(m->end - m->p))
		return damaged(m, "size of an entry");
	*ret = m->p;
	*ret_len = len;
	m->p += len;
	return 1;
}

int criu_pagemap_start(struct criu_pagemap *m, const struct buf *image, uint32_t *ret_pages_id)
{
	uint32_t magic[2], len;
	const uint8_t *raw;
	Criu__PagemapHead *head;
	int r;

	m->p = (const uint8_t *)image->data;
	m->end = m->p + image->len;
	if (image->len < sizeof(magic))
		return damaged(m, "no magic");
	memcpy(magic, m->p, sizeof(magic));
	m->p += sizeof(magic);
	if (magic[0] != IMG_COMMON_MAGIC || magic[1] != PAGEMAP_MAGIC)
		return damaged(m, "not a pagemap");
	r = next_raw(m, &raw, &len);
	if (r <= 0)
		return r < 0 ? r : damaged(m, "no head");
	head = criu__pagemap_head__unpack(NULL, len, raw);
	if (!head)
		return damaged(m, "its head");
	*ret_pages_id = head->pages_id;
	criu__pagemap_head__free_unpacked(head, NULL);
	return 0;
}

static int check_entry(const struct criu_pagemap *m, const Criu__PagemapEntry *pe, uint64_t from, struct pagemap_entry *e)
{
	*e = (struct pagemap_entry){ pe->vaddr, pe->has_nr_pages ? pe->nr_pages : pe->compat_nr_pages, pe->compat_nr_pages,
				     pe->has_nr_pages, pe->has_flags ? pe->flags : PE_PRESENT };
	if (pe->base.n_unknown_fields)
		return error_reason(m->err, -ENOTSUP, REASON_CRIUIncompatible, "CRIU image %s is of a newer CRIU", m->name);
	if ((pe->has_in_parent && pe->in_parent) || (e->flags & PE_PARENT))
		return error_reason(m->err, -ENOTSUP, REASON_RestoreFailed, "CRIU image %s refers to a parent image", m->name);
	if (e->vaddr % PAGE || e->vaddr >= VADDR_END || e->pages == 0 || e->pages > (VADDR_END - e->vaddr) / PAGE)
		return damaged(m, "an address is out of range");
	/* CRIU reads page files front to back, so it writes entries in order; overlaps would name a page twice. */
	if (e->vaddr < from)
		return damaged(m, "entries overlap or are out of order");
	if ((e->flags & ~(PE_LAZY | PE_PRESENT)) || !(e->flags & (PE_LAZY | PE_PRESENT)))
		return damaged(m, "flags of an entry");
	return 1;
}

int criu_pagemap_next(struct criu_pagemap *m, uint64_t from, struct pagemap_entry *ret)
{
	Criu__PagemapEntry *pe;
	const uint8_t *raw;
	uint32_t len;
	int r = next_raw(m, &raw, &len);

	if (r <= 0)
		return r;
	pe = criu__pagemap_entry__unpack(NULL, len, raw);
	if (!pe)
		return damaged(m, "an entry");
	r = check_entry(m, pe, from, ret);
	criu__pagemap_entry__free_unpacked(pe, NULL);
	return r;
}

size_t pagemap_entry_pack(const struct pagemap_entry *e, uint8_t out[4 + PAGEMAP_ENTRY_MAX])
{
	Criu__PagemapEntry m = CRIU__PAGEMAP_ENTRY__INIT;
	uint32_t len;

	m.vaddr = e->vaddr;
	m.compat_nr_pages = e->compat_pages;
	m.has_nr_pages = e->has_pages;
	m.nr_pages = e->has_pages ? e->pages : 0;
	m.has_flags = 1;
	m.flags = e->flags;
	len = (uint32_t)criu__pagemap_entry__pack(&m, out + 4);
	memcpy(out, &len, 4);
	return 4 + (size_t)len;
}

int criu_pagemap_check(struct criu_pagemap *m, uint64_t pages_in_file, uint64_t *ret_lazy)
{
	uint64_t present = 0, lazy = 0, from = 0;
	struct pagemap_entry e;
	int r;

	while ((r = criu_pagemap_next(m, from, &e)) > 0) {
		from = e.vaddr + e.pages * PAGE;
		if (e.flags & PE_PRESENT)
			present += e.pages;
		else
			lazy += e.pages;
	}
	if (r == 0 && present != pages_in_file)
		r = damaged(m, "its pages file has another number of pages");
	*ret_lazy = lazy;
	return r;
}

static int count_pages(int dir_fd, uint32_t id, uint64_t *ret, struct error *err)
{
	char name[64];
	struct stat st;

	path_format(name, sizeof(name), "pages-%u.img", id);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_errno(err, "open CRIU image %s", name);
	if (!S_ISREG(st.st_mode) || st.st_size % PAGE)
		return error_reason(err, -EBADMSG, REASON_RestoreFailed, "CRIU image %s is damaged: its size", name);
	*ret = (uint64_t)st.st_size / PAGE;
	return 0;
}

/* All is checked before the first visit. */
int criu_lazy_pages(int image_dir_fd, pid_t ns_pid, lazy_visit visit, void *ctx, struct error *err)
{
	cleanup_buf struct buf image = BUF_INIT(PAGEMAP_MAX);
	char name[64];
	struct criu_pagemap m = { .name = name, .err = err }, again;
	uint64_t in_file = 0, lazy;
	struct pagemap_entry e;
	uint32_t id = 0;
	int r;

	path_format(name, sizeof(name), "pagemap-%d.img", ns_pid);
	r = file_read(image_dir_fd, name, &image, err);
	if (r == 0)
		r = criu_pagemap_start(&m, &image, &id);
	if (r == 0)
		r = count_pages(image_dir_fd, id, &in_file, err);
	again = m;
	if (r == 0)
		r = criu_pagemap_check(&m, in_file, &lazy);
	while (r == 0 && (r = criu_pagemap_next(&again, 0, &e)) > 0)
		r = e.flags & PE_LAZY ? visit(ctx, ns_pid, e.vaddr, e.pages, err) : 0;
	return r;
}
