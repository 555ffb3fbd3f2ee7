/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_MAPPINGS_H
#define SRC_TRANSFER_MAPPINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"

/* The private mappings of a process, ascending (/proc/PID/maps), without the kernel's own ([vdso], [vvar], [vsyscall]). */
struct mappings {
	FILE *file;
	char *line;
	size_t size;
	bool sysv;                      /* one that was passed so far is of System V shared memory, whether it is private or not */
};

struct mapping {
	uint64_t start, end;            /* bytes, page aligned, end exclusive */
	bool executable;
	bool file;                      /* of a file */
	bool shmem;                     /* of shared memory without a name: CRIU keeps its content in images of their own */
	bool sysv;                      /* .. System V: its inode's number is its id, which other shared memory may have, too, and can be 0 */
};

int mappings_open(pid_t pid, struct mappings *m, struct error *err);
void mappings_close(struct mappings *m);
/* 1: *ret is the next one; 0: no more; negative errno. */
int mappings_next(struct mappings *m, struct mapping *ret, struct error *err);
/* The same for all mappings; *ret_ours: whether it is one of those above. */
int mappings_next_any(struct mappings *m, struct mapping *ret, bool *ret_ours, struct error *err);

/* 1 when the mapping at address is one of a device or of page frames without struct page (VM_IO, VM_PFNMAP), whose content no
 * dump holds; 0; negative errno. */
int mapping_is_device(pid_t pid, uint64_t address, struct error *err);

#endif
