/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_WATCH_PATHS_H
#define SRC_CONTAINER_WATCH_PATHS_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * Where CRIU is to look for what a process watches (inotify, fanotify): a line of CRIU's configuration for each entry of the root folder of process pid (the node's number).
 * overlayfs opens no file by its handle, so CRIU must find it by its inode, and of itself looks into /etc, /var/spool and /lib/udev only (criu/irmap.c).  It looks nowhere when
 * nothing is watched that it cannot open.  A root that cannot be read adds nothing.
 */
int watch_paths(pid_t pid, struct buf *out, struct error *err);

#endif
