/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "handshake.h"
#include "migration/phase.h"
#include "migration/reason.h"
#include "record.h"

#define HANDSHAKE_US 5000000
#define IDLE_US 20000000
#define MONITORS_TIMEOUT_US 20000000
#define COMMIT_TIMEOUT_US 60000000
#define MONITORS_MAX 1024

/* --- the waiting containers --- */

static int find_first(struct destination *d, struct error *err)
{
	struct monitor_info *all = calloc(MONITORS_MAX, sizeof(*all));
	int n = all ? monitors_list(d->o, all, MONITORS_MAX, err) : -ENOMEM, r = -ENOENT;

	for (int i = 0; i < n && r < 0; i++)
		if (!strcmp(all[i].sandbox, d->sandbox) && all[i].key_dir[0]) {
			d->first = all[i];
			r = 0;
		}
	free(all);
	if (n < 0)
		return n;
	return r < 0 ? error_set(err, r, "no waiting container of sandbox %s has a key", d->sandbox) : 0;
}

/* Fills d->containers[c->index].info for every name of HELLO that has a monitor; returns how many are missing. */
static int match_monitors(struct destination *d, struct error *err)
{
	struct monitor_info *all = calloc(MONITORS_MAX, sizeof(*all));
	int n = all ? monitors_list(d->o, all, MONITORS_MAX, err) : -ENOMEM, missing = 0;

	for (int k = 0; n >= 0 && k < d->n; k++) {
		struct destination_container *c = &d->containers[k];

		for (int i = 0; i < n && !c->info.id[0]; i++)
			if (!strcmp(all[i].sandbox, d->sandbox) && !strcmp(all[i].name, c->info.name) &&
			    !strcmp(all[i].migration, d->first.migration))
				c->info = all[i];
		missing += !c->info.id[0];
	}
	free(all);
	return n < 0 ? n : missing;
}

