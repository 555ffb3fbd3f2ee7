/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "migration/fill.h"
#include "migration/reason.h"
#include "transfer/pages.h"

#define FILE_MAX (sizeof(struct fill_head) + (size_t)FILL_RUNS_MAX * sizeof(struct fill_run))

struct fill_list {
	struct page_store_view view;
	struct fill_head head;
	struct fill_run run;            /* the one that may still grow; pages 0: none */
	struct buf out;                 /* the others */
	bool later;                     /* what is missing comes later */
	uint64_t reach;                 /* where the last place for it ends; 0: there is none */
};

int fill_list_new(struct page_store *s, uint16_t container, bool later, struct fill_list **ret, struct error *err)
{
	struct fill_list *l = calloc(1, sizeof(*l));

	if (!l)
		return error_set(err, -ENOMEM, "out of memory for a fill list");
	l->view = (struct page_store_view){ .store = s, .container = container };
	l->later = later;
	l->head.magic = FILL_MAGIC;
	l->out = (struct buf)BUF_INIT(FILE_MAX);
	*ret = l;
	return 0;
}

void fill_list_free(struct fill_list *l)
{
	if (!l)
		return;
	buf_free(&l->out);
	free(l);
}

static int put_run(struct fill_list *l, struct error *err)
{
	if (l->run.pages == 0)
		return 0;
	if (l->head.runs == FILL_RUNS_MAX || buf_append(&l->out, &l->run, sizeof(l->run)) < 0)
		return error_reason(err, -E2BIG, REASON_TransferFailed, "the memory of process %u is in too many pieces", l->run.ns_pid);
	l->head.runs++;
	l->head.pages += l->run.pages;
	l->run.pages = 0;
	return 0;
}

static int put_page(struct fill_list *l, uint64_t vaddr, uint64_t offset, struct error *err)
{
	const struct fill_run *run = &l->run;
	uint64_t len = (uint64_t)run->pages * FILL_PAGE;
	int r;

	if (run->pages && run->pages < UINT32_MAX && run->vaddr + len == vaddr && run->offset + len == offset &&
	    run->ns_pid == (uint32_t)l->view.ns_pid) {
		l->run.pages++;
		return 0;
	}
	r = put_run(l, err);
	l->run = (struct fill_run){ (uint32_t)l->view.ns_pid, 1, vaddr, offset };
	return r;
}

/* Its place in the store, or one for later. */
static int find_place(struct fill_list *l, uint64_t vaddr, uint64_t *ret, struct error *err)
{
	int known = page_store_offset(&l->view, vaddr, ret);

	if (known >= 0)
		return known;
	if (!l->later)
		return error_reason(err, -ENODATA, REASON_TransferFailed, "page 0x%llx of process %d was not transferred", (unsigned long long)vaddr,
				    l->view.ns_pid);
	known = page_store_reserve(&l->view, vaddr, ret, err);
	if (known < 0)
		return known;
	l->reach = *ret + FILL_PAGE;
	*ret |= FILL_LATER;
	return 1;
}

int fill_list_add(void *list, pid_t ns_pid, uint64_t vaddr, uint64_t pages, struct error *err)
{
	struct fill_list *l = list;
	int r = 0;

	/* Who reads the list relies on the order. */
	if (ns_pid < l->view.ns_pid)
		return error_set(err, -EINVAL, "fill list: process %d after process %d", ns_pid, l->view.ns_pid);
	l->view.ns_pid = ns_pid;
	for (uint64_t i = 0; r == 0 && i < pages; i++) {
		uint64_t at = vaddr + i * FILL_PAGE, offset = 0;
		int known = find_place(l, at, &offset, err);

		r = known > 0 ? put_page(l, at, offset, err) : known;
	}
	return r;
}

int fill_list_finish(struct fill_list *l, struct error *err)
{
	cleanup_close int fd = memfd_create("podmigration-fill", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = put_run(l, err);

	if (r == 0 && l->reach)
		r = page_store_reach(l->view.store, l->reach, err);
	if (r < 0)
		return r;
	if (fd < 0)
		return error_errno(err, "make a fill list");
	r = write_full(fd, &l->head, sizeof(l->head));
	if (r == 0)
		r = write_full(fd, l->out.data, l->out.len);
	if (r < 0)
		return error_set(err, r, "write the fill list");
	/* Nothing may change under the one who has checked it. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return error_errno(err, "seal the fill list");
	return take_fd(&fd);
}

/* Places are given in the order of the list. */
int fill_list_later(const struct fill_list *l, struct fill_run **ret, size_t *ret_n, struct error *err)
{
	const struct fill_run *all = (const struct fill_run *)(const void *)l->out.data;
	struct fill_run *later = malloc(((size_t)l->head.runs + 1) * sizeof(*later));
	size_t n = 0;

	if (!later)
		return error_set(err, -ENOMEM, "out of memory for the pages that come later");
	for (uint64_t i = 0; i < l->head.runs; i++) {
		if (!(all[i].offset & FILL_LATER))
			continue;
		later[n] = all[i];
		later[n++].offset &= ~(uint64_t)FILL_LATER;
	}
	*ret = later;
	*ret_n = n;
	return 0;
}
