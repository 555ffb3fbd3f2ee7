/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_VMA_FLAGS_H
#define SRC_CONTAINER_VMA_FLAGS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * What the kernel itself keeps of each mapping of a process, at no cost that depends on how much memory there is.  Only smaps tells the same to programs, and looks at every page for it.
 * It is asked by a BPF program at the kernel's iterator of mappings (bpf_iter task_vma, kernel 5.12; of one process alone, 6.1), whose places in the kernel's structures come from the
 * kernel's own description of itself (BTF).
 */
struct vma_flags {
	uint64_t start, end;
	uint64_t flags;                 /* vm_flags: whose bit means what is this kernel's own affair */
};

/* Loads the program: some 15 ms.  Returns its fd, or negative errno on a kernel that has not all of this, or keeps it from us (lockdown). */
int vma_flags_open(struct error *err);

/* All mappings of a process, ascending; the caller frees *ret. */
int vma_flags_read(int program, pid_t pid, struct vma_flags **ret, size_t *ret_n, struct error *err);

#endif