static int connect_monitors(struct destination *d, struct error *err)
{
	int64_t deadline = clock_mono_us() + MONITORS_TIMEOUT_US;
	int missing;

	/* The kubelet starts a pod's containers one after the other. */
	while ((missing = match_monitors(d, err)) > 0 && clock_mono_us() < deadline)
		usleep(20000);
	if (missing < 0)
		return missing;
	if (missing > 0)
		return error_reason(err, -ETIMEDOUT, REASON_DestinationPodFailed, "%d of %d containers did not start at the destination", missing,
				    d->n);
	for (int i = 0; i < d->n; i++) {
		int r = d->containers[i].monitor ? 0 : monitor_connect(d->o, d->containers[i].info.id, &d->containers[i].monitor, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* --- greeting --- */

static int take_hello(struct destination *d, struct wire *w, cJSON **ret, struct error *err)
{
	struct wire_frame f;
	int r = wire_receive(w, HANDSHAKE_US, &f, err);

	if (r < 0)
		return r;
	if (f.type != WIRE_HELLO)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the first frame is not HELLO");
	r = wire_json(&f, ret, err);
	if (r == 0 && strcmp(json_str_or(*ret, "migration", ""), d->first.migration))
		r = error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO names another migration than this pod waits for");
	return r;
}

/* One name is one container: two of a name would be restored into one. */
static bool has_container(const struct destination *d, const char *name)
{
	for (int i = 0; i < d->n; i++)
		if (!strcmp(d->containers[i].info.name, name))
			return true;
	return false;
}

static int take_containers(struct destination *d, struct error *err)
{
	const cJSON *names = json_at(d->hello, "containers"), *e;
	int64_t owner = 0;

	d->n = 0;
	cJSON_ArrayForEach(e, names)
	{
		struct destination_container *c = &d->containers[d->n];

		if (d->n == WIRE_CONTAINERS_MAX || !cJSON_IsString(e) || !name_is_safe(e->valuestring) || has_container(d, e->valuestring))
			return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: bad list of containers");
		*c = (struct destination_container){ .d = d, .index = (uint16_t)d->n, .images_fd = -1, .rootfs_fd = -1, .image_fd = -1 };
		snprintf(c->info.name, sizeof(c->info.name), "%s", e->valuestring);
		d->n++;
	}
	if (d->n == 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: no containers");
	if (json_int(d->hello, "ipcOwner", 0, d->n - 1, &owner) == 0)
		d->ipc_owner = (int)owner;
	d->decider = !strcmp(json_str_or(d->hello, "decider", ""), "destination");
	if (path_format(d->ns, sizeof(d->ns), "%s", json_str_or(d->hello, "namespace", "")) < 0 ||
	    path_format(d->name, sizeof(d->name), "%s", json_str_or(d->hello, "name", "")) < 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: name too long");
	return 0;
}

static int welcome(struct destination *d, struct wire *w, struct error *err)
{
	cleanup_json cJSON *j = cJSON_Duplicate(d->facts, 1);

	/* Not what we could speak, but what we do. */
	cJSON_DeleteItemFromObjectCaseSensitive(j, "protocol");
	cJSON_AddNumberToObject(j, "protocol", d->protocol);
	return wire_send_json(w, WIRE_WELCOME, WIRE_NO_CONTAINER, j, err);
}

static void say_no(struct wire *w, enum wire_type type, const struct error *cause)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	struct error ignored = { 0 };

	cJSON_AddStringToObject(j, "reason", reason_name(cause->reason));
	cJSON_AddStringToObject(j, "message", cause->message);
	wire_send_json(w, type, WIRE_NO_CONTAINER, j, &ignored);
}

/* --- the outcome --- */

static int report_running(struct destination *d, struct wire *w, int failed, struct error *why, struct error *err)
{
	cleanup_json cJSON *j = destination_running_json(d, failed < 0 ? why : NULL);

	return wire_send_json(w, WIRE_RUNNING, WIRE_NO_CONTAINER, j, err);
}

/* The source decides: wait for its word, however long the stream lives. */
static int wait_commit(struct destination *d, struct wire *w, struct error *err)
{
	struct wire_frame f;
	struct error why = { 0 };
	int r = wire_receive(w, -1, &f, err);

	if (r < 0)
		return r;
	if (f.type == WIRE_ABORT)
		return error_reason(err, -ECONNABORTED, REASON_Cancelled, "the source gave the migration up");
	if (f.type != WIRE_COMMIT)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "frame type %d came where COMMIT was expected", f.type);
	r = d->step == DEST_PREPARED ? destination_open(d, &why) : 0;
	if (r < 0)
		log_error("committed, but a container did not come up", LOG_S("err", why.message));
	return report_running(d, w, r, &why, err);
}

static void report_home(struct destination *d, struct record *record, enum source_state state, const struct error *cause)
{
	struct error why = { 0 };

	if (record_report(record, state, destination_source_report(d, cause), cJSON_Duplicate(d->facts, 1), &why) < 0)
		log_error("the outcome could not be recorded", LOG_S("err", why.message));
}

/* This side is at home and decides: the record first, then the barriers. */
static int decide(struct destination *d, struct wire *w, struct record *record, struct error *err)
{
	enum record_decision got = record_decide(record, RECORD_COMMIT, clock_mono_us() + COMMIT_TIMEOUT_US, NULL, err);
	struct error why = { 0 };
	int r;

	if (got == RECORD_UNDECIDED)
		return error_wrap(err, -EINPROGRESS, "the outcome of the commit is not known");
	if (got == RECORD_ABORT)
		return error_reason(err, -ECONNABORTED, REASON_Cancelled, "the controller gave the migration up before the commit");
	r = destination_open(d, &why);
	report_running(d, w, r, &why, err);
	report_home(d, record, SOURCE_Running, r < 0 ? &why : NULL);
	return 0;
}

/* --- one connection --- */

static int receive_and_restore(struct destination *d, struct wire *w, struct record *record, struct error *err)
{
	int r;

	if (record)
		record_progress(record, SOURCE_Freezing);
	d->step = DEST_RECEIVING;
	r = destination_receive(d, w, err);
	if (r < 0)
		return r;
	if (record)
		record_progress(record, SOURCE_Restoring);
	return destination_restore(d, err);
}

static int start_session(struct destination *d, struct error *err)
{
	int r = take_containers(d, err);

	if (r == 0)
		r = node_check(d->o, d->hello, d->facts, err);
	if (r == 0)
		r = connect_monitors(d, err);
	return r == 0 ? destination_open_parts(d, err) : r;
}

static int run_session(struct destination *d, struct wire *w, struct error *err)
{
	struct record *record = NULL;
	cleanup_json cJSON *prepared = NULL;
	int r = start_session(d, err);

	if (r == 0 && d->decider)
		r = record_open(d->o, d->ns, d->name, d->first.migration, &record, err);
	if (r < 0) {
		say_no(w, WIRE_REFUSE, err);
		return r;
	}
	r = welcome(d, w, err);
	if (r == 0)
		r = receive_and_restore(d, w, record, err);
	if (r == 0 && !d->decider) {
		prepared = destination_prepared_json(d);
		r = wire_send_json(w, WIRE_PREPARED, WIRE_NO_CONTAINER, prepared, err);
		if (r == 0)
			r = wait_commit(d, w, err);
	} else if (r == 0) {
		r = decide(d, w, record, err);
	}
	/* Prepared and the stream lost: in doubt, the caller listens again.  Every other failure before the commit is an abort. */
	if (r < 0 && r != -EINPROGRESS && (d->step < DEST_PREPARED || r == -ECONNABORTED || d->decider) && d->step < DEST_COMMITTED) {
		destination_abort(d);
		destination_join(d);
		say_no(w, WIRE_ABORT, err);
		if (record)
			report_home(d, record, SOURCE_Aborted, err);
		r = -ECONNABORTED;
	}
	record_close(record);
	return r;
}

/* The source dials again: after its COMMIT was lost, or to ask what became of it. */
static int resume_session(struct destination *d, struct wire *w, struct error *err)
{
	int r;

	if (d->step < DEST_PREPARED) {
		error_reason(err, -ECONNABORTED, REASON_DestinationLost, "the destination holds nothing that could run");
		say_no(w, WIRE_ABORT, err);
		return -ECONNABORTED;
	}
	r = welcome(d, w, err);
	if (r < 0)
		return r;
	if (d->decider)
		return d->step == DEST_RUNNING ? report_running(d, w, 0, NULL, err) : error_set(err, -EAGAIN, "not decided yet");
	return wait_commit(d, w, err);
}

static int serve(struct destination *d, int fd, struct error *err)
{
	cleanup_json cJSON *hello = NULL;
	struct tls_stream *tls;
	struct wire *w = NULL;
	int r = tls_accept(fd, d->first.migration, d->key, PM_KEY_SIZE, clock_mono_us() + HANDSHAKE_US, &tls, err);

	if (r == 0)
		r = wire_new(tls, IDLE_US, &w, err);
	if (r == 0)
		r = take_hello(d, w, &hello, err);
	if (r < 0) {
		/* Whoever that was, it did not have the key or did not speak our language: keep waiting for the one who does. */
		wire_free(w);
		return error_wrap(err, -EAGAIN, "connection refused");
	}
	if (protocol_choose(hello, &d->protocol, err) < 0) {
		say_no(w, WIRE_REFUSE, err);
		r = -EAGAIN;
	} else if (json_bool(hello, "resume")) {
		r = resume_session(d, w, err);
	} else if (d->step != DEST_WAITING) {
		error_reason(err, -EAGAIN, REASON_ProtocolError, "a second migration into the same pod");
		say_no(w, WIRE_REFUSE, err);
		r = -EAGAIN;
	} else {
		d->hello = take_ptr(hello);
		r = run_session(d, w, err);
	}
	wire_free(w);
	return r;
}

static bool pod_is_gone(struct destination *d)
{
	struct monitor_info first = d->first;
	struct error ignored = { 0 };
	bool gone = find_first(d, &ignored) < 0;

	d->first = first;
	return gone;
}

/* Accepts until the pod runs, was given up or is gone.  Every second it looks whether the pod is still there: that costs one readdir. */
static int serve_all(struct destination *d, struct error *err)
{
	int idle_s = 0;

	for (;;) {
		struct pollfd p = { d->listen_fd, POLLIN, 0 };
		int fd, r = poll(&p, 1, 1000);

		if (r < 0 && errno != EINTR)
			return error_errno(err, "poll");
		if (r <= 0) {
			if (d->step < DEST_COMMITTED && pod_is_gone(d))
				return error_reason(err, -ECANCELED, REASON_DestinationLost, "the destination pod was removed");
			/* Stay a while after the end: the source may have missed RUNNING. */
			if (d->step == DEST_RUNNING && ++idle_s > 30)
				return 0;
			continue;
		}
		fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		r = serve(d, fd, err);
		if (r == 0 && d->step == DEST_RUNNING)
			return 0;
		if (r == -ECONNABORTED)
			return r;
		log_warning("a connection ended", LOG_S("pod", d->first.pod_name), LOG_S("err", err->message));
	}
}

static int open_listener(struct destination *d, struct error *err)
{
	cleanup_close int netns = -1;
	char path[4096];
	uint16_t port;

	if (!d->first.netns[0] || agent_host_path(d->o, path, sizeof(path), "%s", d->first.netns) < 0)
		return error_set(err, -ENOENT, "pod %s has no network namespace", d->first.pod_name);
	netns = open(path, O_RDONLY | O_CLOEXEC);
	if (netns < 0)
		return error_errno(err, "open the network namespace of pod %s", d->first.pod_name);
	return tcp_listen(netns, d->o->stream_port, 8, &d->listen_fd, &port, err);
}

static void release(struct destination *d)
{
	char host[4096];
	struct error why = { 0 };

	destination_close_parts(d);
	for (int i = 0; i < d->n; i++) {
		monitor_close(d->containers[i].monitor);
		cJSON_Delete(d->containers[i].sent);
	}
	if (d->listen_fd >= 0)
		close(d->listen_fd);
	if (d->run_dir[0] && agent_host_path(d->o, host, sizeof(host), "%s", d->run_dir) == 0 && tree_remove(AT_FDCWD, host, &why) < 0)
		log_error("memory images could not be removed", LOG_S("err", why.message));
	cJSON_Delete(d->facts);
	cJSON_Delete(d->hello);
	explicit_bzero(d->key, sizeof(d->key));
}

int agent_destination(const struct agent_options *o, const char *sandbox)
{
	struct destination *d = calloc(1, sizeof(*d));
	struct error err = { 0 };
	int r;

	if (!d || path_format(d->sandbox, sizeof(d->sandbox), "%s", sandbox) < 0)
		return 1;
	d->o = o;
	d->listen_fd = -1;
	d->facts = cJSON_CreateObject();
	r = name_is_safe(d->sandbox) ? find_first(d, &err) : error_set(&err, -EINVAL, "--sandbox is not a sandbox id");
	if (r == 0)
		r = monitor_key(o, &d->first, d->key, &err);
	if (r == 0 && path_format(d->run_dir, sizeof(d->run_dir), "%s/destination/%s", PM_RUN_DIR, d->sandbox) < 0)
		r = error_set(&err, -ENAMETOOLONG, "image path too long");
	if (r == 0)
		r = open_listener(d, &err);
	/* Listening first: the source may already be dialling while criu is asked for its version. */
	if (r == 0)
		r = node_facts(o, false, d->facts, &err);
	if (r == 0)
		r = serve_all(d, &err);
	if (r < 0)
		log_error("the destination gave up", LOG_S("pod", d->first.pod_name), LOG_S("migration", d->first.migration),
			  LOG_S("err", err.message));
	else
		log_info("the pod runs here", LOG_S("pod", d->first.pod_name), LOG_S("migration", d->first.migration),
			 LOG_N("bytes", d->bytes));
	release(d);
	free(d);
	return r == 0 ? 0 : 1;
}
