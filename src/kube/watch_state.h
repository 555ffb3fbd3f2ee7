/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_WATCH_STATE_H
#define KUBE_WATCH_STATE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "known.h"
#include "kube/watch.h"

/*
 * What a watch knows and does with what it hears: no socket, no clock, no thread.  Invariant: rv is "" or a version from which
 * the stream may go on, because everything up to it has been handed to the handlers.
 */
#define WATCH_LINE_MAX (16u << 20)
#define RV_MAX 128

struct watch_state {
	const struct kube_watch_spec *spec;
	struct known *known;
	struct json_want event[3], page[5];     /* what is read of an event about an object, and of a list */
	struct buf slim;                /* that of the event at hand */
	char rv[RV_MAX];
	bool initial;                   /* within the initial events of a WatchList: unordered, no place to go on from */
	bool just_synced;               /* set when a complete set has arrived, cleared by the caller */
	char api_version[128], kind[128];
	uint64_t events;                /* lines understood, of all streams */
	int retry_after;                /* seconds, from an ERROR event; 0: none */
};

int watch_state_init(struct watch_state *s, const struct kube_watch_spec *spec, struct error *err);
void watch_state_free(struct watch_state *s);

/* A stream of initial events, or a list, begins: nothing seen before counts as complete. */
void watch_state_begin(struct watch_state *s, bool initial_events);

/*
 * One line of a stream.  0; -ESTALE: list again (rv is "" now); -EBUSY, -EIO, ..: from an ERROR event, go on from rv later;
 * -EBADMSG: not an event; -ENOMEM.
 */
int watch_state_line(struct watch_state *s, const char *line, size_t len, struct error *err);

/* The tree of a list's page of len bytes, of what is read of it, for the next one. */
int watch_state_parse_page(struct watch_state *s, const char *text, size_t len, size_t max, cJSON **ret, struct error *err);
/* One page of a list, after watch_state_begin(.., false). ret_continue: the next page's token, "" after the last; size bytes. */
int watch_state_page(struct watch_state *s, cJSON *page, char *ret_continue, size_t size, struct error *err);

#endif
