/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RELAY_H
#define RUNTIME_RELAY_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "cgroups.h"
#include "lent.h"

/*
 * The monitor stands between runc and CRIU while they restore.  runc starts the program `criu` that our folder of programs has (criu_start.c): it gives its end
 * of runc's socket to the monitor, gets another one for it, and becomes the node's CRIU.  All that the two say goes through the monitor, which so hears of
 * each stage of a restore (criu(8), action scripts; here told by the RPC, not by a program that is started for each), and can let CRIU wait at one.
 *
 * It fails safe: the images' folder that runc knows holds none.  CRIU finds the real one only by a request that came through here.
 */
#define RELAY_ENV "PODMIGRATION_MONITOR"        /* the container's folder, in the environment of runc and so of CRIU */
#define RELAY_SOCKET "criu.sock"                /* there, SOCK_SEQPACKET: a byte and runc's socket; a byte and CRIU's comes back */
#define RELAY_PROGRAM "criu"

struct relay {
	int runc, criu;                 /* -1: nobody */
	int images_fd, work_fd;         /* of a restore; -1: none */
	const struct cgroups *here;     /* of a restore: where runc is; NULL: none */
	const char *cgroups_path;       /* and where its container is */
	struct lent lent;               /* of a restore into a user namespace: what CRIU is to mount */
	bool asked;                     /* CRIU has come to post-restore, runc has not answered yet */
	bool held;                      /* runc has, CRIU has not been told */
	struct buf answer;              /* what it said */
	pid_t init;                     /* the restored init, from post-restore on; 0: not known */
};

enum relay_event {
	RELAY_NOTHING,
	RELAY_BARRIER,                  /* everything is restored, nothing runs, and CRIU waits for relay_release */
	RELAY_RESUMED,                  /* the processes run */
};

#define RELAY_MESSAGE_MAX 262144        /* runc itself takes 40 KiB from CRIU; what it asks grows with the number of mounts */
#define RELAY_NONE { .runc = -1, .criu = -1, .images_fd = -1, .work_fd = -1, .answer = BUF_INIT(RELAY_MESSAGE_MAX) }

/* The folders for the restore that comes.  Errors: those of open. */
int relay_folders(struct relay *r, const char *images, const char *work, struct error *err);

/* Somebody has connected to the listening socket. */
void relay_accept(struct relay *r, int listen_fd);

/* Passes on what is there to be read.  Closed at both ends when one has gone. */
enum relay_event relay_pass(struct relay *r);

/* CRIU goes on from the barrier. */
void relay_release(struct relay *r);

/* Closes both ends: CRIU, wherever it is before the barrier's end, kills what it made (criu/cr-restore.c), runc gives up. */
void relay_close(struct relay *r);

/* The program `criu`: joins the relay when there is one and it is started as runc starts it; then the node's CRIU.  Returns the exit status if there is none. */
int criu_main(int argc, char **argv);

#endif
