/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/quantity.h"
#include "base/text.h"
#include "children.h"
#include "container/cgroup_options.h"
#include "container/mounts_below.h"
#include "container/runc.h"
#include "destination_note.h"
#include "health.h"
#include "journal.h"
#include "kube/watch.h"
#include "lock.h"
#include "migration/phase.h"
#include "migration/reason.h"
#include "monitors.h"
#include "orders.h"
#include "runtime/monitor.h"
#include "throttle.h"

#define PODS_MAX 1024
#define QUEUE_MAX 4096
#define SOURCE_TIMEOUT_S 600
#define LOOK_US 5000000         /* what no event tells is found so soon */
#define LEAVE_US 5000000        /* to go back and to tell takes a worker some 100 ms; an API server that does not answer, longer */
#define STEPS_US 500000         /* and the steps of a restore */

struct daemon {
	const struct agent_options *o;
	struct children children;
	struct monitor_info *pods;      /* last scan of the waiting and restored containers */
	int64_t scan_us;                /* when the next one is due (clock_mono_us); 0: by the next event */
	int64_t look_us;                /* when everything is looked at at the latest, however many events there are */
	int n_pods;
	int inotify_fd, event_fd, signal_fd;
	struct health *health;
	uint64_t told_late[64];         /* digests of what was said of orders that are over their deadline, which stay at their pods */
	unsigned n_told_late;

	/* PodMigrations that changed, handed over by the watch's thread. */
	pthread_mutex_t lock;
	cJSON *queue[QUEUE_MAX];
	int n_queue;
};

/* --- from the watch's thread --- */

static void on_upsert(void *ctx, const cJSON *object)
{
	struct daemon *d = ctx;
	uint64_t one = 1;
	cJSON *copy = cJSON_CreateObject();
	static const char *const keep[] = { "metadata", "spec", "status" };

	for (size_t i = 0; i < sizeof(keep) / sizeof(keep[0]); i++)
		if (json_at(object, keep[i]))
			cJSON_AddItemToObject(copy, keep[i], cJSON_Duplicate(json_at(object, keep[i]), 1));
	pthread_mutex_lock(&d->lock);
	if (d->n_queue < QUEUE_MAX)
		d->queue[d->n_queue++] = take_ptr(copy);
	pthread_mutex_unlock(&d->lock);
	cJSON_Delete(copy);
	if (write(d->event_fd, &one, sizeof(one)) < 0)
		log_error("the main loop cannot be woken", LOG_S("err", strerror(errno)));
}

static void on_delete(void *ctx, const cJSON *object)
{
	/* The controller's finalizer keeps the object until the migration has ended; nothing is left to do here. */
	(void)ctx;
	(void)object;
}

/* --- source side, home: PodMigrations whose pod runs on this node --- */

static cJSON *home_line(const cJSON *m)
{
	cJSON *line = cJSON_CreateObject();
	int64_t epoch = 0, timeout_us, rounds, downtime_us, bandwidth;

	if (json_int(m, "spec/preCopy/maxRounds", 1, 1000, &rounds) == 0)
		cJSON_AddNumberToObject(line, "maxRounds", (double)rounds);
	cJSON_AddBoolToObject(line, "autoConverge", json_bool(m, "spec/preCopy/allowAutoConverge"));
	cJSON_AddBoolToObject(line, "dryRun", json_bool(m, "spec/dryRun"));
	if (duration_parse(json_str_or(m, "spec/preCopy/maxDowntime", ""), 3600000000, &downtime_us) == 0)
		cJSON_AddNumberToObject(line, "maxDowntimeMicros", (double)downtime_us);
	if (quantity_bytes(json_str(m, "spec/bandwidth"), &bandwidth) == 0)
		cJSON_AddNumberToObject(line, "bandwidth", (double)bandwidth);
	json_int(m, "status/epoch", 0, INT64_MAX, &epoch);
	/* The controller ends it in time; the worker's own limit only catches a controller that is gone. */
	if (duration_parse(json_str_or(m, "spec/timeout", ""), 86400000000, &timeout_us) < 0)
		timeout_us = SOURCE_TIMEOUT_S * 1000000ll;
	cJSON_AddStringToObject(line, "migration", json_str_or(m, "metadata/uid", ""));
	cJSON_AddStringToObject(line, "namespace", json_str_or(m, "metadata/namespace", ""));
	cJSON_AddStringToObject(line, "name", json_str_or(m, "metadata/name", ""));
	cJSON_AddStringToObject(line, "podUID", json_str_or(m, "status/sourcePod/uid", ""));
	cJSON_AddStringToObject(line, "podName", json_str_or(m, "status/sourcePod/name", ""));
	cJSON_AddNumberToObject(line, "epoch", (double)epoch);
	cJSON_AddBoolToObject(line, "remote", 0);
	cJSON_AddBoolToObject(line, "resume", 0);
	cJSON_AddStringToObject(line, "strategy", json_str_or(m, "spec/strategy", ""));
	cJSON_AddNumberToObject(line, "timeoutSeconds", (double)(timeout_us / 1000000 + 60));
	return line;
}

