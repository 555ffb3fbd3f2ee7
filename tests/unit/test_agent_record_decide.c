/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/record.c"

/* The server's side of record_decide(): what each write and each read that follows it come to. */
struct try {
	int write;                      /* 0 or negative errno */
	bool applied;                   /* whatever is answered */
	int read;
};

#define TRIES 3

struct server {
	const struct try *tries;
	int n;                          /* requests so far, a write and a read each */
	const char *decision;
	bool once, repeated;
	bool dry, fence;                /* it is a dry run, whose Commit is refused */
	const char *first_reason;       /* of an agent that has given it up already */
	char sent_decision[16], sent_state[16], sent_reason[32];        /* of the last write, "" for none */
	cJSON *sent_restored;           /* of the last write, status.destination.containers */
};
static struct server server;            /* the functions below have no context of their own */

static const struct try *now_try(void)
{
	int i = server.n / 2;

	server.n++;
	return &server.tries[i < TRIES ? i : TRIES - 1];
}

static cJSON *object(void)
{
	cJSON *o = cJSON_CreateObject(), *status = cJSON_AddObjectToObject(o, "status"), *source;

	cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "metadata"), "uid", "u");
	cJSON_AddBoolToObject(cJSON_AddObjectToObject(o, "spec"), "dryRun", server.dry);
	if (server.decision)
		cJSON_AddStringToObject(status, "decision", server.decision);
	if (server.first_reason) {
		source = cJSON_AddObjectToObject(status, "source");
		cJSON_AddStringToObject(source, "state", "Aborted");
		cJSON_AddStringToObject(cJSON_AddObjectToObject(source, "error"), "reason", server.first_reason);
	}
	return o;
}

int kube_merge_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err)
{
	const struct try *t = now_try();

	(void)c;
	(void)path;
	(void)manager;
	server.repeated |= !server.once;
	snprintf(server.sent_decision, sizeof(server.sent_decision), "%s", json_str_or(patch, "status/decision", ""));
	snprintf(server.sent_state, sizeof(server.sent_state), "%s", json_str_or(patch, "status/source/state", ""));
	snprintf(server.sent_reason, sizeof(server.sent_reason), "%s", json_str_or(patch, "status/source/error/reason", ""));
	cJSON_Delete(server.sent_restored);
	server.sent_restored = cJSON_Duplicate(json_at(patch, "status/destination/containers"), 1);
	if (server.fence && !strcmp(server.sent_decision, "Commit"))
		return error_set(err, -EINVAL, "a dry run");
	if (t->applied && !server.decision)
		server.decision = !strcmp(json_str_or(patch, "status/decision", ""), "Commit") ? "Commit" : "Abort";
	if (t->write < 0)
		return error_set(err, t->write, "refused");
	if (ret)
		*ret = object();
	return 0;
}

int kube_get(struct kube_client *c, const char *path, cJSON **ret, struct error *err)
{
	const struct try *t = now_try();

	(void)c;
	(void)path;
	if (t->read < 0)
		return error_set(err, t->read, "cannot be read");
	*ret = object();
	return 0;
}

void kube_set_once(struct kube_client *c, bool once)
{
	(void)c;
	server.once = once;
}

int kube_client_new(struct kube_config *config, const char *user_agent, struct kube_client **ret, struct error *err)
{
	(void)config;
	(void)user_agent;
	(void)ret;
	return error_set(err, -ENOTSUP, "there is none");
}

void kube_client_free(struct kube_client *c)
{
	(void)c;
}

static const struct {
	const char *what, *decision;    /* before */
	struct try tries[TRIES];
	enum input answer;
} row[] = {
	{ "done", NULL, { { 0, true, 0 } }, INPUT_RecordCommit },
	{ "somebody was first", "Abort", { { 0, true, 0 } }, INPUT_RecordAbort },
	{ "somebody was first, told by a refusal", "Abort", { { -EINVAL, false, 0 } }, INPUT_RecordAbort },
	{ "done, and the answer lost", NULL, { { -EIO, true, 0 } }, INPUT_RecordCommit },
	{ "nobody listens", NULL, { { -ECONNREFUSED, false, -ECONNREFUSED }, { -ECONNREFUSED, false, -ECONNREFUSED }, { -ECONNREFUSED, false, -ECONNREFUSED } },
	  INPUT_RecordRefused },
	{ "no right to", NULL, { { -EACCES, false, 0 }, { -EACCES, false, 0 }, { -EACCES, false, 0 } }, INPUT_RecordRefused },
	{ "an answer lost, then nobody listens", NULL, { { -EIO, true, -EIO }, { -ECONNREFUSED, false, -ECONNREFUSED }, { -ECONNREFUSED, false, -ECONNREFUSED } },
	  INPUT_RecordUnknown },
	{ "a timeout, then refusals: the first may still arrive", NULL, { { -ETIMEDOUT, false, 0 }, { -EBUSY, false, 0 }, { -EBUSY, false, 0 } }, INPUT_RecordUnknown },
	{ "5xx, and undecided so far", NULL, { { -EIO, false, 0 }, { -EIO, false, 0 }, { -EIO, false, 0 } }, INPUT_RecordUnknown },
	{ "comes back in time", NULL, { { -ECONNREFUSED, false, -ECONNREFUSED }, { 0, true, 0 } }, INPUT_RecordCommit },
	{ "no such object", NULL, { { -ENOENT, false, -ENOENT } }, INPUT_RecordGone },
	{ "another object of that name", NULL, { { -EAGAIN, false, -ENOENT } }, INPUT_RecordGone },
};

