/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_H
#define RUNTIME_FILL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * The filler: a child of the monitor that takes the place of `criu lazy-pages` (criu/uffd.c, CRIU 4.2).  It listens on lazy-pages.socket in
 * CRIU's work folder, gets the userfaultfd of every task that is being restored, and copies all pages of the fill list (migration/fill.h)
 * from the page store into the tasks, while CRIU goes on.  Faults of CRIU's own restorer are served at once.  When CRIU stands at its
 * post-restore barrier and everything is in place, the userfaultfds are closed, so the kernel treats the mappings as ordinary ones before
 * anything of the application runs: no fork, mremap or madvise of the application is ever seen here.
 */
struct filler {
	pid_t pid;                      /* 0: there is none */
	int fd;
	bool gone;                      /* CRIU, or a task, has ended before */
	bool done;                      /* all is in place */
	uint64_t pages;                 /* then: how many, and how long the copying took */
	int64_t micros;
};

#define FILLER_NONE { .fd = -1 }

/* The socket stands in folder work when this returns. */
int filler_start(const char *work, struct filler *ret, struct error *err);
/* List and store, once; they stay the caller's. */
int filler_give(const struct filler *f, int list_fd, int store_fd, struct error *err);
/* CRIU stands at post-restore: all tasks have registered their memory, and what cannot be filled now never will be. */
void filler_barrier(const struct filler *f);
/*
 * What f->fd has to tell: 1 done, 0 nothing (also: CRIU has gone, as runc will tell by its end), or why it failed.  A filler that failed goes on
 * answering faults with zero pages, so that CRIU comes to its barrier, where the restore is given up.
 */
int filler_hear(struct filler *f, struct error *err);
/* Kills it when it still lives, and reaps it: nobody else may have done so. */
void filler_stop(struct filler *f);

#endif
