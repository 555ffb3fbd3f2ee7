/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CONTAINERD_H
#define CONTAINER_CONTAINERD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/* Read-only use of containerd's gRPC API over its unix socket (libcurl, HTTP/2 prior knowledge; no libgrpc). */
struct containerd;

#define CONTAINERD_ID_MAX 128
#define CONTAINERS_MAX 64

struct pod_container {
	char id[CONTAINERD_ID_MAX];
	char name[254]; /* container name in the pod, "" for the sandbox */
	bool sandbox;
	pid_t task_pid;      /* the pid containerd knows: init, or our monitor for a restored container */
	char bundle[512];    /* /run/containerd/io.containerd.runtime.v2.task/k8s.io/<id> */
	char upperdir[1024]; /* overlayfs upper folder, "" when the snapshotter has none (then rootfs changes cannot be read) */
	char image[512];
	char shim[128];      /* containerd's name of its runtime, such as io.containerd.runc.v2 */
	char binary[512];    /* the OCI runtime that the shim calls, "" for runc from PATH; both only of shims of runc's kind */
	char root[512];      /* where that runtime keeps its state, "" for containerd's default */
};

struct pod_containers {
	struct pod_container items[CONTAINERS_MAX];
	int n;
};

/* socket: path as seen from here, e.g. /proc/1/root/run/containerd/containerd.sock. */
int containerd_open(const char *socket, struct containerd **ret, struct error *err);
void containerd_close(struct containerd *c);
int containerd_version(struct containerd *c, char *out, size_t size, struct error *err);
/* Running containers of a pod (label io.kubernetes.pod.uid), the sandbox included. */
int containerd_pod(struct containerd *c, const char *pod_uid, struct pod_containers *ret, struct error *err);
/* Whether it was made by runc, or by something whose state runc knows; runc_root: where the caller looks for that.  Reason UnsupportedRuntime. */
int containerd_check_runtime(const struct pod_container *c, const char *runc_root, struct error *err);
/* Those that do not run: not yet, or not any more. */
int containerd_pod_dead(struct containerd *c, const char *pod_uid, struct pod_containers *ret, struct error *err);

#endif
