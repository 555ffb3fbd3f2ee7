/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "migration/reason.h"
#include "net/address.h"
#include "net/reset.h"

/*
 * What the source does in each state of its machine.  A deed may be done again, after a failure or by another worker after a crash: what it finds done already
 * is done.  It answers with what came of it, and leaves the reason in s->err when that was not good.
 */

#define FREEZE_TIMEOUT_US 3000000
#define CONNECT_TIMEOUT_US 20000000
#define REDIAL_TIMEOUT_US 5000000       /* one try; the driver tries again */
#define START_TIMEOUT_US 60000000
#define PREPARE_TIMEOUT_US 120000000
#define RUN_TIMEOUT_US 60000000
#define ANSWER_MS 1000          /* well before the controller looks for another way (LIMIT_HEARD) */
#define COMPLETE_IDLE_US 60000000       /* PostCopy: as long as the destination's patience */
#define COMMIT_TIMEOUT_US 20000000      /* then the pod goes back, if the record lets it */
#define DECIDE_TIMEOUT_US 5000000       /* one try; the driver tries again */
#define LOST_PATIENCE_US 60000000       /* a committed destination that is silent for so long is reported, and dialled on */
#define LOST_PAUSE_US 20000000

static enum input ok_or_failed(int r)
{
	return r < 0 ? INPUT_Failed : INPUT_Ok;
}

/* Of what was tried on the stream. */
static enum input lost_or_given_up(const struct source *s)
{
	return s->peer_gave_up ? INPUT_PeerAbort : INPUT_StreamLost;
}

/* The same, once everything was sent: only from then on the destination can have anything to deny. */
static enum input lost_or_free(const struct source *s)
{
	return s->peer_never_ran ? INPUT_NeverRan : lost_or_given_up(s);
}

static enum input what_failed(struct source *s)
{
	source_hear_last_word(s, &s->err);
	return s->peer_gave_up ? INPUT_PeerAbort : s->err.reason == REASON_TransferFailed ? INPUT_StreamLost : INPUT_Failed;
}

/* --- before the freeze --- */

static enum input inspect(void *ctx)
{
	struct source *s = ctx;
	int r = source_inspect(s, &s->err);

	/* Of an order a participant need tell nobody. */
	s->untold = r < 0 && s->journal.remote && !s->driver.ordered(s);
	return ok_or_failed(r);
}

static enum input report_ready(void *ctx)
{
	struct source *s = ctx;
	struct journal_entry *j = &s->journal;
	int r = record_report(s->record, SOURCE_Ready, source_report_json(s, NULL), NULL, &s->err);

	if (r == -ENOENT)
		return INPUT_RecordGone;
	if (r == 0)
		r = control_wait_destination(s->control, s->deadline_us, j->pod_ip, sizeof(j->pod_ip), &j->port, &s->err);
	if (r == 0)
		r = source_find_key(s, &s->err);
	if (r < 0)
		return INPUT_Failed;
	record_progress(s->record, SOURCE_Connecting);
	return INPUT_Address;
}

static enum input dial(void *ctx)
{
	struct source *s = ctx;

	if (source_keep_key(s, &s->err) < 0)
		return INPUT_Failed;
	return ok_or_failed(source_dial(s, CONNECT_TIMEOUT_US, &s->err));
}

/* With WELCOME the destination has compared both nodes, and found its containers and room. */
static enum input say_hello(void *ctx)
{
	struct source *s = ctx;

	if (source_greet(s, false, &s->err) < 0)
		return lost_or_given_up(s);
	if (!s->dry_run)
		return INPUT_Welcome;
	error_reason(&s->err, -ECANCELED, REASON_DryRun, "dry run: the agent of node %s, the destination's, found nothing in the way", json_str_or(s->welcome, "node", "?"));
	return INPUT_Rehearsed;
}

