/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_VOLUMES_H
#define AGENT_VOLUMES_H

#include "agent.h"
#include "container/bundle.h"

/*
 * The folders of a pod that its containers share and whose content no CRIU image holds: emptyDir volumes and the sandbox's /dev/shm.
 * They are found from the bind mounts of a container's bundle, so that kubelet's and containerd's root folders need not be known.
 */
#define POD_VOLUMES_MAX 64

struct pod_volume {
	char tree[300];                 /* "volume:<name>" or "shm": its name on the wire */
	char path[1024];                /* on the node */
	struct id_range ids;            /* of the pod's user namespace, when the files' owners are as the node sees them; else none */
};

struct pod_volumes {
	struct pod_volume items[POD_VOLUMES_MAX];
	int n;
};

/* Adds what b's mounts show; volumes already known are not added twice. */
int volumes_add(const struct agent_options *o, const struct bundle *b, struct pod_volumes *ret, struct error *err);
/* <kubelet's root>/pods/<uid> when source, of a bind mount, lies in a pod's folder; else -ENOENT. */
int volumes_pod_dir(const char *source, char *out, size_t size);
const struct pod_volume *volumes_find(const struct pod_volumes *v, const char *tree);

#endif
