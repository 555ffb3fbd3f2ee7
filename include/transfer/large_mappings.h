/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_LARGE_MAPPINGS_H
#define TRANSFER_LARGE_MAPPINGS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* A visit that fails ends it with its error. */
typedef int (*large_mapping_visit)(void *ctx, uint64_t start, uint64_t end, struct error *err);

/* Each private mapping of at least min bytes that is no file's and holds no code, of a process that stands still; ascending. */
int large_mappings_each(pid_t pid, uint64_t min, large_mapping_visit visit, void *ctx, struct error *err);

#endif
