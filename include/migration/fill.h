/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_FILL_H
#define MIGRATION_FILL_H

#include <stdint.h>

/*
 * The fill list: which pages of a page store's file go where in the memory of a container that is being restored.  The agent makes it
 * (transfer/pages.h), the runtime's filler reads it.  A file of one head and its runs, in the machine's own byte order (it never
 * leaves the node).  Runs are sorted by process, then by address, and do not overlap; a page that no run names is zero.
 */
#define FILL_MAGIC 0x314c4c49464d50ull  /* "PMFILL1" */
#define FILL_PAGE 4096u
#define FILL_RUNS_MAX (8u << 20)        /* 192 MiB of list: every other page of 64 GiB is zero */
#define FILL_PID_MAX (1u << 22)         /* the kernel's PID_MAX_LIMIT */
#define FILL_VADDR_END (1ull << 57)     /* five-level page tables; nothing a process maps is above */

struct fill_head {
	uint64_t magic;
	uint64_t runs;
	uint64_t pages;                 /* of all runs together */
};

/*
 * A run whose pages are not in the store yet (PostCopy): with the list and the store comes a SOCK_SEQPACKET socket, on which the filler asks for pages and is told of
 * those that have come.  The largest packet is of FILL_ASK_MAX pages.
 */
#define FILL_LATER 1u
#define FILL_ASK_MAX 256u

struct fill_packet {
	uint64_t offset;
	uint32_t pages, reserved;
};

struct fill_run {
	uint32_t ns_pid;                /* in the container, as the images name the process */
	uint32_t pages;
	uint64_t vaddr;
	uint64_t offset;                /* of the first page in the store's file, perhaps with FILL_LATER; the others follow it */
};

#endif
