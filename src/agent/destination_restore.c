/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "container/criu_images.h"
#include "migration/phase.h"
#include "migration/reason.h"
#include "runtime/monitor.h"

#define START_TIMEOUT_US 60000000
#define RESTORE_TIMEOUT_US 120000000
#define OPEN_TIMEOUT_US 30000000
#define FILL_TIMEOUT_US 600000000
#define REST_TIMEOUT_US 60000000
#define UNDO_TIMEOUT_US 10000000

/* CRIU's images with our pages in them. */
static int complete_images(struct destination_container *c, const pid_t *pids, int n, struct error *err)
{
	for (int i = 0; i < n; i++) {
		struct page_store_view view = { .store = c->d->store, .container = c->index, .ns_pid = pids[i] };
		int r = criu_pages_complete(c->images_fd, pids[i], page_store_lookup, &view, err);

		if (r < 0)
			return r;
	}
	page_store_drop(c->d->store, c->index);
	return 0;
}

/* Where the pages that CRIU wants lie in the store; *ret: the list, a file. */
static int list_pages(struct destination_container *c, const pid_t *pids, int n, int *ret, struct error *err)
{
	struct fill_list *list = NULL;
	int r = fill_list_new(c->d->store, c->index, c->later, &list, err);

	for (int i = 0; r == 0 && i < n; i++)
		r = criu_lazy_pages(c->images_fd, pids[i], fill_list_add, list, err);
	if (r == 0)
		r = *ret = fill_list_finish(list, err);
	if (r >= 0 && c->later)
		r = fill_list_later(list, &c->later_runs, &c->n_later_runs, err);
	fill_list_free(list);
	return r < 0 ? r : 0;
}

/* What CRIU restores from; the pod's IPC objects stay in one container's images only. */
static int stage(struct destination_container *c, int *ret_list, struct error *err)
{
	pid_t pids[WIRE_PROCESSES_MAX];
	int n = criu_pagemap_pids(c->images_fd, pids, WIRE_PROCESSES_MAX, err), r;

	if (n < 0)
		return n;
	r = c->lazy ? list_pages(c, pids, n, ret_list, err) : complete_images(c, pids, n, err);
	if (r == 0)
		r = criu_timers_rearm(c->images_fd, err);
	if (r >= 0)
		r = criu_waits_restart(c->images_fd, err);
	if (r >= 0)
		r = criu_connections_settle(c->images_fd, MONITOR_INVENTORY, c->d->keeps, err);
	if (r < 0)
		return r;
	r = c->index == c->d->ipc_owner ? 0 : criu_ipc_clear(c->images_fd, err);
	return r < 0 ? r : criu_images_give(c->images_fd, &c->ids, err);
}

int destination_start(struct destination *d, struct error *err)
{
	int64_t deadline = clock_mono_us() + START_TIMEOUT_US;
	int r = 0;

	for (int i = 0; r == 0 && i < d->n; i++) {
		r = monitor_restore(d->containers[i].monitor, d->containers[i].images, d->containers[i].work, d->containers[i].lazy, err);
		d->containers[i].started = r == 0;
	}
	for (int i = 0; r == 0 && i < d->n; i++) {
		r = monitor_wait(d->containers[i].monitor, "standby", deadline, err);
		if (r < 0)
			error_wrap(err, r, "container %s", d->containers[i].info.name);
	}
	return r;
}

/*
 * CRIU changes to the new root by way of a folder in it: /tmp, or one that it makes there, which a read-only root does not let it (criu/mount.c,
 * cr_pivot_root).  A root without /tmp has one until CRIU is through with it.
 */
static bool lend_tmp(const struct destination_container *c)
{
	return mkdirat(c->rootfs_fd, "tmp", 0700) == 0;
}

static int restore(struct destination_container *c, struct error *err)
{
	cleanup_close int list = -1, store = -1;
	int64_t start = clock_mono_us();
	bool lent = lend_tmp(c);
	int r = stage(c, &list, err);

	c->stage_us = clock_mono_us() - start;
	FAULT_POINT("destination.restore", c->d->note.migration);
	if (r == 0 && c->lazy)
		r = destination_check_limit(c, list, err);
	if (r == 0 && c->lazy)
		r = store = page_store_fd(c->d->store, err);
	if (r >= 0)
		r = monitor_go(c->monitor, list, store, c->filler_fd, err);
	/* Its own now: when it ends, this side sees it. */
	if (c->filler_fd >= 0)
		close(take_fd(&c->filler_fd));
	if (r == 0)
		r = monitor_wait(c->monitor, "barrier", start + RESTORE_TIMEOUT_US, err);
	/* When it is not empty it is the application's by now. */
	if (lent)
		unlinkat(c->rootfs_fd, "tmp", AT_REMOVEDIR);
	c->restore_us = clock_mono_us() - start - c->stage_us;
	return r < 0 ? error_wrap(err, r, "container %s", c->info.name) : 0;
}

