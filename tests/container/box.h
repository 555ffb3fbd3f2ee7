/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTAINER_BOX_H
#define TESTS_CONTAINER_BOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "container/freezer.h"
#include "container/runc.h"

/* A container made by runc alone, in a folder of its own, with /data bound to <dir>/data. */
struct box {
	char dir[256];
	char id[64];
	pid_t pid;
	struct runc runc;
};

/* mode, mib: see app.c.  group: the cgroup's parent.  false when it cannot be started. */
bool box_start(struct box *b, const char *base, const char *name, const char *group, const char *mode, int mib);
/* A container of the same kind from CRIU images; to take over, its counters get the size they had. */
bool box_restore(struct box *b, const char *base, const char *name, const char *group, const char *image_dir);
void box_stop(struct box *b);
/* The program's count of process `who`; -1 when it has none yet. */
int64_t box_count(const struct box *b, int who);
bool box_memory_bad(const struct box *b);
/* Counts per second over `ms` milliseconds. */
double box_rate(const struct box *b, int who, int ms);
void sleep_ms(int ms);

#endif
