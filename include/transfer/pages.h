/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_PAGES_H
#define TRANSFER_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "migration/fill.h"
#include "transfer/packer.h"
#include "transfer/track.h"
#include "transfer/wire.h"

struct pages_stats {
	uint64_t pages, zero_pages;     /* sent with data, sent as ZEROS */
	uint64_t bytes;                 /* page data sent */
	uint64_t same_pages;            /* not sent: the other side has them already */
	int64_t micros;
};

/*
 * Which mappings: while CRIU dumps, it writes its bootstrap code into an executable mapping for moments (compel), so executable
 * mappings are read only after the metadata dump is ready; all others while it runs.
 */
enum pages_which { PAGES_NOT_EXECUTABLE, PAGES_EXECUTABLE, PAGES_ALL };

/*
 * What the other side holds of one container's processes, as a digest of each page sent: for a second round, and for the last one when the processes are
 * frozen.  16 bytes a page, 24 where soft-dirty bits are used.  One thread at a time.
 */
struct pages_known;
int pages_known_new(struct pages_known **ret, struct error *err);
void pages_known_free(struct pages_known *k);

/* Told of a run of pages of memory that is no file's, in memory or swapped and not the kernel's page of zeros: ascending.  A failure ends the sending with its error. */
typedef int (*pages_found)(void *ctx, uint64_t start, uint64_t end, struct error *err);

/* A process, and how to send it. */
struct pages_source {
	uint16_t container;
	pid_t pid;                      /* the node's */
	pid_t ns_pid;                   /* the one in the images */
	bool running;                   /* a round ahead: what vanishes while it is read is left out */
	int pidfd;                      /* of one that runs, taken while pid was its number: another process may have the number by the time it is read; 0: nobody looks */
	struct packer *packer;          /* NULL: pages go as they are */
	struct pages_known *known;      /* NULL: every page is sent */
	bool later;                     /* most comes when it is asked for (pages_answer): only what may not be readable is sent now */
	struct track *track;            /* NULL: every page is looked at; else only those written since the last round (or, by soft-dirty bits, since the first), which needs known */
	pages_found found;              /* not NULL: one that stands still is looked through for its pages by the way, whether they are sent or not */
	void *found_ctx;
	bool *sysv;                     /* set when it has System V shared memory attached, left as it is else; NULL: nobody asks */
};

/*
 * Sends all pages of one frozen process that CRIU may want: present or swapped pages of private mappings that are not unmodified
 * file pages (PAGEMAP_SCAN, kernel 6.7; /proc/PID/pagemap before), read by process_vm_readv.  All-zero pages go as ZEROS.
 * stats are added to, not set.  A superset of what CRIU wants is sent.  The process must stand still (frozen or held by CRIU)
 * in the last round; several threads may send processes on one wire.  -ESRCH when it is gone; -EFAULT when a page that is there
 * cannot be read: no page is left out silently.
 */
int pages_send(struct wire *w, const struct pages_source *from, enum pages_which which, struct pages_stats *stats, struct error *err);

/*
 * Answers a WANT: exactly these pages of a process that stands still, as PAGES and ZEROS.
 */
int pages_answer(struct wire *w, const struct pages_source *from, uint64_t address, uint32_t pages, struct pages_stats *stats, struct error *err);

/* Adds how many pages were written, which a next round would look at, executable mappings included.  -EOPNOTSUPP when the process is not tracked. */
int pages_count_written(const struct pages_source *from, uint64_t *count, struct error *err);

/*
 * The destination's store: per (container, ns_pid) the pages received, in a memory file below dir_fd (tmpfs).  Later pages
 * replace earlier ones. max_bytes bounds the pages ever stored and the index over them (-ENOSPC, reason NoSpace).  One thread may
 * put while others look up.
 */
struct page_store;
int page_store_new(int dir_fd, uint64_t max_bytes, struct page_store **ret, struct error *err);
void page_store_free(struct page_store *s);
int page_store_put(struct page_store *s, const struct wire_frame *f, struct error *err);        /* PAGES or ZEROS */
/*
 * For criu_pages_complete: ctx is a struct page_store_view, one per thread.  The pointer stays good until page_store_drop of the
 * container; a page known to be zero is page_store_zero.
 */
struct page_store_view {
	struct page_store *store;
	uint16_t container;
	pid_t ns_pid;
	struct page_block *last;        /* zero to begin with: makes lookups in ascending order fast */
};
const void *page_store_lookup(void *view, uint64_t vaddr);
extern const uint8_t page_store_zero[4096];
/* The same for who reads the store's file himself: 1 and the page's place in it, 0 for a page of zeros, -ENODATA. */
int page_store_offset(struct page_store_view *v, uint64_t vaddr, uint64_t *ret);
/* The store's file, a new fd for the caller; it stays good when the store is freed. */
int page_store_fd(const struct page_store *s, struct error *err);
/*
 * A place for a page that comes later, and is put there then; the file reaches as far once page_store_reach was called with the end of the last such place.  In the thread that
 * works on the container.
 */
int page_store_reserve(struct page_store_view *v, uint64_t vaddr, uint64_t *ret, struct error *err);
int page_store_reach(struct page_store *s, uint64_t end, struct error *err);
/* What was ever taken of max_bytes: pages and the index. */
uint64_t page_store_used(struct page_store *s);
/* The memory of one container is given back; its pages are unknown again. */
void page_store_drop(struct page_store *s, uint16_t container);

/*
 * Makes the fill list (migration/fill.h) of one container.  fill_list_add is a visit of criu_lazy_pages, to be called for each process
 * of the container, pids ascending: no page's data is looked at.  A page that is missing in the store: -ENODATA (reason TransferFailed), with pid
 * and address; or, when later, it gets a place there and is marked (FILL_LATER).  fill_list_finish returns a sealed memory file for the caller; fill_list_free is needed in any case.
 */
struct fill_list;
int fill_list_new(struct page_store *s, uint16_t container, bool later, struct fill_list **ret, struct error *err);
int fill_list_add(void *list, pid_t ns_pid, uint64_t vaddr, uint64_t pages, struct error *err);
int fill_list_finish(struct fill_list *l, struct error *err);
/* After that: the runs that come later, without their mark, by offset; the caller's, free(3). */
int fill_list_later(const struct fill_list *l, struct fill_run **ret, size_t *ret_n, struct error *err);
void fill_list_free(struct fill_list *l);

#endif
