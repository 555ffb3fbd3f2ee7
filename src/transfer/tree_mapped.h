/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_TREE_MAPPED_H
#define SRC_TRANSFER_TREE_MAPPED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "transfer/tree.h"

/* CLOCK_REALTIME_COARSE, of which times of files are taken, when the collection began; less what its ticks, and those of the file system, may be behind. */
int64_t tree_mapped_began(const struct tree_mapped *m);
/* May this file be written to without its times being changed?  Rather yes than no. */
bool tree_mapped_has(const struct tree_mapped *m, bool overlay, const char *name, const struct stat *st);

#endif