static void *restore_main(void *arg)
{
	struct destination_container *c = arg;

	c->result = restore(c, &c->err);
	c->failed = c->result < 0 && !c->d->aborts;
	destination_finished(c->d);
	return NULL;
}

/* The monitors, when another worker had them before us. */
static int connect_one(struct destination_container *c, struct error *err)
{
	if (c->monitor)
		return 0;
	if (!c->info.id[0])
		return error_reason(err, -ENOENT, REASON_DestinationLost, "container %s is not there any more", c->info.name);
	return monitor_connect(c->d->o, c->info.id, &c->monitor, err);
}

/*
 * A monitor that has ended cannot say any more that its container runs.  When it has written so, the kubelet starts that container anew from its image, as one that ran and
 * has crashed: it did come up, and a source that is kept for it would stand frozen beside the new one.  Not so with PostCopy, where its memory may be missing.
 */
static int unless_it_ran(const struct destination_container *c, int r)
{
	bool ended = r == -EPIPE || r == -ECONNREFUSED || r == -ENOENT;

	return ended && !c->d->note.later && destination_ran(c) ? 0 : r;
}

static int open_one(struct destination_container *c, struct error *err)
{
	int r = unless_it_ran(c, monitor_wait(c->monitor, "running", clock_mono_us() + OPEN_TIMEOUT_US, err));

	c->open_us = clock_mono_us() - c->d->committed_us;
	return r < 0 ? error_wrap(err, r, "container %s", c->info.name) : 0;
}

int destination_restore_one(struct destination_container *c, struct error *err)
{
	int rc = pthread_create(&c->thread, NULL, restore_main, c);

	c->thread_started = rc == 0;
	return rc ? error_set(err, -rc, "cannot start a thread") : 0;
}

void destination_join(struct destination *d)
{
	for (int i = 0; i < d->n; i++) {
		struct destination_container *c = &d->containers[i];

		if (c->thread_started)
			pthread_join(c->thread, NULL);
		c->thread_started = false;
	}
}

int destination_restore(struct destination *d, struct error *err)
{
	int r = d->later ? destination_pump_until(d, d->n, err) : 0;

	/* No CRIU comes to its barrier without the memory that it wants. */
	if (r < 0)
		destination_abort(d);
	destination_join(d);
	for (int i = 0; i < d->n && r == 0; i++) {
		r = d->containers[i].result;
		if (r < 0)
			*err = d->containers[i].err;
	}
	if (r == 0)
		r = destination_connections_end(d, err);
	d->prepared_us = clock_mono_us();
	warm_stop(d->warm);
	d->warm = NULL;
	return r;
}

/* One container that cannot come up keeps the others from being opened: they could not be taken back any more. */
static int look_at_all(struct destination *d, struct error *err)
{
	int r = 0;

	for (int i = 0; i < d->n && r == 0; i++) {
		r = connect_one(&d->containers[i], err);
		if (r == 0)
			r = monitor_look(d->containers[i].monitor, err);
		if (r < 0)
			error_wrap(err, r, "container %s", d->containers[i].info.name);
	}
	return r < 0 && !destination_opened_any(d) ? r : 0;
}

/*
 * All barriers are opened before the first answer is waited for: the containers start together.  One that does not come up keeps no other from running; its
 * error, the first, is returned; -ETIMEDOUT when one does not answer, and may still come up.
 */
int destination_open(struct destination *d, struct error *err)
{
	int result[WIRE_CONTAINERS_MAX], r = look_at_all(d, err);

	/* The worker before may have gone between its last container's barrier and this. */
	if (r == 0)
		r = destination_connections_end(d, err);
	d->committed_us = clock_mono_us();
	if (r < 0)
		return r;
	for (int i = 0; i < d->n; i++) {
		struct error why = { 0 };

		result[i] = connect_one(&d->containers[i], &why);
		if (result[i] == 0)
			result[i] = monitor_open(d->containers[i].monitor, &why);
		if (result[i] < 0)
			d->containers[i].err = why;
	}
	for (int i = 0; i < d->n; i++)
		if (result[i] < 0)
			result[i] = unless_it_ran(&d->containers[i], result[i]);
		else
			result[i] = open_one(&d->containers[i], &d->containers[i].err);
	d->running_us = clock_mono_us();
	for (int i = 0; i < d->n; i++) {
		if (result[i] == 0 || (r < 0 && result[i] != -ETIMEDOUT) || r == -ETIMEDOUT)
			continue;
		r = result[i];
		*err = d->containers[i].err;
	}
	return r;
}