static void start_source(struct daemon *d, const char *uid, const cJSON *line)
{
	struct error err = { 0 };

	if (!children_start(&d->children, CHILD_SOURCE, uid, line, &err))
		log_error("a source worker could not be started", LOG_S("migration", uid), LOG_S("err", err.message));
	else
		log_info("source worker started", LOG_S("migration", uid), LOG_S("pod", json_str_or(line, "podName", "")));
}

static void tell_address(struct child *c, const cJSON *m)
{
	cleanup_json cJSON *line = cJSON_CreateObject();

	cJSON_AddStringToObject(line, "podIP", json_str_or(m, "status/destinationPod/podIP", ""));
	child_tell(c, line);
	c->told_address = true;
}

/* recorded: the PodMigration that was just read says so. */
static void tell_abort(struct child *c, const char *text, bool recorded)
{
	cleanup_json cJSON *line = cJSON_CreateObject();

	cJSON_AddStringToObject(line, "abort", text);
	cJSON_AddStringToObject(line, "reason", "Cancelled");
	cJSON_AddBoolToObject(line, "recorded", recorded);
	child_tell(c, line);
	c->told_abort = true;
}

static bool journal_exists(struct daemon *d, const char *uid)
{
	struct journal_entry ignored;

	return journal_read(d->o, uid, &ignored, NULL) != -ENOENT;
}

/* A worker whose only task is to say that the migration was given up: the controller waits for that word. */
static void start_to_give_up(struct daemon *d, const char *uid, cJSON *line, int reason, const char *text)
{
	cJSON_AddStringToObject(line, "abort", text);
	cJSON_AddStringToObject(line, "reason", reason_name(reason));
	start_source(d, uid, line);
}

/* The agent has reported, and not yet how it ended. */
static bool owes_a_word(const cJSON *m)
{
	enum source_state state = source_state_from_name(json_str(m, "status/source/state"));

	return state >= SOURCE_Ready && state < SOURCE_Running;
}

/* What is committed has a journal until all is told: without one nothing is left to be done, whatever the controller still does (it deletes the source pod). */
static bool may_begin(const cJSON *m)
{
	return phase_from_name(json_str(m, "status/phase")) >= PHASE_Preparing && strcmp(json_str_or(m, "status/decision", ""), "Commit");
}

/* A worker of an agent before this one had begun to connect, and has ended before the freeze: the destination has seen its stream break, and is not to be had a second time. */
static bool was_under_way(const cJSON *m)
{
	return owes_a_word(m) && source_state_from_name(json_str(m, "status/source/state")) > SOURCE_Ready;
}