/* Whose memory may come later: what CRIU cannot fill while it runs goes as with StopAndCopy, and so does all of it to an agent that does not know PostCopy. */
static void take_offer(struct source *s, const cJSON *standby)
{
	const cJSON *list = json_at(standby, "later");

	for (int i = 0; cJSON_IsArray(list) && i < s->n; i++)
		s->containers[i].later = cJSON_IsTrue(cJSON_GetArrayItem(list, i));
}

/* Starting runc and CRIU takes longer than what they do then: here and there they are started while the pod runs. */
static int start_both(struct source *s)
{
	cleanup_json cJSON *started = cJSON_CreateObject(), *standby = NULL;
	cJSON *processes = cJSON_AddArrayToObject(started, "processes");
	int r = source_start_dumps(s, &s->err);

	for (int i = 0; i < s->n; i++) {
		pid_t pids[SOURCE_PROCESSES_MAX];

		cJSON_AddItemToArray(processes, cJSON_CreateNumber(freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX)));
	}
	source_report_shared(s, started);
	if (s->postcopy)
		cJSON_AddBoolToObject(started, "later", true);
	if (r == 0)
		r = wire_send_json(s->wire, WIRE_STARTED, WIRE_NO_CONTAINER, started, &s->err);
	if (r == 0)
		r = source_expect(s, WIRE_STANDBY, START_TIMEOUT_US, &standby, &s->err);
	if (r == 0 && s->postcopy)
		take_offer(s, standby);
	return r;
}

static enum input send_ahead(void *ctx)
{
	struct source *s = ctx;
	struct source_live *live;
	int r = start_both(s);

	live = r == 0 ? source_live_begin(s) : NULL;
	if (r == 0)
		r = source_files_ahead(s, &s->err);
	if (r == 0)
		r = source_precopy(s, &s->err);
	source_live_end(live);
	return r < 0 ? what_failed(s) : INPUT_Ok;
}

/* --- the journal --- */

static enum input note(struct source *s, enum journal_step step)
{
	s->journal.step = step;
	return ok_or_failed(journal_write(s->o, &s->journal, &s->err));
}

static enum input note_freeze(void *ctx)
{
	struct source *s = ctx;

	source_leave_services(s);
	source_fence_look(s);
	source_await_services(s);
	return note(s, JOURNAL_FREEZE);
}

/* A remote source gives its word with the last byte: the destination may commit on its own. */
static enum input note_sent(void *ctx)
{
	return note(ctx, JOURNAL_SENT);
}

static enum input note_commit(void *ctx)
{
	struct source *s = ctx;
	enum input in = note(s, JOURNAL_COMMIT);

	return in == INPUT_Ok ? ok_or_failed(source_fence_close(s, &s->err)) : in;
}

/* CRIU of a worker that crashed would hold the tasks for ever, also when they are killed: known by the folders of that worker. */
static void kill_left_dumps(struct source *s)
{
	for (int i = 0; i < WIRE_CONTAINERS_MAX; i++) {
		char work[600], host[4096];
		struct error why = { 0 };

		if (path_format(work, sizeof(work), "%s/%d/work", s->run_dir, i) < 0 || agent_host_path(s->o, host, sizeof(host), "%s", work) < 0 ||
		    access(host, F_OK) < 0)
			return;
		if (runc_dump_kill_left(&s->runc, work, &why) < 0)
			log_error("CRIU still holds a container", LOG_S("migration", s->journal.migration), LOG_N("container", i), LOG_S("err", why.message));
	}
}

/* They have done their work: each by its own worker, or by the one who comes after it.  The pod may have been killed while they held it. */
static void end_dumps(struct source *s)
{
	struct error ignored = { 0 };   /* it is tried again at the end */

	source_end_dumps(s, false);
	if (s->resumed)
		kill_left_dumps(s);
	source_thaw_dead(s, &ignored);
}

static enum input note_lost(void *ctx)
{
	struct source *s = ctx;

	end_dumps(s);
	return note(s, JOURNAL_LOST);
}

static enum input note_back(void *ctx)
{
	return note(ctx, JOURNAL_BACK);
}