/* As long as it lacks pages there is a file beside its socket (runtime/monitor.h). */
static bool lacks(const struct destination_container *c)
{
	char path[4096];

	return agent_host_path(c->d->o, path, sizeof(path), "%s/%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, c->info.id, MONITOR_FILLING) == 0 &&
	       access(path, F_OK) == 0;
}

int destination_wait_fillers(struct destination *d, struct error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < d->n; i++) {
		struct destination_container *c = &d->containers[i];
		int64_t pages, micros;

		if (lacks(c))
			r = monitor_wait_filled(c->monitor, clock_mono_us() + REST_TIMEOUT_US, &pages, &micros, err);
		if (r < 0)
			error_wrap(err, r, "container %s", c->info.name);
	}
	return r;
}

/* The programs run; their monitors fill their memory from the store, whose file they hold.  Only for the log: they need nobody. */
static void wait_filled(struct destination_container *c)
{
	struct error why = { 0 };
	int64_t pages, micros;

	if (!c->lazy || !c->monitor)
		return;
	if (monitor_wait_filled(c->monitor, clock_mono_us() + FILL_TIMEOUT_US, &pages, &micros, &why) == 0)
		log_info("all memory is in place", LOG_S("container", c->info.name), LOG_N("pages", pages), LOG_N("copyMicros", micros));
	else
		log_error("nobody saw all memory come in place", LOG_S("container", c->info.name), LOG_S("err", why.message));
}

void destination_filled(struct destination *d)
{
	for (int i = 0; i < d->n && d->running_us; i++)
		wait_filled(&d->containers[i]);
}

const struct error *destination_own_failure(const struct destination *d)
{
	for (int i = 0; i < d->n; i++)
		if (d->containers[i].failed)
			return &d->containers[i].err;
	return NULL;
}

void destination_abort(struct destination *d)
{
	d->aborts = true;
	for (int i = 0; i < d->n; i++) {
		struct error ignored = { 0 };

		if (connect_one(&d->containers[i], &ignored) == 0)
			monitor_abort(d->containers[i].monitor, &ignored);
	}
}

void destination_wait_undone(struct destination *d)
{
	int64_t deadline = clock_mono_us() + UNDO_TIMEOUT_US;

	for (int i = 0; i < d->n; i++) {
		struct error ignored = { 0 };

		if (d->containers[i].monitor)
			monitor_wait(d->containers[i].monitor, "failed", deadline, &ignored);
	}
}

cJSON *destination_prepared_json(const struct destination *d)
{
	cJSON *j = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(j, "containers");

	for (int i = 0; i < d->n; i++) {
		cJSON *e = cJSON_CreateObject();

		cJSON_AddStringToObject(e, "name", d->containers[i].info.name);
		cJSON_AddStringToObject(e, "id", d->containers[i].info.id);
		cJSON_AddNumberToObject(e, "stageMicros", (double)d->containers[i].stage_us);
		cJSON_AddNumberToObject(e, "restoreMicros", (double)d->containers[i].restore_us);
		cJSON_AddItemToArray(list, e);
	}
	return j;
}

cJSON *destination_restored_json(const struct destination *d)
{
	cJSON *j = cJSON_CreateObject();

	for (int i = 0; i < d->n; i++)
		record_add_restored(j, d->containers[i].info.name, d->containers[i].info.id);
	return j;
}

cJSON *destination_running_json(const struct destination *d, const struct error *err)
{
	cJSON *j = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(j, "containers");

	for (int i = 0; i < d->n; i++) {
		cJSON *e = cJSON_CreateObject();

		cJSON_AddStringToObject(e, "name", d->containers[i].info.name);
		cJSON_AddNumberToObject(e, "openMicros", (double)d->containers[i].open_us);
		cJSON_AddItemToArray(list, e);
	}
	if (d->note.later)
		cJSON_AddBoolToObject(j, "later", true);
	if (err && err->message[0])
		cJSON_AddStringToObject(j, "error", err->message);
	return j;
}