/* One worker for each migration in this daemon's life; what one has left is taken up by resume_frozen() and give_up_crashed(). */
static void begin(struct daemon *d, const cJSON *m, bool ended)
{
	const char *uid = json_str_or(m, "metadata/uid", "");
	cleanup_json cJSON *line = NULL;

	if (children_find(&d->children, CHILD_SOURCE, uid) || journal_exists(d, uid))
		return;
	line = home_line(m);
	/* Also when it is given up already: the controller has seen only what came of it, a destination that ended. */
	if ((ended || may_begin(m)) && was_under_way(m))
		start_to_give_up(d, uid, line, REASON_AgentRestarted, "the source's agent was restarted before the freeze");
	else if (ended && owes_a_word(m))
		start_to_give_up(d, uid, line, REASON_Cancelled, "given up by the controller while no worker ran");
	else if (!ended && may_begin(m))
		start_source(d, uid, line);
}

/* The destination pod is there.  A dry run that is to ask it has no phase Transferring, of which an agent that does not know such a dry run would hear. */
static bool has_address(const cJSON *m)
{
	enum phase first = json_bool(m, "spec/dryRun") ? PHASE_Preparing : PHASE_Transferring;

	return phase_from_name(json_str(m, "status/phase")) >= first && json_str_or(m, "status/destinationPod/podIP", "")[0];
}

static void handle_migration(struct daemon *d, const cJSON *m)
{
	const char *uid = json_str_or(m, "metadata/uid", "");
	enum phase phase = phase_from_name(json_str(m, "status/phase"));
	bool aborted = !strcmp(json_str_or(m, "status/decision", ""), "Abort"), ended = aborted || phase == PHASE_Failed || phase == PHASE_Cancelled;
	struct child *c;

	/* Nothing is told to who has moved it, and nothing is left to begin. */
	if (phase == PHASE_Succeeded)
		return;
	begin(d, m, ended);
	c = children_find(&d->children, CHILD_SOURCE, uid);
	if (!c || !c->pid)
		return;
	if (ended && !c->told_abort)
		tell_abort(c, "the controller gave the migration up, see its conditions", aborted);
	else if (!c->told_address && has_address(m))
		tell_address(c, m);
}

