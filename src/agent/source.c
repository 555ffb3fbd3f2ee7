/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "handshake.h"
#include "install.h"
#include "migration/reason.h"
#include "net/tls.h"

#define FREEZE_TIMEOUT_US 3000000
#define CONNECT_TIMEOUT_US 20000000
#define IDLE_US 20000000                /* nothing moves on the stream for so long: it is lost */
#define START_TIMEOUT_US 60000000
#define PREPARE_TIMEOUT_US 120000000
#define RUN_TIMEOUT_US 60000000
#define COMMIT_TIMEOUT_US 60000000
#define REDIAL_US 1000000

/* From the control thread, while the main thread may be hanging up. */
static void interrupt_stream(void *ctx)
{
	struct source *s = ctx;

	pthread_mutex_lock(&s->wire_lock);
	if (s->wire)
		wire_interrupt(s->wire);
	pthread_mutex_unlock(&s->wire_lock);
}

static void set_stream(struct source *s, struct wire *w)
{
	pthread_mutex_lock(&s->wire_lock);
	s->wire = w;
	pthread_mutex_unlock(&s->wire_lock);
}

/* --- the order --- */

static int take_text(const cJSON *order, const char *key, char *out, size_t size, struct error *err)
{
	const char *v = json_str(order, key);

	if (!v || path_format(out, size, "%s", v) < 0)
		return error_reason(err, -EINVAL, REASON_ProtocolError, "order: %s is missing or too long", key);
	return 0;
}

static int take_key(struct source *s, const cJSON *order, struct error *err)
{
	struct buf b = BUF_INIT(256);
	const char *text = json_str_or(order, "key", "");
	int r = base64_decode(text, strlen(text), &b);

	if (r == 0 && b.len == PM_KEY_SIZE)
		memcpy(s->key, b.data, PM_KEY_SIZE);
	else
		r = error_reason(err, -EINVAL, REASON_ProtocolError, "order: key is not %d bytes", PM_KEY_SIZE);
	if (b.data)
		explicit_bzero(b.data, b.len);
	buf_free(&b);
	return r;
}

static int take_order(struct source *s, const cJSON *order, struct error *err)
{
	struct journal_entry *j = &s->journal;
	int64_t port = PM_STREAM_PORT, timeout = 600;
	int r = take_text(order, "migration", j->migration, sizeof(j->migration), err);

	if (r == 0)
		r = take_text(order, "namespace", j->ns, sizeof(j->ns), err);
	if (r == 0)
		r = take_text(order, "name", j->name, sizeof(j->name), err);
	if (r == 0)
		r = take_text(order, "podUID", j->pod_uid, sizeof(j->pod_uid), err);
	if (r == 0)
		r = take_text(order, "podName", s->pod_name, sizeof(s->pod_name), err);
	if (r == 0 && json_int(order, "epoch", 0, INT64_MAX, &s->epoch) < 0)
		r = error_reason(err, -EINVAL, REASON_ProtocolError, "order: epoch is missing");
	s->precopy = strcmp(json_str_or(order, "strategy", "PreCopy"), "StopAndCopy") != 0;
	s->rounds_max = SOURCE_ROUNDS_DEFAULT;
	s->downtime_us = SOURCE_DOWNTIME_DEFAULT_US;
	json_int(order, "maxRounds", 1, SOURCE_ROUNDS_MAX, &s->rounds_max);
	json_int(order, "maxDowntimeMicros", 0, 3600000000, &s->downtime_us);
	j->remote = json_bool(order, "remote");
	json_int(order, "timeoutSeconds", 1, 100000, &timeout);
	s->deadline_us = clock_mono_us() + timeout * 1000000;
	if (r < 0 || !j->remote)
		return r;
	r = take_text(order, "podIP", j->pod_ip, sizeof(j->pod_ip), err);
	json_int(order, "port", 1, 65535, &port);
	j->port = (uint16_t)port;
	return r == 0 ? take_key(s, order, err) : r;
}

/* --- getting connected --- */

static int set_step(struct source *s, enum journal_step step, struct error *err)
{
	s->journal.step = step;
	return journal_write(s->o, &s->journal, err);
}

static int get_ready(struct source *s, struct error *err)
{
	int r = source_inspect(s, err);

	if (r < 0 || s->journal.remote)
		return r;
	r = record_report(s->record, SOURCE_Ready, source_report_json(s, NULL), NULL, err);
	if (r == 0)
		r = control_wait_destination(s->control, s->deadline_us, s->journal.pod_ip, sizeof(s->journal.pod_ip), &s->journal.port, err);
	if (r == 0)
		r = record_key(s->record, s->key, err);
	if (r == 0)
		record_progress(s->record, SOURCE_Connecting);
	return r;
}