static void add_step(cJSON *list, const char *step, int64_t mono)
{
	char when[CLOCK_RFC3339_SIZE];
	cJSON *e;

	if (!mono)
		return;
	e = cJSON_CreateObject();
	clock_rfc3339(clock_real_us() - (clock_mono_us() - mono), 0, when);
	cJSON_AddStringToObject(e, "step", step);
	cJSON_AddStringToObject(e, "time", when);
	cJSON_AddItemToArray(list, e);
}

/* How much the source slowed it down; only what the API takes (crds/). */
static void report_throttle(const cJSON *sent, cJSON *e)
{
	const char *limit = json_str_or(sent, "cpuLimit", "");
	size_t digits = strspn(limit, "0123456789");
	int64_t percent;

	if (json_int(sent, "cpuPercent", 1, 100, &percent) < 0)
		return;
	cJSON_AddNumberToObject(e, "cpuPercent", (double)percent);
	if (digits && digits < 20 && !strcmp(limit + digits, "m"))
		cJSON_AddStringToObject(e, "cpuLimit", limit);
}

static cJSON *container_report(const struct destination_container *c)
{
	static const struct {
		const char *sent, *shown;
	} keys[] = { { "pages", "pages" }, { "pageBytes", "bytes" }, { "imageBytes", "imageBytes" }, { "treeBytes", "treeBytes" },
		     { "dumpMicros", "dumpMicros" }, { "pagesAhead", "pagesAhead" }, { "sharedAhead", "sharedAhead" } };
	static const char *const trackings[] = { "WriteProtect", "SoftDirty", "Digests" };      /* those of the CRD: another would have the whole report refused */
	cJSON *e = cJSON_CreateObject();

	cJSON_AddStringToObject(e, "name", c->info.name);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		int64_t v;

		if (json_int(c->sent, keys[i].sent, 0, 1ll << 50, &v) == 0)
			cJSON_AddNumberToObject(e, keys[i].shown, (double)v + (i == 0 ? (double)c->later_pages : i == 1 ? (double)c->later_pages * FILL_PAGE : 0));
	}
	for (size_t i = 0; i < sizeof(trackings) / sizeof(trackings[0]); i++)
		if (!strcmp(json_str_or(c->sent, "tracking", ""), trackings[i]))
			cJSON_AddStringToObject(e, "tracking", trackings[i]);
	report_throttle(c->sent, e);
	cJSON_AddNumberToObject(e, "stageMicros", (double)c->stage_us);
	cJSON_AddNumberToObject(e, "restoreMicros", (double)c->restore_us);
	cJSON_AddNumberToObject(e, "openMicros", (double)c->open_us);
	return e;
}

static void report_files_ahead(const struct destination *d, cJSON *j)
{
	cJSON *e = d->files_ahead[0] ? cJSON_AddObjectToObject(j, "files") : NULL;

	for (int i = 0; e && i < FILES_AHEAD; i++)
		cJSON_AddNumberToObject(e, destination_files_ahead[i], (double)d->files_ahead[i]);
}

cJSON *destination_source_report(const struct destination *d, const struct error *err)
{
	cJSON *j = cJSON_CreateObject(), *list;

	/* As long as the API takes it (crds/): a peer's long word must not cost the whole report. */
	if (strlen(d->note.source_node) <= 253)
		cJSON_AddStringToObject(j, "agent", d->note.source_node);
	if (err && err->message[0]) {
		cJSON *e = cJSON_AddObjectToObject(j, "error");

		cJSON_AddStringToObject(e, "reason", reason_name(err->reason));
		cJSON_AddStringToObject(e, "message", err->message);
	}
	/* What another worker measured is lost with it; it may have been reported. */
	if (!d->hello)
		return j;
	if (d->running_us && d->frozen_us)
		cJSON_AddNumberToObject(j, "downtimeMicroseconds", (double)(d->running_us - d->frozen_us));
	cJSON_AddNumberToObject(j, "bytesTransferred", (double)d->bytes);
	report_files_ahead(d, j);
	list = cJSON_AddArrayToObject(j, "containers");
	for (int i = 0; i < d->n; i++)
		cJSON_AddItemToArray(list, container_report(&d->containers[i]));
	list = cJSON_AddArrayToObject(j, "timeline");
	add_step(list, "frozen", d->frozen_us);
	add_step(list, "sent", d->sent_us);
	add_step(list, "prepared", d->prepared_us);
	add_step(list, "committed", d->committed_us);
	add_step(list, "running", d->running_us);
	add_step(list, "complete", d->complete_us);
	return j;
}
