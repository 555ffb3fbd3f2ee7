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
#include "install.h"
#include "migration/reason.h"

#define LOOK_US 500000

/* One migration from its pod's side: the order, the machine, the end. What is done in each state is in source_deeds.c. */

/* --- the order --- */

static int take_text(const cJSON *order, const char *key, char *out, size_t size, struct error *err)
{
	const char *v = json_str(order, key);

	if (!v || path_format(out, size, "%s", v) < 0)
		return error_reason(err, -EINVAL, REASON_ProtocolError, "order: %s is missing or too long", key);
	return 0;
}

static int take_order(struct source *s, const cJSON *order, struct error *err)
{
	struct journal_entry *j = &s->journal;
	int64_t port = PM_STREAM_PORT;
	int r = take_text(order, "migration", j->migration, sizeof(j->migration), err);

	if (r == 0)
		r = take_text(order, "namespace", j->ns, sizeof(j->ns), err);
	if (r == 0)
		r = take_text(order, "name", j->name, sizeof(j->name), err);
	if (r == 0)
		r = take_text(order, "podUID", j->pod_uid, sizeof(j->pod_uid), err);
	if (r == 0)
		r = take_text(order, "podName", j->pod_name, sizeof(j->pod_name), err);
	if (r == 0 && json_int(order, "epoch", 0, INT64_MAX, &s->epoch) < 0)
		r = error_reason(err, -EINVAL, REASON_ProtocolError, "order: epoch is missing");
	s->precopy = !strcmp(json_str_or(order, "strategy", "PreCopy"), "PreCopy");
	s->postcopy = !strcmp(json_str_or(order, "strategy", ""), "PostCopy");
	s->rounds_max = SOURCE_ROUNDS_DEFAULT;
	s->downtime_us = SOURCE_DOWNTIME_DEFAULT_US;
	json_int(order, "maxRounds", 1, SOURCE_ROUNDS_MAX, &s->rounds_max);
	json_int(order, "bandwidth", 0, INT64_MAX / 2, &s->bandwidth);
	s->auto_converge = json_bool(order, "autoConverge");
	s->dry_run = json_bool(order, "dryRun");
	json_int(order, "maxDowntimeMicros", 0, 3600000000, &s->downtime_us);
	j->remote = json_bool(order, "remote");
	if (r < 0 || !j->remote || json_bool(order, "resume"))
		return r;
	r = take_text(order, "podIP", j->pod_ip, sizeof(j->pod_ip), err);
	json_int(order, "port", 1, 65535, &port);
	j->port = (uint16_t)port;
	return r == 0 ? source_take_key(s, order, err) : r;
}

/* --- the driver's view --- */

static bool is_ordered(void *ctx)
{
	const struct source *s = ctx;

	return control_check(s->control, NULL) < 0;
}

/* No order can be what it waits for when there is one already. */
static void wait_a_while(void *ctx, int64_t us)
{
	struct source *s = ctx;

	if (is_ordered(s))
		usleep((useconds_t)(us < DRIVER_RETRY_US ? us : DRIVER_RETRY_US));
	else
		control_pause(s->control, us);
}

static bool goes_back(const struct machine_state *s)
{
	return s->deed == DEED_Thaw || s->deed == DEED_SendAbort;
}

/* The first reason to go back is the one a person shall read; a stream that broke because an abort was ordered is the abort. */
static void find_cause(struct source *s, enum input in)
{
	if (control_check(s->control, &s->cause) < 0)
		return;
	if (s->leaving && !s->bound)
		error_reason(&s->cause, -ECANCELED, REASON_AgentRestarted, "the source's agent was ended before the commit");
	else if (s->late)
		error_reason(&s->cause, -ETIMEDOUT, REASON_TimedOut, "not committed in time, and no controller has ended it: the source's agent did");
	else if (in == INPUT_FoundBack)
		error_reason(&s->cause, -EIO, REASON_RestoreFailed, "committed, but nothing ran at the destination and nothing will; the source goes on");
	else if (in == INPUT_FoundFreeze || !s->err.message[0])
		error_reason(&s->cause, -ECANCELED, REASON_AgentRestarted, "the source agent was restarted before the commit");
	else
		s->cause = s->err;
	agent_blame_space(s->o, &s->cause);
	if (s->cause.reason == REASON_NONE)
		s->cause.reason = REASON_InternalError;
}

