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
 *
 * A kernel that has no such mode but soft-dirty bits (before 6.7; Debian 12): these are cleared when tracking begins, and never again, so that what was written gathers; and what is where it was
 * (its page frame) and does not have the bit is as it was read.  No thread is stopped, and nothing is left behind.  Nor is one tracked so that uses such bits itself.
 */
struct track;

/* Stops one thread of the process for a moment (some 100 us), or keeps the process from mapping memory while its bits are cleared (some ms for each GiB).  A negative errno means that nothing was changed, and err why it cannot be tracked. */
int track_new(pid_t pid, struct track **ret, struct error *err);
void track_free(struct track *t);
/* By soft-dirty bits, not by write protection. */
bool track_by_bits(const struct track *t);
/* True once, the first time: by soft-dirty bits, nothing that was known before they were cleared counts. */
bool track_first_look(struct track *t);
/* A page that had its bit has it no more; or another one has come in its place, and neither was written (mremap, KSM): it is broken, the latter for good. */
void track_bits_lost(struct track *t);
void track_pages_move(struct track *t);
/* How long that took, microseconds. */
int64_t track_stopped_us(const struct track *t);
/* Registers all private mappings that are not yet.  After a failure track_broken says why. */
void track_register(struct track *t);
/* A page that was looked at and could not be read: it counts as written again (by soft-dirty bits: whoever reads it sees to that). */
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
/* Whether any that was asked for in this round is tracked by soft-dirty bits: what is written gathers, and what is left to be looked at never gets less. */
bool track_set_by_bits(const struct track_set *s);
/* -ENOTSUP, and why, when one of them was seen to be of a kind that CRIU would end instead of taking its image. */
int track_set_refused(const struct track_set *s, struct error *err);
/* The longest stop of a thread so far, microseconds. */
int64_t track_set_stopped_us(const struct track_set *s);

#endif