/* The listener appears when the destination's agent has seen the pod: refused connections are tried again for a while. */
static int dial(struct source *s, struct error *err)
{
	int64_t deadline = clock_mono_us() + CONNECT_TIMEOUT_US;
	struct tls_stream *tls;
	struct wire *w;
	int fd, r;

	for (;;) {
		r = control_check(s->control, err);
		if (r < 0)
			return r;
		r = tcp_connect(s->journal.pod_ip, s->journal.port, deadline, &fd, err);
		if (r == 0 || r != -ECONNREFUSED || clock_mono_us() > deadline)
			break;
		usleep(20000);
	}
	if (r < 0)
		return error_reason(err, r, REASON_AgentUnavailable, "no podmigration-agent answers at %s port %u: %s", s->journal.pod_ip,
				    s->journal.port, strerror(-r));
	r = tls_connect(fd, s->journal.migration, s->key, PM_KEY_SIZE, clock_mono_us() + IDLE_US, &tls, err);
	if (r == 0)
		r = wire_new(tls, IDLE_US, &w, err);
	if (r < 0)
		return r;
	set_stream(s, w);
	/* An abort that came while there was no stream to interrupt. */
	return control_check(s->control, err);
}

static void hang_up(struct source *s)
{
	struct wire *w = s->wire;

	set_stream(s, NULL);
	wire_free(w);
}

static cJSON *hello_json(struct source *s, bool resume, struct error *err)
{
	cJSON *j = cJSON_CreateObject(), *names;

	cJSON_AddStringToObject(j, "migration", s->journal.migration);
	cJSON_AddStringToObject(j, "namespace", s->journal.ns);
	cJSON_AddStringToObject(j, "name", s->journal.name);
	cJSON_AddNumberToObject(j, "epoch", (double)s->epoch);
	cJSON_AddStringToObject(j, "decider", s->journal.remote ? "destination" : "source");
	cJSON_AddBoolToObject(j, "resume", resume);
	names = cJSON_AddArrayToObject(j, "containers");
	for (int i = 0; i < s->n; i++)
		cJSON_AddItemToArray(names, cJSON_CreateString(s->containers[i].info.name));
	if (!resume) {
		cJSON_AddNumberToObject(j, "ipcOwner", source_ipc_owner(s));
		cJSON_AddNumberToObject(j, "stateBytes", (double)source_state_bytes(s));
	}
	if (node_facts(s->o, !resume, j, err) < 0) {
		cJSON_Delete(j);
		return NULL;
	}
	return j;
}

/* A refusal or abort of the other side becomes our error. */
static int peer_error(const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *j = NULL;

	if (wire_json(f, &j, err) < 0)
		return -EPROTO;
	return error_reason(err, -ECONNABORTED, reason_from_name(json_str(j, "reason")), "%s",
			    json_str_or(j, "message", "the destination gave up"));
}

/* Receives the one frame that is expected next; anything else that is allowed there ends the migration. */
static int expect(struct source *s, enum wire_type type, int64_t idle_us, cJSON **ret, struct error *err)
{
	struct wire_frame f;
	int r = wire_receive(s->wire, idle_us, &f, err);

	if (r < 0)
		return r;
	if (f.type == WIRE_REFUSE || f.type == WIRE_ABORT)
		return peer_error(&f, err);
	if (f.type != type)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the destination sent frame type %d where %d was expected", f.type, type);
	return wire_json(&f, ret, err);
}

static int greet(struct source *s, bool resume, struct error *err)
{
	cleanup_json cJSON *hello = hello_json(s, resume, err);
	int r = hello ? wire_send_json(s->wire, WIRE_HELLO, WIRE_NO_CONTAINER, hello, err) : -EINVAL;

	cJSON_Delete(s->welcome);
	s->welcome = NULL;
	return r == 0 ? expect(s, WIRE_WELCOME, IDLE_US, &s->welcome, err) : r;
}

/* --- before the freeze --- */

/* Starting runc and CRIU takes longer than what they do then: here and there they are started while the pod runs. */
static int start_both(struct source *s, struct error *err)
{
	cleanup_json cJSON *started = cJSON_CreateObject(), *standby = NULL;
	cJSON *processes = cJSON_AddArrayToObject(started, "processes");
	int r = source_start_dumps(s, err);

	for (int i = 0; i < s->n; i++) {
		pid_t pids[SOURCE_PROCESSES_MAX];

		cJSON_AddItemToArray(processes, cJSON_CreateNumber(freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX)));
	}
	source_report_shared(s, started);
	if (r == 0)
		r = wire_send_json(s->wire, WIRE_STARTED, WIRE_NO_CONTAINER, started, err);
	return r == 0 ? expect(s, WIRE_STANDBY, START_TIMEOUT_US, &standby, err) : r;
}

