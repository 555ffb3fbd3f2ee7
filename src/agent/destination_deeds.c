/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "handshake.h"
#include "migration/reason.h"

/*
 * What the destination does in each state of its machine.  A deed may be done again, after a failure or by another worker after a crash: what it finds done
 * already is done.  It answers with what came of it, and leaves the reason in d->err when that was not good.
 */

#define MONITORS_TIMEOUT_US 20000000
#define MONITORS_LOOK_US 20000
#define COMMIT_TIMEOUT_US 60000000
#define DECIDE_TIMEOUT_US 5000000       /* one try; the driver tries again */
#define PAUSE_US 1000000
#define COMPLETE_IDLE_US 60000000       /* as long as the filler's patience */

static bool decides(const struct destination *d)
{
	return d->driver.side == SIDE_DECIDER;
}

static enum input ok_or_failed(int r)
{
	return r < 0 ? INPUT_Failed : INPUT_Ok;
}

/* --- the state comes in --- */

/* How many are missing when they are not waited for (patience_us 0), else an error. */
static int connect_monitors(struct destination *d, int64_t patience_us)
{
	int64_t deadline = clock_mono_us() + patience_us;
	int missing;

	/* The kubelet starts a pod's containers one after the other. */
	while ((missing = destination_match(d, &d->err)) > 0 && clock_mono_us() < deadline)
		usleep(MONITORS_LOOK_US);
	if (missing < 0 || (missing > 0 && !patience_us))
		return missing;
	if (missing > 0)
		return error_reason(&d->err, -ETIMEDOUT, REASON_DestinationPodFailed, "%d of %d containers did not start at the destination", missing,
				    d->n);
	for (int i = 0; i < d->n; i++) {
		int r = d->containers[i].monitor ? 0 : monitor_connect(d->o, d->containers[i].info.id, &d->containers[i].monitor, &d->err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int open_record(struct destination *d, struct error *err)
{
	return d->record ? 0 : record_open(d->o, d->note.ns, d->note.name, d->note.migration, &d->record, err);
}

#define FOUND_WIDTH 1300        /* so much at least of what the source has found, however much we have: the rest is an error's room */
#define NAME_ROOM 32            /* for "; REASON: " */

/* What says that the migration ended, and not why the pod cannot go, is nothing that an agent finds: with DryRun it would be an answer that nobody has given. */
static int reason_found(const char *name)
{
	static const int ends[] = { REASON_DryRun, REASON_Cancelled, REASON_TransferFailed };
	int reason = reason_from_name(name);

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (reason == ends[i])
			return REASON_InternalError;
	return reason;
}

static int found_width(const char *ours)
{
	int left = (int)sizeof(((struct error *)0)->message) - NAME_ROOM - (int)strlen(ours);

	return left > FOUND_WIDTH ? left : FOUND_WIDTH;
}

/* What the source's agent has found comes first, as it would by itself; behind it what we have. */
static int add_found(struct destination *d, int r)
{
	const cJSON *theirs = json_at(d->hello, "found");
	struct error ours = d->err;

	if (!cJSON_IsObject(theirs))
		return r;
	error_reason(&d->err, -ECONNABORTED, reason_found(json_str(theirs, "reason")), "%.*s%s%s%s%s", r < 0 ? found_width(ours.message) : (int)sizeof(ours.message),
		     json_str_or(theirs, "message", "the source's agent has found something"), r < 0 ? "; " : "", r < 0 && ours.reason ? reason_name(ours.reason) : "", r < 0 && ours.reason ? ": " : "",
		     r < 0 ? ours.message : "");
	return -ENOTSUP;
}

/* All that is in the way of it, not only the first: what the nodes are, the pod's own, and what keeps us from looking on. */
static int compare(struct destination *d)
{
	struct obstacles found = { 0 };
	int r;

	node_check(d->o, d->hello, d->facts, &found);
	/* Who cannot come is not waited for, and what is missing then is no failure. */
	r = connect_monitors(d, found.n ? 0 : MONITORS_TIMEOUT_US);
	if (r == 0)
		r = destination_open_parts(d, &found, &d->err);
	if (r < 0 && !found.n)
		return r;
	obstacles_take(&found, r, &d->err);
	return obstacles_error(&found, &d->err);
}

/* Before anything is touched: who comes after us must know whose state this is. */
static int start_session(struct destination *d)
{
	int r = add_found(d, compare(d));

	return r == 0 ? destination_note_write(d->o, d->sandbox, &d->note, &d->err) : r;
}

static int welcome(struct destination *d)
{
	cleanup_json cJSON *j = cJSON_Duplicate(d->facts, 1);

	/* Not what we could speak, but what we do. */
	cJSON_DeleteItemFromObjectCaseSensitive(j, "protocol");
	cJSON_AddNumberToObject(j, "protocol", d->protocol);
	cJSON_AddBoolToObject(j, "stored", true);
	ids_put(j, d->containers[0].ids.count);
	return wire_send_json(d->wire, WIRE_WELCOME, WIRE_NO_CONTAINER, j, &d->err);
}

static enum input receive(void *ctx)
{
	struct destination *d = ctx;
	int r = decides(d) ? open_record(d, &d->err) : 0;

	if (r == 0)
		r = start_session(d);
	if (r == 0 && d->record) {
		destination_watch_record(d);
		/* Reads whether it is a dry run, too: the agent there, which has to stop at the welcome, need not be one that does. */
		record_warm(d->record);
	}
	if (r == 0)
		r = welcome(d);
	if (r == 0 && d->record)
		record_progress(d->record, SOURCE_Connecting);
	if (r == 0)
		r = destination_receive(d, &d->err);
	if (r == 0)
		return INPUT_State;
	if (destination_pod_gone(d))
		return INPUT_PodGone;
	return r == -ECONNABORTED ? INPUT_PeerAbort : d->err.reason == REASON_TransferFailed ? INPUT_StreamLost : INPUT_Failed;
}

static enum input restore(void *ctx)
{
	struct destination *d = ctx;

	if (d->record)
		record_progress(d->record, SOURCE_Restoring);
	if (destination_restore(d, &d->err) == 0)
		return INPUT_Ok;
	return destination_pod_gone(d) ? INPUT_PodGone : INPUT_Failed;
}

/* --- the outcome --- */

static int next_frame(struct destination *d, struct wire_frame *ret)
{
	return d->later ? destination_pump(d, -1, 0, ret, &d->err) : wire_receive(d->wire, -1, ret, &d->err);
}

/* The source decides: wait for its word, however long the stream lives. */
static enum input await_word(struct destination *d)
{
	struct wire_frame f;

	if (next_frame(d, &f) < 0)
		return destination_pod_gone(d) ? INPUT_PodGone : INPUT_StreamLost;
	if (f.type == WIRE_COMMIT)
		return INPUT_Commit;
	if (f.type == WIRE_ABORT) {
		error_reason(&d->err, -ECONNABORTED, REASON_Cancelled, "the source gave the migration up");
		return INPUT_PeerAbort;
	}
	error_reason(&d->err, -EPROTO, REASON_ProtocolError, "frame type %d came where COMMIT was expected", f.type);
	return INPUT_Failed;
}

static enum input send_prepared(void *ctx)
{
	struct destination *d = ctx;
	cleanup_json cJSON *j = destination_prepared_json(d);

	if (wire_send_json(d->wire, WIRE_PREPARED, WIRE_NO_CONTAINER, j, &d->err) < 0)
		return INPUT_StreamLost;
	/* A link that is silent for good is known to be lost after 20 s only. */
	return !d->later && destination_ordered_first(d) ? INPUT_OrderCommit : await_word(d);
}

/* The source dialled again: after its COMMIT or our RUNNING was lost, or to ask what became of it. */
static enum input answer(void *ctx)
{
	struct destination *d = ctx;

	if (welcome(d) < 0 || destination_ask_again(d, &d->err) < 0)
		return INPUT_StreamLost;
	return decides(d) ? INPUT_Ok : await_word(d);
}

/* This side is at home and decides: the record first, then the barriers. */
static enum input record_commit(void *ctx)
{
	struct destination *d = ctx;
	cleanup_json cJSON *restored = destination_restored_json(d);
	enum input in = INPUT_RecordUnknown;

	if (open_record(d, &d->err) == 0)
		in = record_decide(d->record, true, restored, clock_mono_us() + COMMIT_TIMEOUT_US, &d->err);
	if (in == INPUT_RecordAbort && record_is_dry_run(d->record))
		error_reason(&d->err, -EPROTO, REASON_ProtocolError, "dry run: the source's agent went on when it had its answer; nothing was moved");
	else if (in == INPUT_RecordAbort)
		error_reason(&d->err, -ECONNABORTED, REASON_Cancelled, "%s", DESTINATION_ABORTED);
	else if (in != INPUT_RecordCommit)
		log_error("the outcome of the commit is not known; it is asked for again", LOG_S("migration", d->note.migration), LOG_S("err", d->err.message));
	return in;
}

static enum input record_abort(void *ctx)
{
	struct destination *d = ctx;
	enum input in = INPUT_RecordUnknown;

	if (open_record(d, &d->err) == 0)
		in = record_decide(d->record, false, NULL, clock_mono_us() + DECIDE_TIMEOUT_US, &d->err);
	if (in == INPUT_RecordAbort)
		error_reason(&d->err, -ECONNABORTED, REASON_AgentRestarted, "the destination's agent was restarted before everything was restored");
	if (in == INPUT_RecordRefused)
		in = INPUT_RecordUnknown;
	return in == INPUT_RecordUnknown && destination_pod_gone(d) ? INPUT_PodGone : in;
}

static enum input wait_a_moment(void *ctx)
{
	struct destination *d = ctx;

	d->driver.pause(d, PAUSE_US);
	return destination_pod_gone(d) ? INPUT_PodGone : INPUT_Timer;
}

/* --- after the commit: only forward --- */

static void *open_main(void *ctx)
{
	struct destination *d = ctx;
	struct error err = { 0 };

	d->open_result = destination_open(d, &err);
	d->open_err = err;
	destination_finished(d);
	return NULL;
}

/* PostCopy: who runs may want a page before all of them do. */
static void open_and_pump(struct destination *d)
{
	struct error ignored = { 0 };
	pthread_t thread;

	if (!d->later || !d->wire || pthread_create(&thread, NULL, open_main, d)) {
		open_main(d);
		return;
	}
	destination_pump_until(d, 1, &ignored);
	pthread_join(thread, NULL);
}

static enum input open_barriers(void *ctx)
{
	struct destination *d = ctx;

	/* What has come up once may have ended since; that is no failure of the migration. */
	if (d->opened)
		return INPUT_Ok;
	open_and_pump(d);
	d->opened = d->open_result == 0;
	if (d->opened)
		return INPUT_Ok;
	log_error("committed, but a container did not come up", LOG_S("migration", d->note.migration), LOG_S("err", d->open_err.message));
	if (destination_never_ran(d)) {
		error_reason(&d->cause, -EIO, REASON_RestoreFailed, "committed, but the destination could not run it and nothing of it ran there: %s",
			     d->open_err.message);
		return INPUT_NeverRan;
	}
	return d->open_result == -ETIMEDOUT ? INPUT_NoAnswer : INPUT_Failed;
}

/* --- PostCopy: it runs, and its memory is not complete --- */

static bool tell_complete(struct destination *d, const char *error)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	struct error ignored = { 0 };

	if (error)
		cJSON_AddStringToObject(j, "error", error);
	return wire_send_json(d->wire, WIRE_COMPLETE, WIRE_NO_CONTAINER, j, &ignored) == 0;
}

/* The old worker brought it, and what it had not brought nobody can: the fillers know whether they have all. */
static enum input find_rest(struct destination *d)
{
	return destination_wait_fillers(d, &d->open_err) < 0 ? INPUT_Failed : INPUT_Ok;
}

static enum input lose_stream(struct destination *d)
{
	log_warning("the source is not heard, and memory of the pod is still there; it may dial again", LOG_S("migration", d->note.migration),
		    LOG_S("err", d->err.message));
	destination_hang_up(d);
	return INPUT_StreamLost;
}

static enum input take_rest(void *ctx)
{
	struct destination *d = ctx;
	struct wire_frame f;
	int r;

	/* Without one of its containers it is lost all the same. */
	if (!d->note.later || d->open_err.message[0])
		return INPUT_Ok;
	if (d->record)
		record_progress(d->record, SOURCE_Completing);
	r = !d->later ? 0 : !d->wire ? 1 : destination_pump(d, -1, COMPLETE_IDLE_US, &f, &d->err);
	if (r > 0 || (r < 0 && !d->filler_failed))
		return lose_stream(d);
	if (r < 0)
		d->open_err = d->err;
	else if (!d->later && find_rest(d) == INPUT_Failed)
		r = -EIO;
	d->complete_us = clock_mono_us();
	if (d->wire && !tell_complete(d, r < 0 ? d->open_err.message : NULL) && !decides(d))
		return lose_stream(d);
	return ok_or_failed(r);
}

static enum input send_running(void *ctx)
{
	struct destination *d = ctx;
	cleanup_json cJSON *j = NULL;

	if (!d->wire)
		return INPUT_Failed;
	j = destination_running_json(d, &d->open_err);
	return wire_send_json(d->wire, WIRE_RUNNING, WIRE_NO_CONTAINER, j, &d->err) < 0 ? INPUT_StreamLost : INPUT_Ok;
}

static enum input send_never_ran(void *ctx)
{
	struct destination *d = ctx;
	cleanup_json cJSON *j = cJSON_CreateObject();

	if (!d->wire)
		return INPUT_Failed;
	cJSON_AddStringToObject(j, "reason", reason_name(d->cause.reason));
	cJSON_AddStringToObject(j, "message", d->cause.message);
	cJSON_AddBoolToObject(j, "neverRan", true);
	return wire_send_json(d->wire, WIRE_ABORT, WIRE_NO_CONTAINER, j, &d->err) < 0 ? INPUT_StreamLost : INPUT_Ok;
}

static enum input report(struct destination *d, enum source_state state, const struct error *cause, bool gives_up)
{
	cJSON *source, *facts;
	int r = open_record(d, &d->err);

	if (r == 0) {
		source = destination_source_report(d, cause);
		facts = cJSON_Duplicate(d->facts, 1);
		r = gives_up ? record_give_up(d->record, source, facts, &d->err) : record_report(d->record, state, source, facts, &d->err);
	}
	/* It says nothing new any more. */
	if (r == 0)
		record_unwatch(d->record);
	if (r < 0 && r != -ENOENT)
		log_warning("the outcome could not be recorded yet", LOG_S("migration", d->note.migration), LOG_S("err", d->err.message));
	return r == -ENOENT ? INPUT_RecordGone : ok_or_failed(r);
}

static enum input report_running(void *ctx)
{
	struct destination *d = ctx;

	return report(d, SOURCE_Running, &d->open_err, false);
}

static enum input note_told(void *ctx)
{
	struct destination *d = ctx;

	d->note.told = true;
	return ok_or_failed(destination_note_write(d->o, d->sandbox, &d->note, &d->err));
}

/* --- back --- */

/* Told to abort, a monitor never opens again; when its processes are dead does not matter to the source. */
static enum input kill_restored(void *ctx)
{
	struct destination *d = ctx;

	destination_abort(d);
	destination_join(d);
	return INPUT_Ok;
}

static enum input send_abort(void *ctx)
{
	struct destination *d = ctx;

	return destination_tell_abort(d, &d->cause) ? INPUT_Ok : INPUT_Failed;
}

static enum input report_aborted(void *ctx)
{
	struct destination *d = ctx;

	/* What is committed is given back. */
	return report(d, SOURCE_Aborted, &d->cause, d->driver.state != DST_ReportingNever);
}

#define OK_FAILED (MAY(Ok) | MAY(Failed))
#define RECORD (MAY(RecordCommit) | MAY(RecordAbort) | MAY(RecordUnknown) | MAY(RecordGone))

const struct deed_row destination_deeds[DEED_COUNT] = {
	[DEED_Listen] = { destination_listen, MAY(Hello) | MAY(HelloAgain) | MAY(PodGone), 0, 0 },
	[DEED_Receive] = { receive, MAY(State) | MAY(Failed) | MAY(StreamLost) | MAY(PeerAbort) | MAY(PodGone), 0, 0 },
	[DEED_Restore] = { restore, OK_FAILED | MAY(PodGone), 0, 0 },
	[DEED_SendPrepared] = { send_prepared, MAY(Commit) | MAY(OrderCommit) | MAY(PeerAbort) | MAY(StreamLost) | MAY(Failed) | MAY(PodGone), 0, 0 },
	[DEED_AwaitOutcome] = { destination_await_outcome, MAY(HelloAgain) | MAY(PodGone), 0, MAY(OrderCommit) },
	[DEED_ListenAgain] = { destination_listen_again, MAY(HelloAgain) | MAY(PodGone), 0, 0 },
	[DEED_Answer] = { answer, MAY(StreamLost), MAY(Ok), MAY(Commit) | MAY(PeerAbort) | MAY(Failed) | MAY(PodGone) },
	[DEED_RecordCommit] = { record_commit, RECORD | MAY(RecordRefused), 0, 0 },
	[DEED_RecordAbort] = { record_abort, RECORD | MAY(PodGone), 0, 0 },
	[DEED_Pause] = { wait_a_moment, MAY(Timer) | MAY(PodGone), 0, 0 },
	[DEED_Open] = { open_barriers, OK_FAILED | MAY(NeverRan) | MAY(NoAnswer), 0, 0 },
	[DEED_SendNeverRan] = { send_never_ran, OK_FAILED | MAY(StreamLost), 0, 0 },
	[DEED_SendRunning] = { send_running, OK_FAILED | MAY(StreamLost), 0, 0 },
	[DEED_TakeRest] = { take_rest, OK_FAILED | MAY(StreamLost), 0, 0 },
	[DEED_ReportRunning] = { report_running, OK_FAILED | MAY(RecordGone), 0, 0 },
	[DEED_Stay] = { destination_stay, MAY(Ended) | MAY(HelloAgain) | MAY(PodGone), 0, MAY(OrderCommit) },
	[DEED_NoteTold] = { note_told, OK_FAILED, 0, 0 },
	[DEED_Kill] = { kill_restored, OK_FAILED, 0, 0 },
	[DEED_SendAbort] = { send_abort, OK_FAILED, 0, 0 },
	[DEED_ReportAborted] = { report_aborted, OK_FAILED | MAY(RecordGone), 0, 0 },
};
