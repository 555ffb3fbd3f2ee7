/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTAINER_DUMP_H
#define TESTS_CONTAINER_DUMP_H

#include "box.h"
#include "container/runc.h"

/* A metadata dump of a box with its folders and private network namespace. */
struct dump {
	char here[300], images_here[400]; /* seen from here */
	char work[400];                   /* on the node */
	struct runc runc;
	struct runc_dump dump;
};

bool dump_start(struct dump *d, const struct place *at, const struct box *b, struct error *err);
bool dump_go(struct dump *d, struct error *err);        /* through the gate */
void dump_end(struct dump *d);                 /* removes the folders */
int dump_processes_left(const struct dump *d); /* how many processes of the dump run */
bool dump_traced(pid_t pid);

#endif
