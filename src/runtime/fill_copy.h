/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_COPY_H
#define RUNTIME_FILL_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fill_run.h"

/* Where the pages come from. */
struct fill_source {
	struct fill_runs list;
	int store_fd;                   /* -1: list and store were not given yet */
	const uint8_t *map;             /* a part of the store, populated */
	uint64_t map_at;
	size_t map_len;
};

/* A task that is being restored. */
struct fill_task {
	uint32_t pid;                   /* in the container */
	int uffd;                       /* -1: closed */
	uint32_t next, end;             /* in list.order */
	uint32_t page;                  /* of the run `next` */
	uint32_t piece;                 /* pages to try at once */
	bool blocked;                   /* its memory is not registered yet */
};

void fill_source_close(struct fill_source *s);
/*
 * Copies one piece into a task that is not complete.  *ret_pages are in place then; 0 pages without an error: try again.  -ENOENT: the
 * address is not registered (t->blocked is set); -ESRCH: the task has ended.
 */
int fill_copy(struct fill_source *s, struct fill_task *t, uint32_t *ret_pages, struct error *err);
/* Answers all faults that wait: from the list or, when zeros is set, by zeros in any case. */
int fill_faults(struct fill_source *s, struct fill_task *t, bool zeros, struct error *err);

#endif
