/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "handshake.h"
#include "migration/reason.h"
#include "net/tls.h"

#define MONITORS_MAX 1024

/* One destination pod from its beginning to the end of the migration that fills it. What is done in each state is in destination_deeds.c. */

/* --- the waiting containers --- */

static int find_first(struct destination *d, const struct monitor_info *all, int n, struct error *err)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(all[i].sandbox, d->sandbox) && all[i].key_dir[0]) {
			d->first = all[i];
			return 0;
		}
	return error_set(err, -ENOENT, "no waiting container of sandbox %s has a key", d->sandbox);
}

static void match(struct destination *d, const struct monitor_info *all, int n)
{
	for (int k = 0; k < d->n; k++) {
		struct destination_container *c = &d->containers[k];

		for (int i = 0; i < n && !c->info.id[0]; i++)
			if (!strcmp(all[i].sandbox, d->sandbox) && !strcmp(all[i].name, c->info.name) && !strcmp(all[i].migration, d->first.migration))
				c->info = all[i];
	}
}

int destination_match(struct destination *d, struct error *err)
{
	struct monitor_info *all = calloc(MONITORS_MAX, sizeof(*all));
	int n = all ? monitors_list(d->o, all, MONITORS_MAX, err) : -ENOMEM, missing = 0;

	match(d, all, n);
	free(all);
	for (int k = 0; k < d->n; k++)
		missing += !d->containers[k].info.id[0];
	return n < 0 ? n : missing;
}

static void add_container(struct destination *d, const char *name)
{
	struct destination_container *c = &d->containers[d->n];

	*c = (struct destination_container){ .d = d, .index = (uint16_t)d->n, .images_fd = -1, .rootfs_fd = -1, .image_fd = -1, .later_fd = -1,
					   .filler_fd = -1 };
	snprintf(c->info.name, sizeof(c->info.name), "%s", name);
	d->n++;
}

void destination_take_waiting(struct destination *d)
{
	struct monitor_info *all = calloc(MONITORS_MAX, sizeof(*all));
	struct error err = { 0 };
	int n = all ? monitors_list(d->o, all, MONITORS_MAX, &err) : -ENOMEM;

	d->n = 0;
	for (int i = 0; i < n && d->n < WIRE_CONTAINERS_MAX; i++)
		if (!strcmp(all[i].sandbox, d->sandbox) && !strcmp(all[i].migration, d->first.migration))
			add_container(d, all[i].name);
	match(d, all, n);
	free(all);
}

/* --- HELLO --- */

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
		if (d->n == WIRE_CONTAINERS_MAX || !cJSON_IsString(e) || !name_is_safe(e->valuestring) || has_container(d, e->valuestring) ||
		    path_format(d->note.containers[d->n], sizeof(d->note.containers[0]), "%s", e->valuestring) < 0)
			return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: bad list of containers");
		add_container(d, e->valuestring);
	}
	d->note.n = d->n;
	if (d->n == 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: no containers");
	if (json_int(d->hello, "ipcOwner", 0, d->n - 1, &owner) == 0)
		d->ipc_owner = (int)owner;
	return 0;
}

int destination_take_hello(struct destination *d, struct error *err)
{
	struct destination_note *n = &d->note;

	memset(n, 0, sizeof(*n));
	n->decider = !strcmp(json_str_or(d->hello, "decider", ""), "destination");
	if (path_format(n->migration, sizeof(n->migration), "%s", d->first.migration) < 0 ||
	    path_format(n->ns, sizeof(n->ns), "%s", json_str_or(d->hello, "namespace", "")) < 0 ||
	    path_format(n->name, sizeof(n->name), "%s", json_str_or(d->hello, "name", "")) < 0 ||
	    path_format(n->source_node, sizeof(n->source_node), "%s", json_str_or(d->hello, "node", "")) < 0)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "HELLO: name too long");
	d->driver.side = n->decider ? SIDE_DECIDER : SIDE_PARTICIPANT;
	return json_bool(d->hello, "resume") ? 0 : take_containers(d, err);
}

/* --- the driver's view --- */

/* By the record, which a participant cannot read: to that one the source says it by the stream, and the controller by removing the pod. */
static bool is_ordered(void *ctx)
{
	return destination_is_aborted(ctx);
}

static void wait_a_while(void *ctx, int64_t us)
{
	(void)ctx;
	usleep((useconds_t)us);
}

/*
 * A container that cannot be restored ends, the kubelet sees that, and the controller gives the migration up before the others are restored, and this worker has looked: that container's error is the reason, and no order.
 */
static void find_cause(struct destination *d, enum input in)
{
	const struct error *own = in == INPUT_OrderAbort ? destination_own_failure(d) : NULL;
	static const struct {
		enum input in;
		int reason;
		const char *text;
	} known[] = {
		{ INPUT_HelloAgain, REASON_DestinationLost, "the destination holds nothing that could run" },
		{ INPUT_OrderAbort, REASON_Cancelled, DESTINATION_ABORTED },
		{ INPUT_FoundRestoring, REASON_AgentRestarted, "the destination's agent was restarted before everything was restored" },
	};

	d->cause = d->err;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].in == in)
			error_reason(&d->cause, -ECONNABORTED, known[i].reason, "%s", known[i].text);
	if (own)
		d->cause = *own;
	agent_blame_space(d->o, &d->cause);
	if (d->cause.reason == REASON_NONE)
		d->cause.reason = REASON_InternalError;
}

