/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_COPY_H
#define RUNTIME_FILL_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fill_later.h"
#include "fill_pending.h"
#include "fill_run.h"

/* Where the pages come from. */
struct fill_source {
	struct fill_runs list;
	int store_fd;                   /* -1: list and store were not given yet */
	uint64_t store_size;            /* stays when the list is given back */
	struct fill_later *later;       /* NULL: everything is in the store */
	const uint8_t *map;             /* a part of the store, populated */
	uint64_t map_at;
	size_t map_len;
};

/* A task that is being restored, or runs already and lacks pages. */
struct fill_task {
	uint32_t pid;                   /* in the container; of a forked child: its parent's */
	int uffd;
	bool child;                     /* forked since */
	bool probed;                    /* its memory is registered where the list says */
	struct fill_pending pending;
	uint32_t piece;                 /* pages to try at once */
	int64_t blocked_us;             /* since when the first page's address is not registered; 0: it is */
};

void fill_source_close(struct fill_source *s);
/*
 * Copies one piece of at most max pages, the first of which is in the store, into a task that lacks some.  *ret_pages are in place then; 0 pages without an error: look for events, then try again.
 * -ENOENT: the first page's address is not registered (blocked_us is set); -ESRCH: the task has ended.
 */
int fill_copy(struct fill_source *s, struct fill_task *t, uint32_t max, uint32_t *ret_pages, struct error *err);
/* One page of each stretch of memory: -ENOENT when one of them is not registered.  Nothing of the task may run. */
int fill_probe(struct fill_source *s, struct fill_task *t, uint64_t *pages, struct error *err);
/*
 * Answers one fault, with the pages around it when the task lacks them; all of its events must have been heard.  A page that comes later is asked for, and whoever waits for
 * it is woken then (fill_wake).
 * *ret_pages were missing and are in place.
 */
int fill_serve(struct fill_source *s, struct fill_task *t, uint64_t address, bool write, uint32_t *ret_pages, struct error *err);
/* Who waits for a page that has come (all: for any page) asks again. */
void fill_wake(struct fill_source *s, bool all);
/* Asks for what the task lacks, from the first page on, as far ahead as may be. */
int fill_ask_ahead(struct fill_source *s, const struct fill_task *t, struct error *err);
/* Lets who waits there ask again, after a moment. */
void fill_try_again(const struct fill_task *t, uint64_t address);
/* It lacks nothing any more, or has ended. */
bool fill_is_gone(const struct fill_task *t);
/* Answers it with zeros whatever should be there: only for a restore that is given up. */
void fill_serve_zero(const struct fill_task *t, uint64_t address);

#endif