/*
 * This and end_leaving are called from the control thread.  It is as if the stream had broken: nothing is taken back that was promised.  Here the controller is gone, and with it whoever would see that the
 * pod stands still.
 */
static void end_late(void *ctx)
{
	struct source *s = ctx;

	if (s->bound)
		return;
	log_error("not committed in time, and nobody has ended it", LOG_S("migration", s->journal.migration), LOG_S("pod", s->journal.pod_name));
	s->late = true;
	source_interrupt(s);
}

/* From both threads, since what is asked here may be so a moment later. */
static void stay_if_it_stays(struct source *s)
{
	if (s->leaving && (s->bound || s->early))
		control_stay(s->control);
}

/*
 * This process will be killed, and the pod would stand still until another agent has come.  Bound, that one takes it up; before there is a stream, which may take long, nothing stands still, and who has only
 * told that it is ready is begun again.
 */
static void end_leaving(void *ctx)
{
	struct source *s = ctx;

	s->leaving = true;
	if (!s->bound && !s->early) {
		log_info("the agent ends before the commit", LOG_S("migration", s->journal.migration), LOG_S("pod", s->journal.pod_name));
		source_interrupt(s);
	}
	stay_if_it_stays(s);
}

static bool is_early(const struct machine_state *s)
{
	return s->deed == DEED_Inspect || s->deed == DEED_ReportReady || s->deed == DEED_Dial;
}

static void on_move(void *ctx, uint8_t from, enum input in, uint8_t to)
{
	struct source *s = ctx;

	(void)from;
	if (machine_source.states[to].at & (AT_WORD | AT_COMMITTED))
		s->bound = true;
	s->early = is_early(&machine_source.states[to]);
	stay_if_it_stays(s);
	/* Before the record says Abort: the daemon takes this for the controller's word, whoever wrote it. */
	if ((goes_back(&machine_source.states[to]) || in == INPUT_NeverRan || in == INPUT_FoundFreeze) && !s->cause.message[0])
		find_cause(s, in);
	if (in == INPUT_RecordCommit)
		s->cause = (struct error){ 0 };
	if (to == SRC_Moved && s->journal.step == JOURNAL_RUNNING)
		log_info("the pod runs at the destination", LOG_S("pod", s->journal.pod_name), LOG_S("migration", s->journal.migration),
			 LOG_N("downtimeMicros", s->mark[MARK_FREEZE] ? s->mark[MARK_RUNNING] - s->mark[MARK_FREEZE] : -1));
}

/* What the journal says of a migration that another worker began. */
static enum input found(struct source *s)
{
	static const enum input by_step[] = {
		[JOURNAL_NONE] = INPUT_Failed, [JOURNAL_FREEZE] = INPUT_FoundFreeze, [JOURNAL_SENT] = INPUT_FoundSent, [JOURNAL_COMMIT] = INPUT_FoundCommit,
		[JOURNAL_LOST] = INPUT_FoundLost, [JOURNAL_BACK] = INPUT_FoundBack, [JOURNAL_RUNNING] = INPUT_FoundRunning,
	};

	/* Who is at home has the record to ask, pod or no pod. */
	return s->journal.remote && source_pod_gone(s) ? INPUT_PodGone : by_step[s->journal.step];
}

static enum input first_input(struct source *s)
{
	if (s->resumed)
		return found(s);
	return is_ordered(s) && !s->journal.remote ? INPUT_OrderAbort : INPUT_Start;
}

/* --- the whole --- */