/* --- the frozen part --- */

static int freeze(struct source *s, struct error *err)
{
	cleanup_json cJSON *j = NULL;
	int r = set_step(s, JOURNAL_FREEZE, err);

	if (r < 0)
		return r;
	if (s->record)
		record_progress(s->record, SOURCE_Freezing);
	s->mark[MARK_FREEZE] = clock_mono_us();
	s->frozen = true;       /* from here on, whatever freezer_freeze says, a thaw is due */
	r = freezer_freeze(&s->freezer, clock_mono_us() + FREEZE_TIMEOUT_US, err);
	if (r < 0)
		return error_reason(err, r, REASON_FreezeFailed, "%s", err->message);
	s->mark[MARK_FROZEN] = clock_mono_us();
	j = cJSON_CreateObject();
	cJSON_AddNumberToObject(j, "frozenMicros", (double)(s->mark[MARK_FROZEN] - s->mark[MARK_FREEZE]));
	return wire_send_json(s->wire, WIRE_FROZEN, WIRE_NO_CONTAINER, j, err);
}

static int send_state(struct source *s, struct error *err)
{
	int r = freeze(s, err);

	/* A remote source has given its word with the last byte: the destination may commit on its own. */
	if (r == 0 && s->journal.remote)
		r = set_step(s, JOURNAL_SENT, err);
	if (r == 0)
		r = source_send_all(s, err);
	if (r < 0)
		return r;
	s->mark[MARK_SENT] = clock_mono_us();
	if (s->record)
		record_progress(s->record, SOURCE_Restoring);
	return 0;
}

static int commit(struct source *s, struct error *err)
{
	enum record_decision d;
	bool not_applied = false;
	int r = control_check(s->control, err);

	if (r == 0)
		r = set_step(s, JOURNAL_COMMIT, err);
	if (r < 0)
		return r;
	d = record_decide(s->record, RECORD_COMMIT, clock_mono_us() + COMMIT_TIMEOUT_US, &not_applied, err);
	if (d == RECORD_COMMIT) {
		s->mark[MARK_COMMITTED] = clock_mono_us();
		return 0;
	}
	if (d == RECORD_ABORT)
		return control_check(s->control, err) < 0 ? -ECANCELED :
			error_reason(err, -ECANCELED, REASON_Cancelled, "the controller gave the migration up before the commit");
	if (not_applied)
		return error_wrap(err, -EIO, "the commit could not be recorded");
	return -EINPROGRESS;    /* nobody knows: stay frozen */
}

/* --- after the commit: only forward --- */

static int deliver_commit(struct source *s, struct error *err)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	int r;

	cJSON_AddNumberToObject(j, "epoch", (double)s->epoch);
	r = wire_send_json(s->wire, WIRE_COMMIT, WIRE_NO_CONTAINER, j, err);
	return r == 0 ? expect(s, WIRE_RUNNING, RUN_TIMEOUT_US, &s->running, err) : r;
}

/* Redials until the destination has answered: COMMIT is told (or, from a remote source, the outcome asked) as often as needed. */
static int finish(struct source *s, struct error *err)
{
	int r = -EPIPE;

	for (;;) {
		if (s->wire)
			r = s->journal.remote ? expect(s, WIRE_RUNNING, PREPARE_TIMEOUT_US, &s->running, err) : deliver_commit(s, err);
		/* An answer, good or bad, ends it; a lost stream does not. */
		if (r == 0)
			s->mark[MARK_RUNNING] = clock_mono_us();
		if (r == 0 || r == -ECONNABORTED || clock_mono_us() > s->deadline_us)
			return r;
		/* An abort that the controller orders a remote source is the recorded outcome. */
		if (s->journal.remote && control_check(s->control, err) < 0)
			return -ECONNABORTED;
		log_warning("the stream was lost after the point of no return; dialling again", LOG_S("err", err->message));
		hang_up(s);
		usleep(REDIAL_US);
		r = dial(s, err);
		if (r == 0)
			r = greet(s, true, err);
		if (r == -ECONNABORTED)
			return r;
		if (r < 0 && s->wire)
			hang_up(s);
	}
}