static void handle_queue(struct daemon *d)
{
	cJSON *m;
	uint64_t n;

	if (read(d->event_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		log_error("event", LOG_S("err", strerror(errno)));
	for (;;) {
		pthread_mutex_lock(&d->lock);
		m = d->n_queue ? d->queue[0] : NULL;
		if (m)
			memmove(d->queue, d->queue + 1, (size_t)--d->n_queue * sizeof(m));
		pthread_mutex_unlock(&d->lock);
		if (!m)
			return;
		handle_migration(d, m);
		cJSON_Delete(m);
	}
}

/* --- recovery: what a worker that crashed has left --- */

/* Crashed before the freeze: nothing is to be thawed, but the migration cannot go on.  Of a remote source the destination tells. */
static void give_up_crashed(struct daemon *d)
{
	for (int i = 0; i < d->children.n; i++) {
		struct child *c = &d->children.items[i];
		cleanup_json cJSON *line = NULL;

		if (c->kind != CHILD_SOURCE || !child_crashed(c) || clock_mono_us() < c->retry_us || !c->line || json_bool(c->line, "remote") ||
		    journal_exists(d, c->key))
			continue;
		line = cJSON_Duplicate(c->line, 1);
		cJSON_DeleteItemFromObjectCaseSensitive(line, "abort");
		cJSON_DeleteItemFromObjectCaseSensitive(line, "reason");
		cJSON_DeleteItemFromObjectCaseSensitive(line, "resume");
		start_to_give_up(d, c->key, line, REASON_AgentRestarted, "the source's agent crashed before the freeze");
	}
}

static bool has_worker(void *ctx, const char *migration)
{
	struct daemon *d = ctx;
	const struct child *c = children_find(&d->children, CHILD_SOURCE, migration);

	return c && c->pid;
}

static bool is_ending(void *ctx, const char *migration)
{
	(void)ctx;
	(void)migration;
	return false;
}

/* Whatever becomes of the migration: no container stays slow without a worker. */
static void lift_throttles(struct daemon *d)
{
	throttle_notes_lift(d->o, has_worker, d);
}

static cJSON *journal_line(const struct journal_entry *e)
{
	cJSON *line = cJSON_CreateObject();

	cJSON_AddStringToObject(line, "migration", e->migration);
	cJSON_AddStringToObject(line, "namespace", e->ns);
	cJSON_AddStringToObject(line, "name", e->name);
	cJSON_AddStringToObject(line, "podUID", e->pod_uid);
	cJSON_AddStringToObject(line, "podName", e->pod_name);
	cJSON_AddNumberToObject(line, "epoch", 0);
	cJSON_AddBoolToObject(line, "remote", e->remote);
	cJSON_AddBoolToObject(line, "resume", 1);
	cJSON_AddNumberToObject(line, "timeoutSeconds", SOURCE_TIMEOUT_S);
	return line;
}

static void resume_one(void *ctx, const struct journal_entry *e)
{
	struct daemon *d = ctx;
	struct child *c = children_find(&d->children, CHILD_SOURCE, e->migration);
	cleanup_json cJSON *line = NULL;

	if (c && (c->pid || clock_mono_us() < c->retry_us))
		return;
	line = journal_line(e);
	log_warning("a migration was left in the middle; taking it up again", LOG_S("migration", e->migration), LOG_S("step", journal_step_name(e->step)));
	start_source(d, e->migration, line);
}

static void resume_frozen(struct daemon *d)
{
	struct error err = { 0 };

	if (journal_each(d->o, resume_one, d, &err) < 0)
		log_error("the journal cannot be read", LOG_S("err", err.message));
}

/* --- destination side, and remote sources: the containers of podmigration-runtime --- */

static void watch_dir(struct daemon *d, const char *node_path)
{
	char host[4096];

	if (agent_host_path(d->o, host, sizeof(host), "%s", node_path) == 0)
		inotify_add_watch(d->inotify_fd, host, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
}

/* Once of each: an order stays at its pod, and is looked at every few seconds, for as long as the pod lives. */
static void tell_late(struct daemon *d, const struct monitor_info *pod, const struct error *why)
{
	const size_t room = sizeof(d->told_late) / sizeof(d->told_late[0]);
	uint64_t digest = text_hash(text_hash(TEXT_HASH, pod->pod_uid), why->message);

	for (size_t i = 0; i < room && i < d->n_told_late; i++)
		if (d->told_late[i] == digest)
			return;
	d->told_late[d->n_told_late++ % room] = digest;
	log_warning("an order was passed over", LOG_S("pod", pod->pod_name), LOG_S("err", why->message));
}

static void handle_order(struct daemon *d, const struct monitor_info *pod)
{
	cleanup_json cJSON *order = NULL, *line = NULL;
	struct error err = { 0 };
	const char *uid, *action;
	struct child *c;
	int r = order_read(d->o, pod, &order, &err);

	if (r < 0) {
		if (r == -ETIME)
			tell_late(d, pod, &err);
		else if (r != -ENOENT)
			log_warning("an order was refused", LOG_S("pod", pod->pod_name), LOG_S("err", err.message));
		return;
	}
	uid = json_str_or(order, "migration", "");
	action = json_str_or(order, "action", "");
	c = children_find(&d->children, CHILD_SOURCE, uid);
	/* An order speaks for the pod it was found at, not for the migration of another one. */
	if (c && strcmp(c->pod_uid, pod->pod_uid)) {
		log_warning("an order names a migration of another pod", LOG_S("pod", pod->pod_name), LOG_S("migration", uid));
		return;
	}
	if (!strcmp(action, "abort") && c && c->pid && !c->told_abort)
		tell_abort(c, "the controller gave the migration up", false);
	if (!order_begins(order) || c || journal_exists(d, uid))
		return;
	line = order_line(order, pod);
	start_source(d, uid, line);
}

static bool is_first_of_sandbox(struct daemon *d, int i)
{
	for (int k = 0; k < i; k++)
		if (!strcmp(d->pods[k].sandbox, d->pods[i].sandbox) && d->pods[k].key_dir[0])
			return false;
	return true;
}

/* No worker, and one is needed. */
static bool wants_destination(struct daemon *d, const struct monitor_info *pod)
{
	const struct child *c = children_find(&d->children, CHILD_DESTINATION, pod->sandbox);
	struct destination_note note;
	int r;

	if (c && (c->pid || clock_mono_us() < c->retry_us))
		return false;
	r = destination_note_read(d->o, pod->sandbox, &note, NULL);
	return destination_found(r == 0 ? &note : NULL, pod->sandbox, d->pods, d->n_pods) >= 0;
}

static void handle_pod(struct daemon *d, const struct monitor_info *pod)
{
	struct error err = { 0 };

	/* A container that was started anew is as good a way to the order as the restored one. */
	if (!strcmp(pod->state, "running") || !strcmp(pod->state, "cold")) {
		watch_dir(d, pod->order_dir);
		handle_order(d, pod);
	}
	if (!wants_destination(d, pod))
		return;
	if (children_start(&d->children, CHILD_DESTINATION, pod->sandbox, NULL, &err))
		log_info("destination worker started", LOG_S("pod", pod->pod_name), LOG_S("migration", pod->migration), LOG_S("state", pod->state));
	else
		log_error("a destination worker could not be started", LOG_S("err", err.message));
}

static void forget_gone(struct daemon *d)
{
	for (int i = d->children.n - 1; i >= 0; i--) {
		struct child *c = &d->children.items[i];
		bool there = false;

		for (int k = 0; k < d->n_pods; k++)
			there |= !strcmp(d->pods[k].sandbox, c->key);
		if (c->kind == CHILD_DESTINATION && !c->pid && !there)
			children_forget(&d->children, c);
	}
}

static void scan(struct daemon *d)
{
	struct error err = { 0 };
	char path[512];
	int n;

	d->scan_us = 0;
	for (int pass = 0; pass < 2; pass++) {
		/* A folder whose info.json came before its watch is found by the second pass. */
		n = monitors_list(d->o, d->pods, PODS_MAX, &err);
		if (n < 0) {
			log_error("the waiting containers cannot be listed", LOG_S("err", err.message));
			return;
		}
		d->n_pods = n;
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, d->pods[i].id);
		watch_dir(d, path);
		if (d->pods[i].key_dir[0] && is_first_of_sandbox(d, i))
			handle_pod(d, &d->pods[i]);
	}
	forget_gone(d);
	destination_notes_sweep(d->o, d->pods, d->n_pods);
}

/* runc and CRIU of a source that died before the freeze: they stand by, or will, at a gate that nobody opens any more (container/runc.h). */
static void end_unstarted_dumps(struct daemon *d, const char *migration)
{
	for (int i = 0; i < WIRE_CONTAINERS_MAX; i++) {
		char work[512], host[4096];
		struct error err = { 0 };

		if (path_format(work, sizeof(work), "%s/source/%s/%d/work", PM_RUN_DIR, migration, i) < 0 || agent_host_path(d->o, host, sizeof(host), "%s", work) < 0 ||
		    access(host, F_OK) < 0)
			return;
		if (runc_dump_kill_unstarted(d->o->host_pid, work, &err) < 0)
			log_error("a CRIU that was never let go does not end", LOG_S("migration", migration), LOG_S("err", err.message));
	}
}

/* Another worker takes it up, and lets run what CRIU has restored from there.  Of what runs, has failed, or was started from its image since, nobody needs them. */
static bool is_being_restored(const struct daemon *d, const char *sandbox)
{
	static const char *const over[] = { "running", "failed", "cold" };

	for (int i = 0; i < d->n_pods; i++) {
		bool is_over = false;

		for (size_t k = 0; k < sizeof(over) / sizeof(over[0]); k++)
			is_over |= !strcmp(d->pods[i].state, over[k]);
		if (!is_over && !strcmp(d->pods[i].sandbox, sandbox))
			return true;
	}
	return false;
}

static void remove_images(const struct daemon *d, int dir, const char *kind, const char *name)
{
	struct error err = { 0 };
	char folder[512];
	int r = tree_remove(dir, name, &err);

	/* CRIU was killed, and the one who looks after it too (src/runtime/criu_yard.h). */
	if (r == -EXDEV && path_format(folder, sizeof(folder), "%s/%s/%s", PM_RUN_DIR, kind, name) == 0 && mounts_below_detach(d->o->host_pid, folder, &err) == 0)
		r = tree_remove(dir, name, &err);
	if (r < 0)
		log_error("memory images could not be removed", LOG_S("err", err.message));
}

/*
 * Memory images of a worker that crashed, or that CRIU still wrote into when they were removed, do not stay; but those of a source that is still frozen, by which
 * the CRIU that holds it is found, and those of a destination of which the outcome is not known.
 */
static void sweep_images(struct daemon *d)
{
	static const struct {
		const char *name;
		enum child_kind kind;
	} dirs[] = { { "source", CHILD_SOURCE }, { "destination", CHILD_DESTINATION } };
	char path[4096];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		cleanup_closedir DIR *dir = NULL;
		struct dirent *e;

		if (agent_host_path(d->o, path, sizeof(path), "%s/%s", PM_RUN_DIR, dirs[i].name) == 0)
			dir = opendir(path);
		while (dir && (e = readdir(dir))) {
			struct child *c = e->d_name[0] == '.' ? NULL : children_find(&d->children, dirs[i].kind, e->d_name);

			if (e->d_name[0] == '.' || (c && c->pid) || (i == 0 ? journal_exists(d, e->d_name) : is_being_restored(d, e->d_name)))
				continue;
			if (i == 0)
				end_unstarted_dumps(d, e->d_name);
			remove_images(d, dirfd(dir), dirs[i].name, e->d_name);
		}
	}
}

/*
 * What a monitor notes on its way; nothing is to be done about it at once.  Looking at all containers for each step of each of them would take processor time
 * from the restore of the very same containers.
 */
static bool is_step(const char *name)
{
	static const char *const steps[] = { MONITOR_STATE, MONITOR_STATE ".tmp", MONITOR_FILLING, MONITOR_FILLING ".tmp" };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!strcmp(name, steps[i]))
			return true;
	return false;
}

