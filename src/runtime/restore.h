/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RESTORE_H
#define RUNTIME_RESTORE_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/process.h"

/* One `runc restore`, a child of the monitor. */
struct restore {
	struct process process;         /* pid 0: not started or reaped */
	int status;                     /* of waitpid */
	char work[512];
	char pid_file[600], log[600];
};

void restore_init(struct restore *r);
/* images and work must lie below PM_RUN_DIR.  hook: socket for CRIU's action script.  The container's stdio is our 0-2. */
int restore_start(struct restore *r, const char *id, const char *root, const char *bundle, bool systemd_cgroup, const char *images,
		  const char *work, bool lazy, const char *dir, const char *hook, struct error *err);
void restore_reaped(struct restore *r, int status);
/* After it was reaped: the restored init, or an error with runc's message and CRIU's "Error (" lines. */
int restore_finish(struct restore *r, pid_t *ret_init, struct error *err);
/* Waits for a runc that is giving up (at most 5 s), then kills it. */
void restore_abort(struct restore *r);

#endif
