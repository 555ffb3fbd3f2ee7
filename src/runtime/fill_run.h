/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_RUN_H
#define RUNTIME_FILL_RUN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "migration/fill.h"

/* A fill list that was read and checked. */
struct fill_runs {
	struct fill_run *runs;
	uint32_t n;
	uint64_t store_size;
};

/* -EBADMSG when it is damaged, or not one for this store. */
int fill_runs_load(int list_fd, int store_fd, struct fill_runs *ret, struct error *err);
void fill_runs_free(struct fill_runs *l);
/* The runs of one process: *ret_first and how many. */
uint32_t fill_runs_of(const struct fill_runs *l, uint32_t ns_pid, uint32_t *ret_first);

/* The filler's process; never returns.  listen_fd: lazy-pages.socket, control_fd: to the monitor, monitor_fd: a pidfd of it. */
void fill_main(int listen_fd, int control_fd, int monitor_fd) __attribute__((noreturn));

/* What the monitor and the filler tell each other, one packet each. */
#define FILL_GIVE 'g'                   /* with two fds, list and store, or three: the socket for pages that come later */
#define FILL_BARRIER 'b'
#define FILL_OPEN 'o'
struct fill_open {              /* the other words are the byte alone */
	char word;
	int cut[2];             /* numbers in the table that the two share */
};
#define FILL_READY '!'
#define FILL_DONE '+'                   /* "+PAGES MICROS" */
#define FILL_FAILED '-'                 /* "-text" */
#define FILL_GONE '?'                   /* CRIU or a task has gone */

#endif
