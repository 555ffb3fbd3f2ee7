/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_CONTAINER_CHECK_H
#define TESTS_CONTAINER_CHECK_H

#include <stdbool.h>

#include "box.h"

/* One line per check; counts.  Returns ok. */
bool check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int check_summary(void); /* "N passed, N failed"; the exit status */

/* The suites. */
void suite_freezer(const struct place *at);
void suite_fence(const struct place *at);
void suite_dump(const struct place *at);
void suite_refusals(const struct place *at);
void suite_abort(const struct place *at);
void suite_criu(const struct place *at);
void suite_pod(const struct place *at, const char *socket, const char *uid, const char *name);

#endif
