/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_DUMP_LEFT_H
#define SRC_CONTAINER_DUMP_LEFT_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Names in a dump's work folder. */
#define DUMP_CONFIG "criu.conf" /* ours; its path in the environment marks the dump's processes */
#define DUMP_LOG "dump.log"     /* runc's name for CRIU's log */

/*
 * A connection that is closed without a word ends CRIU's page server as success; with --leave-running the tasks live on
 * (CRIU 4.2.1, page-xfer.c).  Never a port check elsewhere: each connection counts.  netns_fd: the server's network namespace, <=
 * 0: ours.  0 or negative errno.
 */
int page_server_end(int netns_fd, uint16_t port);

/*
 * Ends the processes of the dump with this work folder, whoever their parent is: CRIU is asked for patience_us, then all are
 * killed.  Returns how many times a process was met, 0 when there was none, or negative errno.
 */
int dump_left_end(pid_t host_pid, const char *work_dir, int64_t patience_us, struct error *err);

#endif