/* What the worker before has noted, and perhaps not done. */
static void close_again(struct source *s)
{
	struct error why = { 0 };

	if ((s->journal.step >= JOURNAL_SENT && s->journal.step != JOURNAL_BACK) && source_fence_close(s, &why) < 0)
		log_error("the kubelet can start the source pod's containers anew", LOG_S("migration", s->journal.migration), LOG_S("err", why.message));
}

static int prepare(struct source *s, const cJSON *order, struct error *err)
{
	int r = take_order(s, order, err);

	s->deadline_us = control_deadline(s->control);
	s->resumed = json_bool(order, "resume");
	if (r == 0 && s->resumed)
		r = journal_read(s->o, s->journal.migration, &s->journal, err);
	if (r == 0 && s->resumed)
		close_again(s);
	if (r == 0 && s->resumed && s->journal.step != JOURNAL_BACK)
		source_leave_services(s);
	if (r == 0 && path_format(s->run_dir, sizeof(s->run_dir), "%s/source/%s", PM_RUN_DIR, s->journal.migration) < 0)
		r = error_set(err, -ENAMETOOLONG, "image path too long");
	if (r == 0 && !s->journal.remote)
		r = record_open(s->o, s->journal.ns, s->journal.name, s->journal.migration, &s->record, err);
	return r;
}

static int run(struct source *s, const cJSON *order, struct error *err)
{
	int r = prepare(s, order, err);

	if (r < 0)
		return r;
	s->driver = (struct driver){ .m = &machine_source, .side = s->journal.remote ? SIDE_PARTICIPANT : SIDE_DECIDER, .key = s->journal.migration,
				     .deeds = source_deeds, .ctx = s, .ordered = is_ordered, .moved = on_move, .pause = wait_a_while };
	s->early = !s->resumed;
	control_on_abort(s->control, source_interrupt, s);
	control_on_late(s->control, end_late, s);
	control_on_leave(s->control, end_leaving, s);
	r = driver_run(&s->driver, first_input(s));
	if (r == SRC_GivenUp)
		*err = s->cause;
	return r == SRC_Moved ? 0 : r < 0 ? error_set(err, r, "the journal's step means nothing here") : -ECANCELED;
}

static void remove_images(struct source *s)
{
	char host[4096];
	struct error why = { 0 };

	if (s->run_dir[0] && agent_host_path(s->o, host, sizeof(host), "%s", s->run_dir) == 0 &&
	    tree_remove(AT_FDCWD, host, &why) < 0)
		log_error("memory images could not be removed", LOG_S("err", why.message));
}

/* Long done, at every ending that the machine knows; should it have failed, the daemon tries on. */
static void lift_last(struct source *s)
{
	struct error why = { 0 };

	if (source_throttle_lift(s, &why) < 0)
		log_error("a container goes on with less CPU than it has a right to", LOG_S("migration", s->journal.migration), LOG_S("err", why.message));
}

/* The kubelet takes who stands still and is not deleted yet for Ready. */
static void stay_out(struct source *s)
{
	control_stay(s->control);
	while (s->service && !source_pod_gone(s))
		usleep(LOOK_US);
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
	pthread_mutex_init(&s->throttle_lock, NULL);
	pthread_cond_init(&s->volumes_done, NULL);
	s->runc = (struct runc){ .host_pid = o->host_pid, .root = o->runc_root, .programs = INSTALL_DIR, .netns_fd = -1 };
	r = control_start(control_fd, &s->control, &order, &err);
	if (r == 0)
		r = run(s, order, &err);
	if (r < 0)
		log_error("migration failed", LOG_S("migration", s->journal.migration), LOG_S("err", err.message));
	cJSON_Delete(order);
	/* The daemon may say so at this very moment: the controller has just read that it was given up. */
	if (s->control)
		control_forget(s->control);
	source_hang_up(s);
	remove_images(s);
	lift_last(s);
	if (r == 0) {
		source_hasten(s);
		stay_out(s);
	}
	source_service_free(s->service);
	source_release(s);
	free(s);
	return r == 0 ? 0 : 1;
}
