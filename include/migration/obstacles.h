/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_OBSTACLES_H
#define MIGRATION_OBSTACLES_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Everything that stands in the way of one migration, as one agent finds it: each is one sentence with its reason.  Checks add what they find and go on, that a person need not try again to hear
 * of the next; in the end all of it becomes one error, which is what goes over the wire and into status.  Bounded: of one reason in one place (a container) so many are kept, and how many more
 * there were is told.  Some 40 KiB, it owns nothing.
 */
#define OBSTACLES_MAX 64
#define OBSTACLES_ALIKE_MAX 8
#define OBSTACLE_TEXT 640

struct obstacle {
	int reason;                     /* REASON_NONE: what kept a check from an answer, of no reason of its own */
	char text[OBSTACLE_TEXT];
};

struct obstacles {
	struct obstacle items[OBSTACLES_MAX];   /* in the order in which they were found: the first names the migration's reason */
	int n;
	int more[OBSTACLES_MAX];        /* so many more like items[i], its place and reason, are not kept */
	int place;                      /* index of the first of the present place */
	char prefix[300];               /* before each text of the present place; "" */
};

/* From now on it is about this place: "container web".  NULL: about none. */
void obstacles_at(struct obstacles *o, const char *kind, const char *name);

void obstacles_add(struct obstacles *o, int reason, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same of what a function has answered: nothing when code is 0. */
void obstacles_take(struct obstacles *o, int code, const struct error *found);

/*
 * All of it as one error: "text; Reason: text; ..; and 3 more of Reason".  The first one's reason is the error's and does not stand before its text.  When not all of it fits, at least one of each
 * reason does.  0 when there is nothing, else -ENOTSUP.
 */
int obstacles_error(const struct obstacles *o, struct error *err);

#endif
