/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTAINER_BOX_H
#define TESTS_CONTAINER_BOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "container/freezer.h"
#include "container/runc.h"

/*
 * Where the tests work: a folder of the node; from here it is found below `here` ("" when we are on the node, else
 * /proc/PID/root).
 */
struct place {
	pid_t host_pid;
	char here[32];
	const char *base;
};

/* A container made by runc alone, in a folder of its own, with /data bound to <dir>/data. */
struct box {
	char dir[256];  /* on the node */
	char here[320]; /* the same, seen from here */
	char id[64];
	pid_t pid;
	struct runc runc;
};

/* mode, mib: see app.c.  group: the cgroup's parent.  false when it cannot be started. */
bool box_start(struct box *b, const struct place *at, const char *name, const char *group, const char *mode, int mib);
/* A container of the same kind from CRIU images; to take over, its counters get the size they had. */
bool box_restore(struct box *b, const struct place *at, const char *name, const char *group, const char *image_dir);
void box_stop(struct box *b);
/* The program's count of process `who`; -1 when it has none yet. */
int64_t box_count(const struct box *b, int who);
bool box_memory_bad(const struct box *b);
/* Do both processes count, each 200 within 20 seconds (1000 a second on an idle machine, far less on a busy one)? */
bool box_counts_on(const struct box *b);
/* freezer_open on the node. */
int box_freezer(const struct place *at, const pid_t *pids, int n, struct freezer *f, struct error *err);
void sleep_ms(int ms);

#endif
