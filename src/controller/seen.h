/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_SEEN_H
#define CONTROLLER_SEEN_H

#include "decide.h"
#include "migration/machine.h"

/*
 * The facts by which the table controller_rows goes (migration/machine.h), read off what was observed.  Pure.
 *
 * seen_fact: does the fact of this number (FACT_AT_x) hold?  A fact that is a reason to give up, or to tell a person something, writes reason and message
 * into s when it holds; one that time alone can make true brings s->wait_us forward to that moment.
 */
bool seen_fact(const struct observed *o, int at, struct step *s);

/* True when limit has passed since t; else s->wait_us is at most what is left.  An unknown t (0) has just begun. */
bool seen_over(const struct observed *o, struct step *s, int64_t t, int64_t limit);

/* Why an aborted migration ends: reason and message into s. */
void seen_final_cause(const struct observed *o, struct step *s);

/* Names for messages; "?" when unknown. */
const char *seen_source_name(const struct observed *o);
const char *seen_destination_name(const struct observed *o);

void step_say(struct step *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