/* New folders get a watch of their own, for the info.json that is renamed into them. */
static void handle_inotify(struct daemon *d)
{
	char events[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(d->inotify_fd, events, sizeof(events));
	bool now = n <= 0;
	char path[1024];

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const struct inotify_event *)(const void *)(events + at);

		if (e->mask & IN_ISDIR && e->len) {
			snprintf(path, sizeof(path), "%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, e->name);
			watch_dir(d, path);
		}
		now = now || !e->len || !is_step(e->name);
		at += (ssize_t)(sizeof(*e) + e->len);
	}
	if (now)
		scan(d);
	else if (!d->scan_us)
		d->scan_us = clock_mono_us() + STEPS_US;
}

/* --- the loop --- */

static void handle_ended(struct daemon *d, struct child *c)
{
	struct error err = { 0 };

	child_reap(c);
	/* CRIU, dumping or restoring, takes them from the whole node. */
	if (cgroup_options_restore(d->o->host_pid, &err) < 0)
		log_warning("the node's cgroup2 mount options could not be set again", LOG_S("err", err.message));
	log_info("worker ended", LOG_S("kind", c->kind == CHILD_SOURCE ? "source" : "destination"), LOG_S("key", c->key),
		 LOG_N("status", c->exit_status));
	health_count(d->health, c->kind == CHILD_SOURCE, c->exit_status == 0);
	lift_throttles(d);
}

