/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FILL_H
#define RUNTIME_FILL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * The filler: a child of the monitor that takes the place of `criu lazy-pages` (criu/uffd.c, CRIU 4.2).  It listens on lazy-pages.socket in CRIU's work folder and
 * gets the userfaultfd of every task that is being restored.  Page faults are served from the page store at once, by the fill list (migration/fill.h).  When CRIU
 * stands at its post-restore barrier everything that the list names is checked to be there (ready), and from then on all pages are copied, while the commit is
 * decided and while the program runs.  What the program does to its memory meanwhile is followed by the kernel's events.  When nothing is missing any more (done)
 * the userfaultfds are closed and the store is given back.  With PostCopy (fill_later.h) pages are still at the source then, and come while the program runs.
 *
 * A page that is missing when the last userfaultfd is closed would be zero for the program, silently.  Therefore monitor and filler share one table of open files
 * (CLONE_FILES): whichever of the two dies, the userfaultfds, those of forked children as well, stay open, and who needs a page waits.  If the filler dies or
 * fails once the program runs, the monitor kills the container; if the monitor dies, the filler goes on until it is done.
 */
struct filler {
	pid_t pid;                      /* 0: there is none */
	int fd;                         /* to talk to it */
	int its_fd;                     /* its end, in the same table */
	int pidfd;
	bool gone;                      /* CRIU, or a task, has ended before */
	bool ready;                     /* the program may run */
	bool done;                      /* all is in place */
	uint64_t pages;                 /* then: how many, and how long the copying took */
	int64_t micros;
};

#define FILLER_NONE { .fd = -1, .its_fd = -1, .pidfd = -1 }

/* The socket stands in folder work when this returns. */
int filler_start(const char *work, struct filler *ret, struct error *err);
/* List, store and the socket for what comes later (-1: nothing does), once; they stay the caller's. */
int filler_give(const struct filler *f, int list_fd, int store_fd, int later_fd, struct error *err);
/* CRIU stands at post-restore: all tasks have registered their memory, and what cannot be filled now never will be. */
void filler_barrier(const struct filler *f);
/*
 * The program is about to run.  cut (or NULL): sockets that somebody waits at until the monitor's end closes them; since the filler, which may live on, has them open as well, it
 * shuts them down then.  -ESRCH: the filler has died, the program must not run.
 */
int filler_open(const struct filler *f, const int cut[2], struct error *err);
/*
 * What it has to tell: 1 that it is ready or done, 0 nothing (also: CRIU has gone, as runc will tell by its end), or why it failed.  Before the program runs a
 * filler that failed goes on answering faults with zero pages, so that CRIU comes to its barrier, where the restore is given up.
 */
int filler_hear(struct filler *f, struct error *err);
/* Its process was reaped by somebody else. */
void filler_reaped(struct filler *f);
/* Kills it when it still lives, and closes all userfaultfds: nothing that lacks pages may run any more. */
void filler_stop(struct filler *f);

/* The kernel shall take anything else before this process when memory runs out (where it may say so). */
void process_keep(void);

#endif
