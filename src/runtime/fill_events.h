/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_EVENTS_H
#define RUNTIME_FILL_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "fill_copy.h"

struct fill_fault {
	uint64_t address;
	bool write;
};

/* All tasks; a fork of one adds another. */
struct fill_tasks {
	struct fill_task *items;
	uint32_t n, room;
	struct fill_fault *faults;      /* of the task that is looked at */
	uint32_t n_faults, faults_room;
};

/* -ENOMEM; the fd is the set's in any case. */
int tasks_add(struct fill_tasks *s, uint32_t pid, int uffd);
/* Closes its userfaultfd: what it lacks is zero from now on. */
void tasks_remove(struct fill_tasks *s, uint32_t i);

/*
 * Reads all that task i's userfaultfd has to tell: forks, unmapped, dropped and moved memory change what it lacks at once; faults are collected.
 *
 * The order matters.  The kernel tells faults before changes, whichever came first; but from before a change until it has been read, it lets no page be placed
 * (EAGAIN).  So a page is placed only after everything there is to read has been read and obeyed: then what the task lacks is what it lacks.
 */
int tasks_hear(struct fill_tasks *s, uint32_t i, struct error *err);

#endif