static int build_poll(struct daemon *d, struct pollfd *p, int *which)
{
	int n = 3;

	p[0] = (struct pollfd){ d->signal_fd, POLLIN, 0 };
	p[1] = (struct pollfd){ d->event_fd, POLLIN, 0 };
	p[2] = (struct pollfd){ d->inotify_fd, POLLIN, 0 };
	for (int i = 0; i < d->children.n; i++)
		if (d->children.items[i].pid) {
			which[n] = i;
			p[n++] = (struct pollfd){ d->children.items[i].pidfd, POLLIN, 0 };
		}
	return n;
}

/* Until a worker that failed is tried again or a scan is due; *ret_due: the time has come for one. */
static int next_try_ms(struct daemon *d, bool *ret_due)
{
	int64_t now = clock_mono_us(), first = d->look_us;

	*ret_due = d->look_us <= now || (d->scan_us && d->scan_us <= now);
	if (d->scan_us && d->scan_us < first)
		first = d->scan_us;
	for (int i = 0; i < d->children.n; i++) {
		struct child *c = &d->children.items[i];

		if (c->pid || !c->retry_us)
			continue;
		if (c->retry_us < first)
			first = c->retry_us;
		if (c->retry_us <= now) {
			*ret_due = true;
			c->retry_us = 0;
		}
	}
	return *ret_due ? 0 : (int)((first - now + 999) / 1000);
}

