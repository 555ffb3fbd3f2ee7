/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CHILDREN_H
#define AGENT_CHILDREN_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent.h"

/* The workers of a daemon: one child process for each migration that leaves this node (source) or arrives here (destination). */
#define CHILDREN_MAX 256

enum child_kind { CHILD_SOURCE, CHILD_DESTINATION };

struct child {
	enum child_kind kind;
	char key[128];                  /* UID of the migration, or sandbox id */
	char pod_uid[64];               /* source: the pod it was started for */
	pid_t pid;                      /* 0: it has ended */
	int pidfd;
	int control_fd;                 /* the other end of its stdin, a socket; -1 */
	int exit_status;
	int failures;                   /* in a row, for the back-off */
	int64_t retry_us;               /* clock_mono_us: not started again before */
	bool told_address, told_abort;
	bool stays;                     /* it has answered that it does not end by the agent's end */
	cJSON *line;                    /* its first line; NULL: it has none */
};

struct children {
	const struct agent_options *o;
	int lock_fd;                    /* lock.h; 0: none */
	struct child items[CHILDREN_MAX];
	int n;
};

struct child *children_find(struct children *c, enum child_kind kind, const char *key);
/* Starts (or starts again) a worker; first_line may be NULL. NULL and err when it cannot be. */
struct child *children_start(struct children *c, enum child_kind kind, const char *key, const cJSON *first_line, struct error *err);
/* One line to its stdin; a worker that has just ended is no error. */
void child_tell(struct child *c, const cJSON *line);
/* A signal, not its own will, ended it. */
bool child_crashed(const struct child *c);
/* What poll(2) found of its control_fd, asked for POLLRDHUP: that it stays, or that it ends.  Nothing is told to it any more. */
void child_hear(struct child *c, short revents);
/* Collects an ended worker (after its pidfd became readable). */
void child_reap(struct child *c);
void children_forget(struct children *c, struct child *item);
int children_running(const struct children *c, enum child_kind kind);

#endif