static void remove_images(struct source *s)
{
	char host[4096];
	struct error why = { 0 };

	if (s->run_dir[0] && agent_host_path(s->o, host, sizeof(host), "%s", s->run_dir) == 0 &&
	    tree_remove(AT_FDCWD, host, &why) < 0)
		log_error("memory images could not be removed", LOG_S("err", why.message));
}

/* The record must learn the end, or the source pod is never deleted: tried until it is told. */
static int report_running(struct source *s, const struct error *failure, struct error *err)
{
	for (;;) {
		int r = record_report(s->record, SOURCE_Running, source_report_json(s, failure), source_destination_json(s), err);

		if (r == 0 || r == -ENOENT || clock_mono_us() > s->deadline_us)
			return r;
		log_warning("the end could not be recorded yet", LOG_S("err", err->message));
		usleep(REDIAL_US);
	}
}

static int conclude_running(struct source *s, struct error *err)
{
	const char *text = json_str(s->running, "error");
	struct error failure = { 0 };
	int r = set_step(s, JOURNAL_RUNNING, err);

	if (text)
		error_reason(&failure, -EIO, REASON_RestoreFailed, "committed, but the destination could not run it: %s", text);
	if (s->record)
		r = report_running(s, text ? &failure : NULL, err);
	log_info("the pod runs at the destination", LOG_S("pod", s->pod_name), LOG_S("migration", s->journal.migration),
		 LOG_N("downtimeMicros", s->mark[MARK_FREEZE] ? s->mark[MARK_RUNNING] - s->mark[MARK_FREEZE] : -1));
	/* Nothing is owed any more: the containers stay frozen until they are deleted. */
	if (r == 0)
		r = journal_remove(s->o, s->journal.migration, err);
	return r;
}

/* Committed, and the destination does not answer or says that it failed: the source stays frozen, and a person is told. */
static int conclude_lost(struct source *s, int r, struct error *err)
{
	struct error why = { 0 };

	if (err->reason == REASON_NONE)
		err->reason = REASON_DestinationLost;
	if (s->record && record_report(s->record, SOURCE_Committed, source_report_json(s, err), source_destination_json(s), &why) < 0)
		log_error("the loss could not be recorded", LOG_S("err", why.message));
	return r;
}

/* --- before the commit: back --- */

static void tell_abort(struct source *s, const struct error *cause)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	struct error ignored = { 0 };

	if (!s->wire)
		return;
	cJSON_AddStringToObject(j, "reason", reason_name(cause->reason));
	cJSON_AddStringToObject(j, "message", cause->message);
	wire_send_json(s->wire, WIRE_ABORT, WIRE_NO_CONTAINER, j, &ignored);
}

/* CRIU of a worker that crashed would hold the tasks for ever. */
static void kill_left_dumps(struct source *s)
{
	for (int i = 0; i < s->n; i++) {
		char work[600];
		struct error why = { 0 };

		if (path_format(work, sizeof(work), "%s/%d/work", s->run_dir, i) == 0 && runc_dump_kill_left(&s->runc, work, &why) < 0)
			log_error("CRIU still holds a container", LOG_S("container", s->containers[i].info.name), LOG_S("err", why.message));
	}
}

/* The thaw comes first: everything else can wait for it. */
static void roll_back(struct source *s, struct error *cause)
{
	struct error why = { 0 };

	if (cause->reason == REASON_NONE)
		cause->reason = REASON_InternalError;
	source_end_dumps(s, true);
	if (s->frozen) {
		kill_left_dumps(s);
		if (freezer_thaw(&s->freezer, &why) < 0)
			error_wrap(cause, 0, "THE SOURCE COULD NOT BE THAWED (%s); thaw its cgroup by hand", why.message);
		else
			s->frozen = false;
	}
	log_warning("the migration was given up; the source runs", LOG_S("pod", s->pod_name), LOG_S("migration", s->journal.migration),
		    LOG_S("reason", reason_name(cause->reason)), LOG_S("err", cause->message));
	tell_abort(s, cause);
	if (s->record && record_report(s->record, SOURCE_Aborted, source_report_json(s, cause), source_destination_json(s), &why) < 0)
		log_error("the abort could not be recorded", LOG_S("err", why.message));
	if (!s->frozen)
		journal_remove(s->o, s->journal.migration, &why);
}

/* --- the whole --- */