/*
 * Who was connected to the pod, or connects to its old address before the Service's endpoint has changed, shall know at once and connect anew, not wait for an answer of
 * frozen processes until its own patience ends.  Only when the pod runs there: until then the source is all there is.
 */
static void hang_up_peers(struct source *s)
{
	struct error why = { 0 };
	bool runs = s->running && !json_str(s->running, "error");

	if (runs && s->runc.netns_fd >= 0 && tcp_reset_all(s->runc.netns_fd, &s->listened, &why) < 0)
		log_warning("peers of the pod will notice by their own timeouts that it has moved", LOG_S("migration", s->journal.migration), LOG_S("err", why.message));
}

static enum input note_running(void *ctx)
{
	struct source *s = ctx;
	enum input in = note(s, JOURNAL_RUNNING);

	end_dumps(s);
	if (in == INPUT_Ok) {
		source_note_signals(s);
		hang_up_peers(s);
	}
	return in;
}

/* Nothing is owed any more. */
static enum input remove_journal(void *ctx)
{
	struct source *s = ctx;
	int r = source_thaw_dead(s, &s->err);   /* nobody looks after it from here on */

	return ok_or_failed(r < 0 ? r : journal_remove(s->o, s->journal.migration, &s->err));
}

/* --- the frozen part --- */

/* The destination must have these before it can restore the sockets.  All containers of a pod share one network namespace. */
static int add_sockets(struct source *s, cJSON *j)
{
	struct address list[ADDRESSES_MAX];
	cJSON *a = cJSON_AddArrayToObject(j, "addresses");
	int n = addresses_bound(s->runc.netns_fd, list, &s->err), kept;

	for (int i = 0; i < n; i++)
		cJSON_AddItemToArray(a, cJSON_CreateString(list[i].text));
	if (n < 0)
		return n;
	kept = source_keep_connections(s, a);
	if (kept > 0)
		cJSON_AddNumberToObject(j, "connections", kept);
	return 0;
}

static enum input freeze(void *ctx)
{
	struct source *s = ctx;
	cleanup_json cJSON *j = NULL;
	int r;

	if (s->record)
		record_progress(s->record, SOURCE_Freezing);
	s->frozen = true;       /* from here on, whatever source_freeze says, a thaw is due */
	/* Now, and not behind it: CRIU has the frozen processes run code of its own, and one that has used up its share would come to the freeze only in the next period. */
	r = source_throttle_lift(s, &s->err);
	if (r == 0)
		r = source_freeze(s, FREEZE_TIMEOUT_US, &s->err);
	else
		error_reason(&s->err, r, REASON_FreezeFailed, "%s", s->err.message);
	if (r < 0)
		return INPUT_Failed;
	s->mark[MARK_FROZEN] = clock_mono_us();
	j = cJSON_CreateObject();
	cJSON_AddNumberToObject(j, "frozenMicros", (double)(s->mark[MARK_FROZEN] - s->mark[MARK_FREEZE]));
	source_report_files(s, j);
	r = add_sockets(s, j);
	return ok_or_failed(r < 0 ? r : wire_send_json(s->wire, WIRE_FROZEN, WIRE_NO_CONTAINER, j, &s->err));
}

static enum input send_state(void *ctx)
{
	struct source *s = ctx;

	if (source_send_all(s, &s->err) < 0)
		return what_failed(s);
	s->mark[MARK_SENT] = clock_mono_us();
	if (s->record)
		record_progress(s->record, SOURCE_Restoring);
	return INPUT_Ok;
}

static enum input await_prepared(struct source *s)
{
	int r = source_expect(s, WIRE_PREPARED, PREPARE_TIMEOUT_US, &s->prepared, &s->err);

	if (r < 0)
		return r == -ETIMEDOUT ? INPUT_Timer : lost_or_given_up(s);
	s->mark[MARK_PREPARED] = clock_mono_us();
	return INPUT_Prepared;
}

/* RUNNING, with or without an error in it. */
static enum input await_running(struct source *s, int64_t idle_us)
{
	const char *text;

