/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_PROBE_H
#define RUNTIME_PROBE_H

#include <stdbool.h>

#include "record.h"

struct oci_args;

/*
 * Our startup probe (PM_STARTED_COMMAND): it holds back readiness, liveness and traffic until the application has arrived.  It does not say no and is asked
 * again each second, which would cost processes and an Event each time just while the application stands still: it answers when there is something to say.
 */
bool probe_is_ours(const char *process_file);
/*
 * Answers `exec` of it; returns the exit code of the program.  waiting: the record of the monitor whose end or success is waited for, NULL when the
 * application is there.
 */
int probe_answer(const struct oci_args *a, const struct record *waiting);

#endif
