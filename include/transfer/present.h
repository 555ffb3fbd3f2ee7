/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_PRESENT_H
#define TRANSFER_PRESENT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Of a process that stands still: where its large pieces of memory are, and which of their pages there are.  A visit that fails ends it with its error. */
typedef int (*present_visit)(void *ctx, uint64_t start, uint64_t end, struct error *err);

/* Each private mapping of at least min bytes that is no file's and holds no code; ascending. */
int present_mappings(pid_t pid, uint64_t min, present_visit visit, void *ctx, struct error *err);
/* Each run of pages of such a mapping that a dump must hold: in memory or swapped, and not the kernel's page of zeros; ascending. */
int present_pages(pid_t pid, uint64_t start, uint64_t end, present_visit visit, void *ctx, struct error *err);

#endif
