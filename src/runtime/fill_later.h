/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_LATER_H
#define RUNTIME_FILL_LATER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fill_run.h"

/*
 * PostCopy: pages of the store that are still at the source.  They are asked for by their place in the store: first those that somebody waits for, meanwhile
 * ahead, so many that the way there and back is never empty.  Who waits for a page is woken when it has come, and finds it by asking again.
 */
struct fill_later;

/* Takes the marks off the runs.  NULL in *ret: nothing of the list comes later, fd is closed.  The fd is taken in any case. */
int later_new(struct fill_runs *runs, int fd, struct fill_later **ret, struct error *err);
void later_free(struct fill_later *l);
int later_fd(const struct fill_later *l);       /* to poll; -1: nobody brings anything any more */

/* How many of these pages are here, from the first on; l NULL: all. */
uint32_t later_here(const struct fill_later *l, uint64_t offset, uint32_t pages);
/* Asks for those of them that are away and were not asked for.  -EPIPE: nobody is there to ask. */
int later_ask(struct fill_later *l, uint64_t offset, uint32_t pages, struct error *err);
/* More may be asked for ahead. */
bool later_has_room(const struct fill_later *l);
/* Somebody waits at this address for the page that lies there.  -ENOMEM. */
int later_wait(struct fill_later *l, int uffd, uint64_t vaddr, uint64_t offset);

/* What has come.  -ETIMEDOUT when nothing has for too long although it was asked for. */
int later_hear(struct fill_later *l, struct error *err);
/* The next who waits for what is here, or (all) for anything; false: nobody.  To be woken. */
bool later_next_waiter(struct fill_later *l, bool all, int *ret_uffd, uint64_t *ret_vaddr);
/* A task has gone, and the number of its userfaultfd may be another's soon. */
void later_forget(struct fill_later *l, int uffd);

#endif