	if (source_expect(s, WIRE_RUNNING, idle_us, &s->running, &s->err) < 0)
		return lost_or_free(s);
	if (!s->mark[MARK_RUNNING])
		s->mark[MARK_RUNNING] = clock_mono_us();
	text = json_str(s->running, "error");
	if (!text)
		return INPUT_Running;
	error_reason(&s->err, -EIO, REASON_RestoreFailed, "committed, but the destination could not run it: %s", text);
	return INPUT_RunningFailed;
}

/*
 * Usually the answer comes in some 10 ms, and CRIU is ended behind it.  Without one the pod may be deleted all the same, by the destination's receipt or its own report: CRIU must be gone by then, or it would
 * leave the cgroup of killed processes frozen, which runc takes for a container that is paused and cannot be deleted.
 */
static void end_dumps_unless_answered(struct source *s)
{
	struct pollfd p = { wire_fd(s->wire), POLLIN, 0 };

	if (!s->postcopy && !wire_has_more(s->wire) && poll(&p, 1, ANSWER_MS) == 0)
		end_dumps(s);
}

static enum input await(void *ctx)
{
	struct source *s = ctx;
	enum input in;

	if (s->driver.side == SIDE_DECIDER)
		return await_prepared(s);
	end_dumps_unless_answered(s);
	in = await_running(s, PREPARE_TIMEOUT_US);
	return in == INPUT_StreamLost && source_pod_gone(s) ? INPUT_PodGone : in;
}

/* --- the outcome --- */

static enum input record_commit(void *ctx)
{
	struct source *s = ctx;
	cleanup_json cJSON *restored = source_restored_json(s);
	/* Written once: who has read Abort need not ask, and be refused, while the pod stands still. */
	enum input in = control_abort_recorded(s->control) ? INPUT_RecordAbort : record_decide(s->record, true, restored, clock_mono_us() + COMMIT_TIMEOUT_US, &s->err);

	if (in == INPUT_RecordCommit)
		s->mark[MARK_COMMITTED] = clock_mono_us();
	else if (in == INPUT_RecordAbort)
		error_reason(&s->err, -ECANCELED, REASON_Cancelled, "the controller gave the migration up before the commit");
	else
		error_wrap(&s->err, -EIO, "the commit could not be recorded");
	return in;
}

/* Also a refused Abort leaves the outcome open: what this agent asked for before may still be applied. */
static enum input record_abort(void *ctx)
{
	struct source *s = ctx;
	enum input in = record_decide(s->record, false, NULL, clock_mono_us() + DECIDE_TIMEOUT_US, &s->err);

	if (in == INPUT_RecordAbort)
		error_reason(&s->err, -ECANCELED, s->resumed ? REASON_AgentRestarted : REASON_TimedOut, s->resumed ? "the source agent was restarted before the commit" :
			     "the commit could not be recorded in time");
	if (in == INPUT_RecordGone && s->journal.step != JOURNAL_FREEZE) {
		log_error("the record is gone, and with it the outcome; the source stays frozen until its pod is deleted",
			  LOG_S("migration", s->journal.migration), LOG_S("pod", s->journal.pod_name));
		return source_pod_gone(s) ? INPUT_PodGone : in;
	}
	if (in == INPUT_RecordUnknown || in == INPUT_RecordRefused) {
		log_error("the outcome is not known; the source stays frozen until it is", LOG_S("migration", s->journal.migration),
			  LOG_S("err", s->err.message));
		return INPUT_RecordUnknown;
	}
	return in;
}

static enum input send_commit(void *ctx)
{
	struct source *s = ctx;
	cleanup_json cJSON *j = cJSON_CreateObject();

	cJSON_AddNumberToObject(j, "epoch", (double)s->epoch);
	if (wire_send_json(s->wire, WIRE_COMMIT, WIRE_NO_CONTAINER, j, &s->err) < 0)
		return INPUT_StreamLost;
	end_dumps_unless_answered(s);
	return await_running(s, RUN_TIMEOUT_US);
}

