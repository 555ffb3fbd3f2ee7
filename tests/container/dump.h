/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTAINER_DUMP_H
#define TESTS_CONTAINER_DUMP_H

#include "box.h"
#include "container/runc.h"

/* A metadata dump of a box with its folders and private network namespace. */
struct dump {
	char dir[256], images[300], work[300];
	struct runc runc;
	struct runc_dump dump;
};

bool dump_start(struct dump *d, const char *base, const struct box *b, struct error *err);
void dump_end(struct dump *d);                          /* removes the folders */
int dump_processes_left(const struct dump *d);          /* processes called runc or criu, and those that carry the dump's mark */
bool dump_traced(pid_t pid);

#endif
