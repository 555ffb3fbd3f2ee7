/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_RUNC_H
#define CONTAINER_RUNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/process.h"

/*
 * runc and CRIU of the node, run in the node's own namespaces (host_pid, 1 for an agent in a pod; 0 when we are on the host
 * already).
 */
struct runc {
	pid_t host_pid;
	const char *root;     /* containerd's: /run/containerd/runc/k8s.io */
	const char *programs; /* where podmigration is installed on the node: bin/, libexec/ */
	int netns_fd;         /* runc and CRIU run in this network namespace; -1: in the node's */
};

/* pid of the container's init as runc knows it (also for a container that was restored by podmigration-runtime). */
int runc_init_pid(const struct runc *r, const char *id, pid_t *ret, struct error *err);

/* A fresh network namespace with lo up, for struct runc's netns_fd. */
int runc_private_netns(int *ret_fd, struct error *err);

/*
 * The metadata-only dump: `runc checkpoint --lazy-pages --page-server 127.0.0.1:port --status-fd --leave-running`.
 * start (init_pid: the container's first process, in whose root CRIU looks for what is watched) returns at once; wait_gate blocks until runc and CRIU have started and stand before their first look at the container,
 * which runs on untouched meanwhile (starting them takes longer than the dump itself).  The container is then frozen, and go
 * lets CRIU dump it; wait_ready blocks until CRIU has written all metadata images into
 * image_dir (it then holds the tasks by ptrace and has thawed the freezer group); finish ends CRIU's page server by a clean
 * close, so that CRIU lets go of the tasks, waits for runc and checks that the images are whole.  The caller freezes the group
 * again between wait_ready and finish: the source must never run on its own. image_dir and work_dir are existing folders, paths
 * on the node; work_dir gets the CRIU configuration, the gate and dump.log and tells this dump from others.  The
 * container's own network namespace as netns_fd spares CRIU the walk through the node's connection tracking table and needs its
 * restore to be run in the new one. Errors quote CRIU's "Error ("
 * lines of dump.log (reason CheckpointFailed, IOUringInUse, ExternalUnixSocket ..).
 *
 * After a successful start the caller always ends with finish or abort; abort after a failure of wait_ready or finish, and after
 * finish, is harmless.
 */
struct runc_dump {
	const struct runc *runc;
	struct process process; /* pid 0: ended and reaped */
	int status_fd;          /* -1: CRIU said it is ready, or never will */
	int gate_fd;            /* where CRIU waits for the freeze; -1: it has gone through */
	uint16_t port;
	bool ready;
	bool asked;  /* to end, being ready */
	bool killed; /* runc died before CRIU did */
	char image_dir[512];
	char work_dir[512];
	char id[128];
};
int runc_dump_start(const struct runc *r, const char *id, pid_t init_pid, const char *image_dir, const char *work_dir, uint16_t port,
		    struct runc_dump *ret, struct error *err);
int runc_dump_wait_gate(struct runc_dump *d, int64_t deadline_us, struct error *err);
int runc_dump_go(struct runc_dump *d, struct error *err);
int runc_dump_wait_ready(struct runc_dump *d, int64_t deadline_us, struct error *err);
/* For who has something else to look at meanwhile: true when wait_ready has not to wait any more, false when it still has at until_us. */
bool runc_dump_answers(struct runc_dump *d, int64_t until_us);
int runc_dump_finish(struct runc_dump *d, int64_t deadline_us, struct error *err);
/*
 * Ends the dump and leaves no process of it.  CRIU is asked first and killed only when it does not end in a few seconds: killed
 * while its code runs in the tasks, it would leave them broken.  After wait_ready the group must be frozen again before.
 */
void runc_dump_abort(struct runc_dump *d);
/*
 * The same for a container that stands still until CRIU has let it go, in two halves.  let_go returns when nothing of the dump holds one of the container's processes (pids: all of them; none can begin), or will (after 10 s of waiting for it CRIU is killed; at once when runc was killed): one that stands
 * at its gate has touched nothing, and is left there; one that has begun comes to where it can let them go whole, does, and is waited for no longer.  Then the group may be thawed, and after that abort is due: runc
 * and CRIU are still there.  hurry first, for all containers of the pod: who can begin to let go does, and nobody is waited for.
 */
void runc_dump_hurry(struct runc_dump *d);
void runc_dump_let_go(struct runc_dump *d, const pid_t *pids, int n);
/*
 * The same for a dump whose agent crashed: found by its work_dir, which must still be there.  Returns 0 when nothing was left, a
 * positive number when something was and is gone now, or negative errno.
 */
int runc_dump_kill_left(const struct runc *r, const char *work_dir, struct error *err);
/* The same for one whose agent died before the freeze: it has touched nothing, and is killed at once.  To be called before its work_dir is removed. */
int runc_dump_kill_unstarted(pid_t host_pid, const char *work_dir, struct error *err);

/*
 * A container whose processes are all gone, and whose cgroup is frozen all the same: CRIU, which held them while they were killed, puts back the state that it had found.  runc takes such a
 * container for a paused one and never deletes it.  Thaws the empty group: 1; 0 when there was nothing to do.  Never touches a group that has a process.
 */
int runc_thaw_dead(const struct runc *r, const char *id, struct error *err);

/* Versions and CPU, for the handshake. criu_cpuinfo: the image of `criu cpuinfo dump`. */
int criu_version(pid_t host_pid, int *ret_version /* 40201 = 4.2.1 */, char *text, size_t size, struct error *err);
int criu_cpuinfo_dump(pid_t host_pid, struct buf *out, struct error *err);
int criu_cpuinfo_check(pid_t host_pid, const void *image, size_t len, struct error *err); /* reason CPUIncompatible */

/*
 * Appends the "Error (" lines of a CRIU log to err's message (the last ones that fit) and picks a better reason where a line
 * names one.
 */
void criu_explain(int dirfd, const char *log_path, struct error *err);

#endif