/* PostCopy: it runs there, and its memory is still here. */
static enum input send_rest(void *ctx)
{
	struct source *s = ctx;
	cleanup_json cJSON *complete = NULL;
	const char *text;

	if (!json_bool(s->running, "later"))
		return INPUT_Ok;
	if (s->record)
		record_progress(s->record, SOURCE_Completing);
	if (source_expect(s, WIRE_COMPLETE, COMPLETE_IDLE_US, &complete, &s->err) < 0)
		return INPUT_StreamLost;
	s->mark[MARK_COMPLETE] = clock_mono_us();
	text = json_str(complete, "error");
	if (!text)
		return INPUT_Ok;
	error_reason(&s->err, -EIO, REASON_RestoreFailed, "committed, but the destination did not get all of its memory: %s", text);
	return INPUT_RunningFailed;
}

static bool is_lost(struct source *s)
{
	if (!s->patience_us)
		s->patience_us = clock_mono_us() + LOST_PATIENCE_US;
	if (clock_mono_us() < s->patience_us)
		return false;
	s->patience_us = 0;
	if (s->err.reason == REASON_NONE)
		s->err.reason = REASON_DestinationLost;
	return true;
}

/* By the destination's receipt, which came home another way, when the stream never did again. */
static bool has_succeeded(struct source *s)
{
	cleanup_json cJSON *o = NULL;
	struct error ignored = { 0 };

	return source_pod_gone(s) && record_get(s->record, &o, &ignored) == 0 && phase_from_name(json_str(o, "status/phase")) == PHASE_Succeeded;
}

static enum input redial(void *ctx)
{
	struct source *s = ctx;
	bool decider = s->driver.side == SIDE_DECIDER;

	if (decider && has_succeeded(s))
		return INPUT_RecordEnded;
	if (decider ? is_lost(s) : source_pod_gone(s))
		return decider ? INPUT_Timer : INPUT_PodGone;
	/* Of a worker before: the pod may be deleted without a word to us, and CRIU must not hold it then. */
	if (!s->postcopy)
		end_dumps(s);
	if (source_find_key(s, &s->err) < 0 || source_dial(s, REDIAL_TIMEOUT_US, &s->err) < 0) {
		log_warning("the destination does not answer; dialling again", LOG_S("migration", s->journal.migration), LOG_S("err", s->err.message));
		return INPUT_Failed;
	}
	if (source_greet(s, true, &s->err) < 0)
		return lost_or_free(s);
	s->patience_us = 0;
	return INPUT_Welcome;
}

/* Committed, and the destination does not answer or says that it failed: the source stays frozen, and a person is told. */
static enum input report_lost(void *ctx)
{
	struct source *s = ctx;
	struct error why = { 0 };
	int r = record_report(s->record, SOURCE_Committed, source_report_json(s, &s->err), source_destination_json(s), &why);

	if (r == -ENOENT && source_pod_gone(s))
		return INPUT_PodGone;
	if (r < 0)
		log_error("the loss could not be recorded", LOG_S("migration", s->journal.migration), LOG_S("err", why.message));
	s->driver.pause(s, LOST_PAUSE_US);
	return INPUT_Timer;
}

/* The record must learn the end, or the source pod is never deleted: the driver tries until it is told. */
static enum input report_running(void *ctx)
{
	struct source *s = ctx;
	int r = record_report(s->record, SOURCE_Running, source_report_json(s, NULL), source_destination_json(s), &s->err);

	if (r < 0 && r != -ENOENT)
		log_warning("the end could not be recorded yet", LOG_S("migration", s->journal.migration), LOG_S("err", s->err.message));
	return r == -ENOENT ? INPUT_RecordGone : ok_or_failed(r);
}

static enum input send_ended(void *ctx)
{
	struct source *s = ctx;
	cleanup_json cJSON *j = cJSON_CreateObject();

	if (!s->wire)
		return INPUT_Failed;
	return wire_send_json(s->wire, WIRE_ENDED, WIRE_NO_CONTAINER, j, &s->err) < 0 ? INPUT_StreamLost : INPUT_Ok;
}

