/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_SMAPS_H
#define CONTAINER_SMAPS_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * /proc/PID/smaps as far as CRIU reads it (where the mappings are, and their flags), without the walk through all memory that the file itself costs: 28 ns for each page, 7 ms for each GiB
 * and more.  Where the mappings are says maps; their flags says the kernel (vma_flags.h), as a number, and which words smaps has for a number is learned from smaps itself: of our own
 * process, and of those that have others once, while they run.  Nothing is assumed of what a bit means.
 */
struct smaps;

/* Some 15 ms.  -EOPNOTSUPP, -EPERM ..: this kernel tells nothing; smaps must be read as it is. */
int smaps_new(struct smaps **ret, struct error *err);
void smaps_free(struct smaps *s);

/* Learns what is not known yet of this process's flags.  Only then its smaps is read, which walks through its memory. */
int smaps_learn(struct smaps *s, pid_t pid, struct error *err);

/*
 * Adds the text to *out, of a process that stands still.  -ENODATA: it has flags whose words are not known; smaps must be read as it is.  Several threads may call this at once,
 * while nobody learns.
 */
int smaps_text(const struct smaps *s, pid_t pid, struct buf *out, struct error *err);

#endif
