/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_RUNTIME_CHECK_H
#define TESTS_RUNTIME_CHECK_H

#include <stdbool.h>

#include "shim.h"

/* One line per check; counts.  Returns ok. */
bool check(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void suite_pass(struct setup *s);       /* ordinary containers; makes the images for the others */
void suite_wait(struct setup *s);
void suite_restore(struct setup *s);
void suite_abort(struct setup *s);
void suite_once(struct setup *s);
void suite_bad(struct setup *s);

#define MIGRATION "0b0c1d2e-0000-4000-8000-000000000001"

#endif
