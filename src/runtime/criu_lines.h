/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_CRIU_LINES_H
#define RUNTIME_CRIU_LINES_H

#include "base/error.h"

/* Sets err to the last error in a log that runc wrote as JSON lines.  -ENOENT when there is none. */
int runc_message(const char *log, struct error *err);
/* Adds the "Error (" lines of work/restore.log to err's message: the last ones that fit, in the order of the log. */
void criu_lines(const char *work, struct error *err);

#endif