void destination_drop_parts(struct destination *d)
{
	struct error why = { 0 };
	char host[4096];
	int r;

	destination_close_parts(d);
	if (!d->run_dir[0] || agent_host_path(d->o, host, sizeof(host), "%s", d->run_dir) < 0)
		return;
	r = tree_remove(AT_FDCWD, host, &why);
	/* A CRIU that is at its end has the node's cgroups mounted there still: its folder is removed by the daemon, which tells when it cannot. */
	if (r < 0 && r != -EXDEV)
		log_error("memory images could not be removed", LOG_S("err", why.message));
}

static void on_move(void *ctx, uint8_t from, enum input in, uint8_t to)
{
	struct destination *d = ctx;
	uint8_t deed = machine_destination.states[to].deed;

	if ((deed == DEED_Kill || deed == DEED_SendAbort) && !d->cause.message[0])
		find_cause(d, in);
	if (from == DST_Opening && to == DST_Telling && d->opened)
		log_info("the pod runs here", LOG_S("pod", d->first.pod_name), LOG_S("migration", d->first.migration), LOG_N("bytes", d->bytes));
}

/* --- the whole --- */

/* -1: nothing is to be done. */
static int find_input(struct destination *d, struct error *err)
{
	struct monitor_info *all = calloc(MONITORS_MAX, sizeof(*all));
	int n = all ? monitors_list(d->o, all, MONITORS_MAX, err) : -ENOMEM;
	int noted = n < 0 ? n : destination_note_read(d->o, d->sandbox, &d->note, err);
	int in = -1, r = n < 0 ? n : noted < 0 && noted != -ENOENT ? noted : find_first(d, all, n, err);

	if (r == 0)
		in = destination_found(noted == 0 ? &d->note : NULL, d->sandbox, all, n);
	if (in >= 0 && noted == 0) {
		d->driver.side = d->note.decider ? SIDE_DECIDER : SIDE_PARTICIPANT;
		for (int i = 0; i < d->note.n; i++)
			add_container(d, d->note.containers[i]);
		match(d, all, n);
	}
	free(all);
	return r < 0 ? r : in < 0 ? error_set(err, -ENOENT, "nothing is waiting in sandbox %s", d->sandbox) : in;
}

int destination_open_listener(struct destination *d, struct error *err)
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

static int prepare(struct destination *d, struct error *err)
{
	int in = name_is_safe(d->sandbox) ? find_input(d, err) : error_set(err, -EINVAL, "--sandbox is not a sandbox id");
	int r = in < 0 ? in : monitor_key(d->o, &d->first, d->key, err);

	if (r == 0 && path_format(d->run_dir, sizeof(d->run_dir), "%s/destination/%s", PM_RUN_DIR, d->sandbox) < 0)
		r = error_set(err, -ENAMETOOLONG, "image path too long");
	if (r == 0)
		r = destination_open_listener(d, err);
	/* Listening first: the source may already be dialling while criu is asked for its version.  Only what is still to come must fit this node. */
	if (r == 0 && in == INPUT_FoundWaiting)
		r = node_facts(d->o, false, d->facts, err);
	else
		node_words(d->o, d->facts);
	return r < 0 ? r : in;
}

static int run(struct destination *d, struct error *err)
{
	int in;

	d->driver = (struct driver){ .m = &machine_destination, .side = SIDE_PARTICIPANT, .key = d->first.migration, .deeds = destination_deeds, .ctx = d,
				     .ordered = is_ordered, .moved = on_move, .pause = wait_a_while };
	in = prepare(d, err);
	if (in < 0)
		return in;
	if (driver_run(&d->driver, (enum input)in) == DST_Moved)
		return 0;
	*err = d->cause.message[0] ? d->cause : d->err;
	return -ECANCELED;
}

static void release(struct destination *d)
{
	destination_join(d);
	/* A source that still sends stands frozen until then. */
	destination_hang_up(d);
	/* What cannot go on yet, another worker takes up: CRIU stands by, or at the barrier, in these folders. */
	if (machine_destination.states[d->driver.state].at & AT_END) {
		if (d->driver.state == DST_GivenUp)
			destination_wait_undone(d);
		destination_drop_parts(d);
	} else {
		destination_close_parts(d);
	}
	record_close(d->record);
	if (d->listen_fd >= 0)
		close(d->listen_fd);
	if (d->order_fd >= 0)
		close(d->order_fd);
	destination_filled(d);
	destination_later_end(d);
	for (int i = 0; i < d->n; i++) {
		monitor_close(d->containers[i].monitor);
		cJSON_Delete(d->containers[i].sent);
	}
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
	pthread_mutex_init(&d->wire_lock, NULL);
	d->listen_fd = d->order_fd = d->finished_fd = -1;
	d->facts = cJSON_CreateObject();
	r = run(d, &err);
	if (r < 0)
		log_error("the destination gave up", LOG_S("pod", d->first.pod_name), LOG_S("migration", d->first.migration),
			  LOG_S("err", err.message));
	release(d);
	free(d);
	return r == 0 ? 0 : 1;
}
