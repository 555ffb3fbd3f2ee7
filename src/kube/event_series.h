/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_EVENT_SERIES_H
#define KUBE_EVENT_SERIES_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "kube/event.h"

/*
 * The Events that were written lately, so that one that happens again becomes a count on the first instead of another object.
 * No clock, no socket, no lock in here.
 */
#define SERIES_MAX 128                  /* the oldest makes room */
#define SERIES_WINDOW_US 300000000      /* the same again within so long is one series */
#define SERIES_PATCH_US 10000000        /* a running count is written no more often */
#define EVENT_NOTE_MAX 1024             /* the API server's limit, bytes */

struct series {
	bool used;
	uint64_t key[2];                /* hash of all that makes two Events the same */
	char ns[64], name[254];         /* the Event object */
	int count;
	int64_t last_real_us, last_us;  /* of the last occurrence */
	int written;                    /* the count the server has; 1: no series there yet */
	int64_t written_us;             /* when that was sent */
};

struct series_table {
	struct series entry[SERIES_MAX];
};

struct event_source {
	const char *controller, *instance;
};

struct event_text {
	const struct kube_object_ref *regarding, *related;
	const char *type, *reason, *action, *note;
};

/*
 * NULL: it is the same as one within the window, which now counts one more.  Else the Event object to create (caller owns it),
 * which the table knows from now on. serial makes its name unique.  *ret_ns: its namespace, valid as long as the table's entry.
 */
cJSON *series_note(struct series_table *t, const struct event_source *src, const struct event_text *e, uint64_t serial, int64_t now_us,
		   int64_t real_us, const char **ret_ns);

/*
 * A series whose count should be written now (all: whatever is unwritten); NULL: none. *ret_at: when there will be one
 * (INT64_MAX: not foreseen).
 */
struct series *series_due(struct series_table *t, bool all, int64_t now_us, int64_t *ret_at);

/* The merge patch for it; the caller owns it and sets written and written_us. */
cJSON *series_patch(const struct series *s);

#endif