/* --- back --- */

/* A person shall read it at once, while it is tried again. */
static void tell_frozen(struct source *s)
{
	struct error why = { 0 }, ignored = { 0 };

	error_reason(&why, -EIO, REASON_FreezeFailed, PM_NOT_THAWED " (%s); it is tried again; else thaw its cgroup by hand", s->err.message);
	log_error("the source could not be thawed", LOG_S("migration", s->journal.migration), LOG_S("err", s->err.message));
	if (s->record && !s->tells_frozen)
		s->tells_frozen = record_report(s->record, SOURCE_Freezing, source_report_json(s, &why), NULL, &ignored) == 0;
}

static enum input thaw(void *ctx)
{
	struct source *s = ctx;
	struct error slow = { 0 };
	int64_t start = clock_mono_us();
	int fenced = source_fence_lift(s, &s->err), r = fenced;

	/* Slow is better than frozen; that it is slow is told with the abort, and the daemon goes on trying. */
	source_throttle_lift(s, &slow);
	source_let_go(s);
	if (r == 0 && !s->freezer_ready)
		r = source_find(s, &s->err);
	if (fenced == 0 && r < 0 && s->err.reason == REASON_PodNotRunning)
		return INPUT_Ok;        /* nothing is there that could be frozen */
	if (r == 0 && s->resumed) {
		kill_left_dumps(s);
		source_leave_connections(s);
	}
	if (r == 0)
		r = freezer_thaw(&s->freezer, &s->err);
	if (r < 0) {
		tell_frozen(s);
		return INPUT_Failed;
	}
	s->frozen = false;
	s->thaw_us = clock_mono_us() - start;
	source_return_to_services(s);
	return INPUT_Ok;
}

/*
 * What has been found before there was a stream the agent at home hears by the stream all the same, or it would wait for HELLO until its patience ends: a participant has no record to write to.  HELLO
 * tells it; to a destination of an older version, which welcomes us then, the ABORT that follows.
 */
static void tell_found(struct source *s)
{
	struct error why = { 0 };
	int r = source_keep_key(s, &why);

	s->untold = false;
	if (r == 0)
		r = source_dial(s, CONNECT_TIMEOUT_US, &why);
	if (r == 0)
		r = source_greet(s, false, &why);
	if (r < 0 && !s->peer_gave_up)
		log_warning("what was found could not be told to the destination", LOG_S("migration", s->journal.migration), LOG_S("err", why.message));
	if (r < 0)
		source_hang_up(s);
}

static enum input send_abort(void *ctx)
{
	struct source *s = ctx;
	struct error slow = { 0 };
	cleanup_json cJSON *j = cJSON_CreateObject();

	source_return_to_services(s);
	source_end_dumps(s, true);      /* let go or never begun, and the pod runs: nobody waits for their end */
	if (source_throttle_lift(s, &slow) < 0)
		error_also(&s->cause, &slow);
	log_warning("the migration was given up; the source runs", LOG_S("pod", s->journal.pod_name), LOG_S("migration", s->journal.migration),
		    LOG_S("reason", reason_name(s->cause.reason)), LOG_S("err", s->cause.message), LOG_N("thawMicros", s->thaw_us));
	if (s->untold)
		tell_found(s);
	if (!s->wire)
		return INPUT_Failed;
	cJSON_AddStringToObject(j, "reason", reason_name(s->cause.reason));
	cJSON_AddStringToObject(j, "message", s->cause.message);
	return ok_or_failed(wire_send_json(s->wire, WIRE_ABORT, WIRE_NO_CONTAINER, j, &s->err));
}

static bool source_has_told(struct source *s)
{
	cleanup_json cJSON *o = NULL;
	struct error ignored = { 0 };

	return record_get(s->record, &o, &ignored) == 0 && source_state_from_name(json_str(o, "status/source/state")) >= SOURCE_Running;
}

