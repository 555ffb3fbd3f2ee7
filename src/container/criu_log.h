/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_CRIU_LOG_H
#define SRC_CONTAINER_CRIU_LOG_H

#include <stddef.h>

#include "base/buf.h"

/* The reason a line of CRIU's log names, REASON_NONE when none. */
int criu_log_reason(const char *line, size_t len);

/*
 * Adds the last "Error (" lines of a log that fit into room to out, joined by " | ".  *reason is replaced by what the first
 * telling line names, unless it is more than CheckpointFailed or RestoreFailed already.
 */
void criu_log_quote(const char *log, size_t len, size_t room, struct buf *out, int *reason);

#endif
