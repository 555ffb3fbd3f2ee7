/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_DUMP_GATE_H
#define CONTAINER_DUMP_GATE_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Where a CRIU that was started ahead of time waits for the freeze.  Before it looks at the container, CRIU reads a file `irmap-cache` in its work folder, when
 * there is one (criu/cr-dump.c, cr_dump_tasks; criu/irmap.c).  Ours is a named pipe with the first half of what such a file begins with: who has taken that waits
 * for the other half.  When the maker of the pipe dies then, the file is not whole, and CRIU gives up before it has touched anything.  A CRIU that comes only after
 * that waits for ever, or, with the folder removed, does not wait: who finds the folder of a dump whose maker is dead must end its processes first
 * (runc_dump_kill_unstarted).
 */

/* Makes the pipe in folder dir; *ret is its other end.  Errors: those of mkfifo and open. */
int dump_gate_make(const char *dir, int *ret, struct error *err);

/* Does CRIU stand there?  Nobody tells us: to be asked now and then. */
bool dump_gate_reached(int gate);

/* CRIU goes on; the fd is closed and -1.  0 or a negative errno. */
int dump_gate_open(int *gate);

/* CRIU gives up, now or when it comes; the fd must stay open until it has.  0 or a negative errno. */
int dump_gate_refuse(int gate);

#endif