static int migrate(struct source *s, struct error *err)
{
	int r = get_ready(s, err);

	if (r == 0)
		r = dial(s, err);
	if (r == 0)
		r = greet(s, false, err);
	if (r == 0)
		r = control_check(s->control, err);
	if (r == 0)
		r = start_both(s, err);
	if (r == 0)
		r = source_precopy(s, err);
	if (r == 0)
		r = control_check(s->control, err);
	if (r == 0)
		r = send_state(s, err);
	if (r < 0 || s->journal.remote)
		return r;
	r = expect(s, WIRE_PREPARED, PREPARE_TIMEOUT_US, &s->prepared, err);
	if (r < 0)
		return r;
	s->mark[MARK_PREPARED] = clock_mono_us();
	return commit(s, err);
}

/*
 * An error is the cause the person shall read: a stream that broke because an abort was ordered is the abort.
 */
static void find_cause(struct source *s, struct error *err)
{
	struct error order = { 0 };

	if (control_check(s->control, &order) < 0)
		*err = order;
}

static int run_new(struct source *s, struct error *err)
{
	int r = migrate(s, err);

	if (r == -EINPROGRESS) {
		log_error("the outcome of the commit is not known; the source stays frozen until it is", LOG_S("err", err->message));
		return r;
	}
	/* A remote source that has sent everything may not go back on its own word. */
	if (r < 0 && !(s->journal.remote && s->mark[MARK_SENT])) {
		find_cause(s, err);
		roll_back(s, err);
		return r;
	}
	r = finish(s, err);
	source_end_dumps(s, r == -ECONNABORTED);
	if (r == -ECONNABORTED && s->journal.remote) {
		roll_back(s, err);
		return r;
	}
	return r == 0 ? conclude_running(s, err) : conclude_lost(s, r, err);
}

/* After a crash of the worker or the agent, with the pod still frozen: the record decides, and is made to decide. */
static int run_resume(struct source *s, struct error *err)
{
	enum record_decision d = RECORD_COMMIT;
	int r;

	r = source_inspect(s, err);
	if (r < 0)
		return r;
	s->frozen = true;
	if (!s->journal.remote)
		d = record_decide(s->record, RECORD_ABORT, s->deadline_us, NULL, err);
	else if (s->journal.step < JOURNAL_SENT)
		d = RECORD_ABORT;
	if (d == RECORD_UNDECIDED)
		return -EINPROGRESS;
	if (d == RECORD_ABORT) {
		error_reason(err, -ECANCELED, REASON_InternalError, "the source agent was restarted before the commit");
		roll_back(s, err);
		return 0;
	}
	if (!s->journal.remote) {
		r = record_key(s->record, s->key, err);
		if (r < 0)
			return r;
	}
	r = finish(s, err);
	if (r == -ECONNABORTED && s->journal.remote)
		roll_back(s, err);
	return r == 0 ? conclude_running(s, err) : conclude_lost(s, r, err);
}

static int prepare(struct source *s, const cJSON *order, struct error *err)
{
	int r = take_order(s, order, err);

	if (r < 0)
		return r;
	if (json_bool(order, "resume")) {
		r = journal_read(s->o, s->journal.migration, &s->journal, err);
		if (r < 0)
			return r;
	}
	if (path_format(s->run_dir, sizeof(s->run_dir), "%s/source/%s", PM_RUN_DIR, s->journal.migration) < 0)
		return error_set(err, -ENAMETOOLONG, "image path too long");
	if (!s->journal.remote)
		r = record_open(s->o, s->journal.ns, s->journal.name, s->journal.migration, &s->record, err);
	return r;
}

int agent_source(const struct agent_options *o, int control_fd)
{
	struct source *s = calloc(1, sizeof(*s));
	cJSON *order = NULL;
	struct error err = { 0 };
	int r;

	if (!s)
		return 1;
	s->o = o;
	pthread_mutex_init(&s->wire_lock, NULL);
	pthread_mutex_init(&s->volumes_lock, NULL);
	pthread_cond_init(&s->volumes_done, NULL);
	s->runc = (struct runc){ .host_pid = o->host_pid, .root = o->runc_root, .programs = INSTALL_DIR, .netns_fd = -1 };
	r = control_start(control_fd, &s->control, &order, &err);
	if (r == 0)
		r = prepare(s, order, &err);
	if (r == 0) {
		control_on_abort(s->control, interrupt_stream, s);
		r = json_bool(order, "resume") ? run_resume(s, &err) : run_new(s, &err);
	}
	if (r < 0)
		log_error("migration failed", LOG_S("migration", s->journal.migration), LOG_S("err", err.message));
	cJSON_Delete(order);
	hang_up(s);
	remove_images(s);
	source_release(s);
	free(s);
	return r == 0 ? 0 : r == -EINPROGRESS ? 3 : 1;
}