static void take_up(struct daemon *d)
{
	d->look_us = clock_mono_us() + LOOK_US;
	lift_throttles(d);
	scan(d);
	resume_frozen(d);
	give_up_crashed(d);
	sweep_images(d);
}

/* Those of p that have ended, from the workers' first on; true: one has. */
static bool reap(struct daemon *d, const struct pollfd *p, const int *which, int n)
{
	bool any = false;

	for (int i = 3; i < n; i++)
		if (p[i].revents) {
			handle_ended(d, &d->children.items[which[i]]);
			any = true;
		}
	return any;
}

static void tell_leave(struct daemon *d)
{
	cleanup_json cJSON *line = cJSON_CreateObject();

	cJSON_AddBoolToObject(line, "leave", true);
	for (int i = 0; i < d->children.n; i++)
		if (d->children.items[i].kind == CHILD_SOURCE && d->children.items[i].pid)
			child_tell(&d->children.items[i], line);
}

/* Two for each that may still end by it: its end, and its answer that it does not. */
static int build_leave(struct daemon *d, struct pollfd *p, int *which)
{
	int n = 0;

	for (int i = 0; i < d->children.n; i++) {
		const struct child *c = &d->children.items[i];

		if (c->kind != CHILD_SOURCE || !c->pid || c->stays)
			continue;
		which[n / 2] = i;
		p[n++] = (struct pollfd){ c->pidfd, POLLIN, 0 };
		p[n++] = (struct pollfd){ c->control_fd, POLLRDHUP, 0 };
	}
	return n;
}

static void hear_leave(struct daemon *d, const struct pollfd *p, const int *which, int n)
{
	for (int i = 0; i < n; i += 2) {
		struct child *c = &d->children.items[which[i / 2]];

		if (p[i].revents)
			handle_ended(d, c);
		else
			child_hear(c, p[i + 1].revents);
	}
}

/*
 * The workers die with this process.  Of those that move a pod away whoever may goes back first: it would stand still until the next agent has come.  Whose word is given, or what is committed, and what has
 * only begun to wait for its destination, says that it stays as it is: the next agent takes it up.
 */
static void leave(struct daemon *d)
{
	int64_t left, end = clock_mono_us() + LEAVE_US;
	struct pollfd p[2 * CHILDREN_MAX];
	int which[CHILDREN_MAX], n;

	tell_leave(d);
	while ((n = build_leave(d, p, which)) > 0 && (left = end - clock_mono_us()) > 0)
		if (poll(p, (nfds_t)n, (int)((left + 999) / 1000)) > 0)
			hear_leave(d, p, which, n);
}