static void a_write_that_may_be_applied_is_never_called_refused(void **state)
{
	struct record r = { .uid = "u" };

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct error err = { 0 };
		enum input in;

		server = (struct server){ .tries = row[i].tries, .decision = row[i].decision };
		in = record_decide(&r, true, NULL, clock_mono_us() + 120000, &err);
		if (in != row[i].answer)
			fail_msg("%s: %s, not %s", row[i].what, input_name(in), input_name(row[i].answer));
		if (server.repeated || server.once)
			fail_msg("%s: the client was left to repeat the write, or reads only once", row[i].what);
	}
}

/* Whoever asks for it: with the API server's fence, which it meets first when nothing was read before, and by itself. */
static void a_dry_run_is_aborted_and_never_committed(void **state)
{
	static const struct try done[TRIES] = { { 0, true, 0 }, { 0, true, 0 }, { 0, true, 0 } };
	cleanup_json cJSON *restored = cJSON_CreateObject();

	(void)state;
	record_add_restored(restored, "app", "0123");
	for (int read_before = 0; read_before < 2; read_before++) {
		struct record r = { .uid = "u" };
		struct error err = { 0 };

		server = (struct server){ .tries = done, .dry = true, .fence = !read_before };
		if (read_before)
			assert_int_equal(record_get(&r, NULL, &err), 0);
		assert_int_equal(record_decide(&r, true, restored, clock_mono_us() + 5000000, &err), INPUT_RecordAbort);
		assert_string_equal(server.sent_decision, "Abort");
		assert_string_equal(server.decision, "Abort");
		assert_null(server.sent_restored);
		assert_true(record_is_dry_run(&r));
	}
}

/* What is late can then neither meet a Commit, nor come after one; what is committed and given back leaves the decision as it is. */
static void aborted_and_the_decision_are_one_write(void **state)
{
	static const struct try done[TRIES] = { { 0, false, 0 }, { 0, false, 0 }, { 0, false, 0 } };
	struct record r = { .uid = "u" };
	struct error err = { 0 };

	(void)state;
	pthread_mutex_init(&r.lock, NULL);
	server = (struct server){ .tries = done };
	assert_int_equal(record_give_up(&r, cJSON_CreateObject(), NULL, &err), 0);
	assert_string_equal(server.sent_decision, "Abort");
	assert_string_equal(server.sent_state, "Aborted");
	assert_int_equal(record_report(&r, SOURCE_Aborted, cJSON_CreateObject(), NULL, &err), 0);
	assert_string_equal(server.sent_decision, "");
	assert_string_equal(server.sent_state, "Aborted");
}

/* Which containers were restored stands in the record from the commit on; what the API server would refuse must not cost the commit. */
static void the_restored_containers_are_recorded_with_the_commit(void **state)
{
	static const struct try done[TRIES] = { { 0, true, 0 } };
	static const char id[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	cleanup_json cJSON *restored = cJSON_CreateObject();
	struct record r = { .uid = "u" };
	struct error err = { 0 };
	char longest[130];

	(void)state;
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	record_add_restored(restored, "app", id);
	record_add_restored(restored, "none", NULL);
	record_add_restored(restored, "path", "../x");
	record_add_restored(restored, "long", longest);
	record_add_restored(restored, "side", longest + 1);
	server = (struct server){ .tries = done };
	assert_int_equal(record_decide(&r, true, restored, clock_mono_us() + 120000, &err), INPUT_RecordCommit);
	assert_string_equal(server.sent_decision, "Commit");
	assert_int_equal(cJSON_GetArraySize(server.sent_restored), 2);
	assert_string_equal(json_str_or(server.sent_restored, "0/name", ""), "app");
	assert_string_equal(json_str_or(server.sent_restored, "0/id", ""), id);
	assert_string_equal(json_str_or(server.sent_restored, "1/name", ""), "side");
	cJSON_Delete(server.sent_restored);
	server = (struct server){ .tries = done };
	assert_int_equal(record_decide(&r, false, NULL, clock_mono_us() + 120000, &err), INPUT_RecordAbort);
	assert_null(server.sent_restored);
}

static cJSON *given_up(int reason)
{
	cJSON *source = cJSON_CreateObject();

	cJSON_AddStringToObject(cJSON_AddObjectToObject(source, "error"), "reason", reason_name(reason));
	return source;
}

static void a_restart_does_not_hide_why_it_was_given_up(void **state)
{
	static const struct try done[TRIES] = { { 0, false, 0 }, { 0, false, 0 }, { 0, false, 0 } };
	static const struct {
		const char *first;
		int mine, sent;
	} rows[] = {
		{ "TransferFailed", REASON_AgentRestarted, REASON_TransferFailed },
		{ NULL, REASON_AgentRestarted, REASON_AgentRestarted },
		{ "TransferFailed", REASON_RestoreFailed, REASON_RestoreFailed },
	};
	struct record r = { .uid = "u" };
	struct error err = { 0 };

	(void)state;
	pthread_mutex_init(&r.lock, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		server = (struct server){ .tries = done, .first_reason = rows[i].first };
		assert_int_equal(record_give_up(&r, given_up(rows[i].mine), NULL, &err), 0);
		assert_string_equal(server.sent_reason, reason_name(rows[i].sent));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_that_may_be_applied_is_never_called_refused),
		cmocka_unit_test(a_dry_run_is_aborted_and_never_committed),
		cmocka_unit_test(aborted_and_the_decision_are_one_write),
		cmocka_unit_test(the_restored_containers_are_recorded_with_the_commit),
		cmocka_unit_test(a_restart_does_not_hide_why_it_was_given_up),
	};

	return cmocka_run_group_tests_name("agent record, the decision", tests, NULL, NULL);
}
