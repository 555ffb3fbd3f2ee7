/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RECORD_H
#define RUNTIME_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/error.h"
#include "json_scan.h"

/* The folder of a container that has or had a monitor (include/runtime/monitor.h). */
#define RECORD_DIR_MAX 384
#define RECORD_INFO_MAX 262144          /* what the agent reads */
#define RECORD_PID_MAX 4194304          /* PID_MAX_LIMIT of the kernel (linux/threads.h) */
#define RECORD_RUNC "restoring"         /* beside info.json: {"pid", "started"} of `runc restore` */
#define RECORD_GATE "gate"              /* the named pipe at which its CRIU stands by, when it was started ahead of time */

enum monitor_state {
	STATE_WAITING,
	STATE_STARTING,
	STATE_STANDBY,
	STATE_RESTORING,
	STATE_BARRIER,
	STATE_RUNNING,
	STATE_FAILED,
	STATE_COLD,                     /* an ordinary container, started from its image in the place of one that ran: runc's alone */
	STATE_COUNT
};
const char *state_name(enum monitor_state s);

struct record {
	char dir[RECORD_DIR_MAX];
	enum monitor_state state;
	pid_t pid;                      /* the monitor's; 0: the record was never whole */
	int64_t started;                /* its start time, in clock ticks since boot */
	char root[512], bundle[1024], cgroup[1024];
	time_t created;
};

/* -EINVAL when no container may have this id. */
int record_dir(const char *id, char out[RECORD_DIR_MAX]);
/* true when the container is ours.  What is missing or damaged in its folder is zero in *ret, with state failed. */
bool record_load(const char *id, struct record *ret);
/* The application is there, or never waited for anything: all that is asked is runc's. */
bool record_is_runcs(const struct record *r);
/* A pidfd of the monitor; -ESRCH when it has ended. */
int record_monitor(const struct record *r);
/* The same for any process known by its pid and start time. */
int process_open(pid_t pid, int64_t started);

int record_set_state(const char *dir, enum monitor_state s, struct error *err);
/* Field 22 of /proc/PID/stat: with it, a pid means one process for ever. */
int process_started(pid_t pid, int64_t *ret);

#endif