static int run(struct daemon *d)
{
	struct pollfd p[CHILDREN_MAX + 3];
	int which[CHILDREN_MAX + 3];

	lift_throttles(d);
	scan(d);
	resume_frozen(d);
	d->look_us = clock_mono_us() + LOOK_US;
	for (;;) {
		bool ended, due;
		int timeout = next_try_ms(d, &due), n = build_poll(d, p, which), r = poll(p, (nfds_t)n, timeout);

		health_set_active(d->health, children_running(&d->children, CHILD_SOURCE), children_running(&d->children, CHILD_DESTINATION));
		if (r < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents)
			return 0;
		ended = r > 0 && reap(d, p, which, n);
		if (r > 0 && p[1].revents)
			handle_queue(d);
		if (r > 0 && p[2].revents)
			handle_inotify(d);
		if (r == 0 || ended || due)
			take_up(d);
	}
}

static int open_fds(struct daemon *d, struct error *err)
{
	sigset_t set;
	char path[512];
	char host[4096];
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d->signal_fd < 0 || d->event_fd < 0 || d->inotify_fd < 0)
		return error_errno(err, "open event sources");
	snprintf(path, sizeof(path), "%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR);
	r = agent_host_path(d->o, host, sizeof(host), "%s", path);
	if (r == 0)
		r = dir_make(AT_FDCWD, host, 0700, err);
	if (r == 0)
		watch_dir(d, path);
	return r;
}

#define LOCK_LOOK_MS 200        /* nobody tells but to who waits in the kernel, deaf to signals */

static int wait_lock(struct daemon *d, struct error *err)
{
	struct pollfd p = { d->signal_fd, POLLIN, 0 };
	int fd = lock_open(d->o, err), r = fd < 0 ? fd : lock_take(fd, err);

	d->children.lock_fd = fd;
	if (r == -EAGAIN)
		log_warning("another agent works on this node; this one waits for its end", LOG_S("node", d->o->node));
	while (r == -EAGAIN) {
		if (poll(&p, 1, LOCK_LOOK_MS) > 0)
			return error_set(err, -ECANCELED, "it was to end while another agent worked on this node");
		r = lock_take(fd, err);
	}
	return r;
}

static int start_watch(struct daemon *d, struct kube_config *config, struct kube_watch **ret, struct error *err)
{
	char selector[320];
	struct kube_watch_spec spec = { .path = PM_API "/podmigrations", .field_selector = selector, .name = "podmigrations",
					.on_upsert = on_upsert, .on_delete = on_delete, .ctx = d };

	snprintf(selector, sizeof(selector), "status.sourcePod.node=%s", d->o->node);
	return kube_watch_start(config, &spec, ret, err);
}

int agent_daemon(const struct agent_options *o)
{
	struct daemon *d = calloc(1, sizeof(*d));
	struct kube_config *config = NULL;
	struct kube_watch *watch = NULL;
	struct error err = { 0 };
	int r;

	if (!d)
		return 1;
	d->o = d->children.o = o;
	pthread_mutex_init(&d->lock, NULL);
	d->pods = calloc(PODS_MAX, sizeof(*d->pods));
	if (cgroup_options_keep(o->host_pid, &err) < 0)
		log_warning("the node's cgroup2 mount options could not be noted", LOG_S("err", err.message));
	r = d->pods ? open_fds(d, &err) : -ENOMEM;
	if (r == 0)
		r = health_start(o, &d->health, &err);
	if (r == 0)
		r = wait_lock(d, &err);
	if (r == 0)
		r = kube_config_load(o->kubeconfig, NULL, &config, &err);
	if (r == 0)
		r = start_watch(d, config, &watch, &err);
	if (r == 0) {
		log_info("agent started", LOG_S("node", o->node), LOG_S("version", PM_VERSION_STRING));
		health_watch(d->health, watch);
		r = run(d);
	}
	if (r == 0)
		leave(d);
	/* The workers that are left are killed with the container, and perhaps no other agent comes. */
	if (r == 0)
		throttle_notes_lift(o, is_ending, NULL);
	if (r < 0)
		log_error("agent ends", LOG_S("err", err.message));
	else
		log_info("agent ends on request");
	health_stop(d->health);
	if (watch)
		kube_watch_stop(watch);
	kube_config_free(config);
	free(d->pods);
	free(d);
	return r < 0 ? 1 : 0;
}
