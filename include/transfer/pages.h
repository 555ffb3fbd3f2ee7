/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_PAGES_H
#define TRANSFER_PAGES_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "transfer/wire.h"

struct pages_stats {
	uint64_t pages, zero_pages, bytes;
	int64_t micros;
};

/*
 * Sends all pages of one frozen process that CRIU may want: present or swapped pages of private mappings that are not unmodified file pages
 * (PAGEMAP_SCAN, kernel 6.7; /proc/PID/pagemap before), read by process_vm_readv.  All-zero pages go as ZEROS.  pid: the node's; ns_pid: the one in the images.
 */
int pages_send(struct wire *w, uint16_t container, pid_t pid, pid_t ns_pid, struct pages_stats *stats, struct error *err);

/*
 * The destination's store: per (container, ns_pid) the pages received, in a memory file below dir_fd (tmpfs).  Later pages replace earlier ones.
 */
struct page_store;
int page_store_new(int dir_fd, uint64_t max_bytes, struct page_store **ret, struct error *err);
void page_store_free(struct page_store *s);
int page_store_put(struct page_store *s, const struct wire_frame *f, struct error *err);        /* PAGES or ZEROS */
/* For criu_pages_complete: ctx is a struct page_store_view. */
struct page_store_view {
	struct page_store *store;
	uint16_t container;
	pid_t ns_pid;
};
const void *page_store_lookup(void *view, uint64_t vaddr);
void page_store_drop(struct page_store *s, uint16_t container);         /* memory of one container is given back */

#endif
