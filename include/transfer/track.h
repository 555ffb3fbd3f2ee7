/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_TRACK_H
#define TRANSFER_TRACK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * Which pages of a running process were written since they were last looked at (kernel 6.7): its private mappings are registered with a userfaultfd in
 * asynchronous write-protect mode, and PAGEMAP_SCAN tells and protects in one step.  The process is not asked and goes on; each first write to a page
 * after a look costs it about a microsecond.  What is not registered when it is looked at (new, moved by mremap, of another program after exec) counts as written.
 * Closing the fd ends it without a trace, also when the one who holds it is killed.
 *
 * Not seen are writes by devices into memory that was handed to them before the look and after it (O_DIRECT): a process that has such a file open is not
 * tracked.  Nor is one that uses userfaultfd itself.
 */
struct track;

/* Stops one thread of the process for a moment (some 100 us).  A negative errno means that nothing was changed, and err why it cannot be tracked. */
int track_new(pid_t pid, struct track **ret, struct error *err);
void track_free(struct track *t);
/* How long the thread was stopped, microseconds. */
int64_t track_stopped_us(const struct track *t);
/* Registers all private mappings that are not yet.  After a failure track_broken says why. */
void track_register(struct track *t);
/* A page that was looked at and could not be read: it counts as written again. */
void track_forget(struct track *t, uint64_t address);
/* Looks again whether the process does what cannot be tracked. */
void track_check(struct track *t);
/* NULL, or why what it tells may not be relied upon: everything counts as written from then on. */
const char *track_broken(const struct track *t);

/*
 * All processes of one container, found anew in each round.  One thread at a time.
 */
struct track_set;
int track_set_new(struct track_set **ret, struct error *err);
void track_set_free(struct track_set *s);
/* A round begins: who is not asked for until the next one is forgotten. */
void track_set_round(struct track_set *s);
/* This process's track; may_start: begins it when there is none (or a broken one: the process may run another program now).  NULL: it is not tracked. */
struct track *track_set_get(struct track_set *s, pid_t pid, bool may_start);
/* How many were asked for in this round, and how many of them are tracked; *ret_why: why the first of the others is not, or NULL. */
void track_set_count(const struct track_set *s, int *ret_all, int *ret_tracked, const char **ret_why);
/* -ENOTSUP, and why, when one of them was seen to be of a kind that CRIU would end instead of taking its image. */
int track_set_refused(const struct track_set *s, struct error *err);
/* The longest stop of a thread so far, microseconds. */
int64_t track_set_stopped_us(const struct track_set *s);

#endif
