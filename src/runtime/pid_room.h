/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PID_ROOM_H
#define RUNTIME_PID_ROOM_H

#include "base/error.h"

/*
 * The containers of a pod with one process namespace (shareProcessNamespace) are restored at the same time, each process under its old number, while CRIU starts programs
 * of its own in there.  These get the next free numbers, which in a new namespace are the low ones that the application has, and one that is held for a moment makes the
 * restore of another container fail (EEXIST).  So whoever asks for no number gets one from a range that begins at a place of its own for each seed.
 *
 * path: of the process namespace.  Before anything is restored there.
 */
int pid_room_make(const char *path, const char *seed, struct error *err);

#endif
