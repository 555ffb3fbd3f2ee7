/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * One child program.  No shell is ever involved.  Fds other than 0-2 and keep_fds are closed in the child.
 * host_root_pid > 0: the child first enters that process's mount, network, ipc, uts and cgroup namespaces and root
 * (an agent in a pod with hostPID runs the node's own runc and criu that way, pid 1).
 */
struct process_spec {
	const char *const *argv;        /* NULL-terminated; argv[0] is searched on PATH (of the child's namespace) */
	const char *const *env;         /* NULL: inherit */
	const char *cwd;                /* NULL: "/" */
	int stdin_fd;                   /* -1: /dev/null */
	int stdout_fd;                  /* -1: captured when out is given, else /dev/null */
	int stderr_fd;                  /* -1: captured when out is given, else /dev/null */
	const int *keep_fds;            /* these stay open under the same number; -1 ends the list; NULL: none */
	const int *cgroup_fds;          /* cgroup.procs files of groups that the child joins first; -1 ends the list; NULL: none */
	pid_t host_root_pid;
	int netns_fd;                   /* > 0: entered last, after the host's */
	pid_t die_with_parent;          /* non-zero: PR_SET_PDEATHSIG SIGKILL */
};

struct process {
	pid_t pid;
	int pidfd;
	int out_fd;                     /* read end of captured stdout+stderr, or -1 */
};

int process_start(const struct process_spec *spec, bool capture, struct process *ret, struct error *err);

/*
 * Waits until the child ended or deadline (clock_mono_us; 0: none) passed, collecting captured output into out (may be NULL; what
 * does not fit is dropped).  On deadline: SIGKILL, reaped, -ETIMEDOUT.  *ret_status: exit status, or 128+signal.
 */
int process_wait(struct process *p, int64_t deadline_us, struct buf *out, int *ret_status, struct error *err);

/* process_start + process_wait; a non-zero exit is an error that quotes the last captured line. */
int process_run(const struct process_spec *spec, int64_t timeout_us, struct buf *out, struct error *err);

#endif
