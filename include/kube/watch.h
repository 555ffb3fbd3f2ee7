/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_WATCH_H
#define KUBE_WATCH_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/json_pick.h"
#include "kube/config.h"

/*
 * One list+watch, forever, on a thread of its own: WatchList (sendInitialEvents) with fallback to list+watch, bookmarks, 410,
 * 429 with Retry-After, half-open streams (TCP keepalive and a 150 s watchdog), chunk-split and merged lines, rotated
 * credentials, back-off with jitter.
 *
 * The handlers run on that thread; objects belong to the watch and live until the handler returns (no DOM is kept).  After a
 * relist all objects are reported by on_upsert again, and those that are gone by on_delete with only
 * apiVersion/kind (when they are wanted) and metadata{namespace,name,uid}; so is the old one, first, when another object has taken its name.  The server
 * drops a watcher that is slow to read: handlers should only take notes.
 */
struct kube_watch;

struct kube_watch_spec {
	const char *path;               /* collection, e.g. "/apis/podmigration.dev/v1alpha1/podmigrations" */
	const char *field_selector;     /* or NULL */
	const char *label_selector;     /* or NULL */
	/*
	 * What is read of each object; the rest is not even parsed.  Of metadata it must hold name, namespace, uid and resourceVersion.  Not copied.
	 * NULL: all but metadata.managedFields, a quarter to a half of most objects, that nobody here reads.
	 */
	const struct json_want *want;
	const char *name;               /* for logs and /readyz */
	void (*on_upsert)(void *ctx, const cJSON *object);
	void (*on_delete)(void *ctx, const cJSON *object);
	void (*on_synced)(void *ctx);   /* after each complete initial set */
	void *ctx;
};

/* Strings are copied; config must outlive the watch. */
int kube_watch_start(struct kube_config *config, const struct kube_watch_spec *spec, struct kube_watch **ret, struct error *err);
/* Ends the stream and joins the thread, within a second of the running handler's end; not from a handler. NULL is fine. */
void kube_watch_stop(struct kube_watch *w);
bool kube_watch_synced(const struct kube_watch *w);     /* a complete set has been handed out once */
/* Last failure as text for /readyz?verbose; "" when all is well. Copies at most size bytes. */
void kube_watch_status(const struct kube_watch *w, char *out, size_t size);

#endif
