/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CRI_H
#define CONTAINER_CRI_H

#include <stdbool.h>

#include "base/error.h"

#define CRI_ANNOTATIONS_MAX 16

/* One runtime (a RuntimeClass's handler) as the running containerd has it, whatever its files say by now. */
struct cri_runtime {
	char binary[512];               /* BinaryName; "" is runc from PATH */
	bool systemd_cgroup;
	char annotations[CRI_ANNOTATIONS_MAX][128];     /* pod_annotations: patterns of those passed on to the runtime */
	int n_annotations;
};

/*
 * Asks containerd by its socket for the handler of this name; NULL: its default one.  -ENOENT when containerd does not know it.
 */
int cri_runtime(const char *socket, const char *handler, struct cri_runtime *ret, struct error *err);

#endif