static enum input report_aborted(void *ctx)
{
	struct source *s = ctx;
	cJSON *source = source_report_json(s, &s->cause), *destination = source_destination_json(s);
	int r = s->journal.step == JOURNAL_BACK ? record_report(s->record, SOURCE_Aborted, source, destination, &s->err) :
		record_give_up(s->record, source, destination, &s->err);

	/* Another last word stands (a worker that crashed had told it): nothing is owed. */
	if (r == -EINVAL && source_has_told(s))
		return INPUT_Ok;
	if (r < 0 && r != -ENOENT)
		log_warning("the abort could not be recorded yet", LOG_S("migration", s->journal.migration), LOG_S("err", s->err.message));
	return r == -ENOENT ? INPUT_RecordGone : ok_or_failed(r);
}

#define OK_FAILED (MAY(Ok) | MAY(Failed))
#define STREAM (MAY(PeerAbort) | MAY(StreamLost))

const struct deed_row source_deeds[DEED_COUNT] = {
	[DEED_Inspect] = { inspect, OK_FAILED, 0, 0 },
	[DEED_ReportReady] = { report_ready, MAY(Address) | MAY(Failed) | MAY(RecordGone), 0, 0 },
	[DEED_Dial] = { dial, OK_FAILED, 0, 0 },
	[DEED_Hello] = { say_hello, MAY(Welcome) | MAY(Rehearsed) | STREAM, 0, 0 },
	[DEED_SendAhead] = { send_ahead, OK_FAILED | STREAM, 0, 0 },
	[DEED_JournalFreeze] = { note_freeze, OK_FAILED, 0, 0 },
	[DEED_JournalSent] = { note_sent, OK_FAILED, 0, 0 },
	[DEED_JournalCommit] = { note_commit, OK_FAILED, 0, 0 },
	[DEED_JournalLost] = { note_lost, OK_FAILED, 0, 0 },
	[DEED_JournalBack] = { note_back, OK_FAILED, 0, 0 },
	[DEED_JournalRunning] = { note_running, OK_FAILED, 0, 0 },
	[DEED_JournalRemove] = { remove_journal, OK_FAILED, 0, 0 },
	[DEED_Freeze] = { freeze, OK_FAILED, 0, 0 },
	[DEED_SendState] = { send_state, OK_FAILED | STREAM, 0, 0 },
	[DEED_Wait] = { await, STREAM, MAY(Prepared) | MAY(Timer), MAY(Running) | MAY(RunningFailed) | MAY(NeverRan) | MAY(PodGone) },
	[DEED_RecordCommit] = { record_commit, MAY(RecordCommit) | MAY(RecordAbort) | MAY(RecordRefused) | MAY(RecordUnknown) | MAY(RecordGone), 0, 0 },
	[DEED_RecordAbort] = { record_abort, MAY(RecordCommit) | MAY(RecordAbort) | MAY(RecordUnknown) | MAY(RecordGone) | MAY(PodGone), 0, 0 },
	[DEED_SendCommit] = { send_commit, MAY(Running) | MAY(RunningFailed) | MAY(NeverRan) | STREAM, 0, 0 },
	[DEED_SendRest] = { send_rest, MAY(Ok) | MAY(RunningFailed) | MAY(StreamLost), 0, 0 },
	[DEED_Redial] = { redial, MAY(Welcome) | MAY(Failed) | MAY(NeverRan) | STREAM, MAY(Timer) | MAY(RecordEnded), MAY(PodGone) },
	[DEED_ReportLost] = { report_lost, MAY(Timer) | MAY(PodGone), 0, 0 },
	[DEED_ReportRunning] = { report_running, OK_FAILED | MAY(RecordGone), 0, 0 },
	[DEED_SendEnded] = { send_ended, OK_FAILED | MAY(StreamLost), 0, 0 },
	[DEED_Thaw] = { thaw, OK_FAILED, 0, 0 },
	[DEED_SendAbort] = { send_abort, OK_FAILED, 0, 0 },
	[DEED_ReportAborted] = { report_aborted, OK_FAILED | MAY(RecordGone), 0, 0 },
};
