/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>

#include "agent/source_stream.c"
#include "agent/handshake_ids.c"
#include "stream_pair.h"

static int answered;
static bool answers;                    /* with a page, and waits until the kernel knows that nobody takes it */

int source_answer(struct source *s, const struct wire_frame *f, struct error *err)
{
	static const uint8_t page[4096];
	struct pollfd reset = { wire_fd(s->wire), 0, 0 };
	uint8_t head[WIRE_PAGES_HEAD];
	struct wire_pages w;
	int r = answers ? wire_pages_unpack(f, &w, err) : 0;

	answered++;
	if (!answers || r < 0)
		return r;
	wire_pages_pack(&w, head);
	r = wire_send(s->wire, WIRE_PAGES, 0, head, sizeof(head), page, sizeof(page), err);
	assert_int_equal(poll(&reset, 1, 10000), 1);
	return r;
}

int control_check(struct control *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

int contents_add(const struct agent_options *o, const struct bundle *b, cJSON *out, struct error *err)
{
	(void)o;
	(void)b;
	(void)out;
	(void)err;
	return 0;
}

/* A node whose CRIU is being replaced. */
int node_facts(const struct agent_options *o, bool with_cpu, cJSON *out, struct error *err)
{
	(void)o;
	(void)with_cpu;
	(void)out;
	return error_reason(err, -ENOENT, REASON_CRIUIncompatible, "no criu");
}

void node_words(const struct agent_options *o, cJSON *out)
{
	(void)o;
	cJSON_AddNumberToObject(out, "protocol", 1);
}

const char *lsm_of_label(const char *label)
{
	(void)label;
	return NULL;
}

int protocol_take(const cJSON *welcome, int *ret, struct error *err)
{
	(void)welcome;
	(void)ret;
	(void)err;
	return 0;
}

int source_ipc_owner(struct source *s)
{
	(void)s;
	return 0;
}

uint64_t source_state_bytes(struct source *s)
{
	(void)s;
	return 0;
}

struct destination {
	struct wire *wire;
	bool speaks;
};

/* Reads one frame, and ends with others unread: the kernel resets the connection. */
static void *destination_main(void *arg)
{
	struct destination *d = arg;
	struct error err = { 0 };
	struct wire_frame f;

	wire_receive(d->wire, 0, &f, &err);
	usleep(100000);
	if (d->speaks) {
		cleanup_json cJSON *j = cJSON_CreateObject();

		cJSON_AddStringToObject(j, "reason", "NoSpace");
		cJSON_AddStringToObject(j, "message", "the node is full");
		wire_send_json(d->wire, WIRE_ABORT, WIRE_NO_CONTAINER, j, &err);
	}
	wire_free(d->wire);
	return NULL;
}

static struct source *sent(bool speaks, struct error *err)
{
	static const uint8_t data[WIRE_DATA_MAX];
	struct source *s = calloc(1, sizeof(*s));
	struct destination d = { .speaks = speaks };
	uint64_t offset = 0;
	struct wire *w[2];
	pthread_t t;
	int r = 0;

	assert_non_null(s);
	signal(SIGPIPE, SIG_IGN);
	wire_pair(w, 20000000);
	pthread_mutex_init(&s->wire_lock, NULL);
	s->wire = w[0];
	d.wire = w[1];
	assert_int_equal(pthread_create(&t, NULL, destination_main, &d), 0);
	while (r == 0)
		r = wire_send(s->wire, WIRE_DATA, 0, &offset, sizeof(offset), data, sizeof(data), err);
	pthread_join(t, NULL);
	assert_int_equal(err->reason, REASON_TransferFailed);
	source_hear_last_word(s, err);
	return s;
}

static void end(struct source *s)
{
	source_hang_up(s);
	pthread_mutex_destroy(&s->wire_lock);
	free(s);
}

/* Asks for a page every 50 ms, for so long as anybody listens, 5 s at most. */
static void *asks_main(void *arg)
{
	struct wire *w = arg;
	struct wire_pages p = { .ns_pid = 1, .address = 4096, .pages = 1 };
	uint8_t head[WIRE_PAGES_HEAD];
	struct error err = { 0 };

	wire_pages_pack(&p, head);
	for (int i = 0; i < 100 && wire_send(w, WIRE_WANT, 0, head, sizeof(head), NULL, 0, &err) == 0; i++)
		usleep(50000);
	return NULL;
}

static int64_t waited(enum wire_type type, int64_t idle_us, int *ret)
{
	struct source *s = calloc(1, sizeof(*s));
	struct error err = { 0 };
	cJSON *j = NULL;
	struct wire *w[2];
	int64_t start;
	pthread_t t;

	assert_non_null(s);
	wire_pair(w, 20000000);
	pthread_mutex_init(&s->wire_lock, NULL);
	s->wire = w[0];
	answered = 0;
	assert_int_equal(pthread_create(&t, NULL, asks_main, w[1]), 0);
	start = clock_mono_us();
	*ret = source_expect(s, type, idle_us, &j, &err);
	start = clock_mono_us() - start;
	end(s);
	pthread_join(t, NULL);
	wire_free(w[1]);
	return start;
}

/* The pod stands still meanwhile, and nothing is committed. */
static void who_only_asks_is_not_waited_for_without_end(void **state)
{
	int r;

	(void)state;
	assert_in_range(waited(WIRE_PREPARED, 500000, &r), 400000, 2000000);
	assert_int_equal(r, -ETIMEDOUT);
	assert_true(answered > 2);
	/* What it asks for when it runs is what it needs: as long as something comes. */
	assert_in_range(waited(WIRE_COMPLETE, 500000, &r), 3000000, 10000000);
	assert_int_equal(r, -ETIMEDOUT);
}

static void who_dials_again_needs_no_criu(void **state)
{
	struct source *s = calloc(1, sizeof(*s));
	struct error err = { 0 };
	cJSON *hello;

	(void)state;
	assert_non_null(s);
	s->n = 1;
	snprintf(s->containers[0].info.name, sizeof(s->containers[0].info.name), "web");
	assert_null(hello_json(s, false, &err));
	assert_string_equal(err.message, "no criu");
	hello = hello_json(s, true, &err);
	assert_non_null(hello);
	assert_true(json_bool(hello, "resume"));
	assert_non_null(json_at(hello, "protocol"));
	cJSON_Delete(hello);
	free(s);
}

/* It is told also by a node that knows little of itself, and that has found only a part of the pod. */
static void what_was_found_is_in_hello(void **state)
{
	struct source *s = calloc(1, sizeof(*s));
	struct error err = { 0 };
	cJSON *hello;

	(void)state;
	assert_non_null(s);
	s->n = 1;
	snprintf(s->containers[0].info.name, sizeof(s->containers[0].info.name), "web");
	error_reason(&s->cause, -ENOTSUP, REASON_IOUringInUse, "container web: process 7");
	hello = hello_json(s, false, &err);
	assert_non_null(hello);
	assert_string_equal(json_str_or(hello, "found/reason", ""), "IOUringInUse");
	assert_string_equal(json_str_or(hello, "found/message", ""), "container web: process 7; CRIUIncompatible: no criu");
	assert_string_equal(json_str_or(hello, "containers/0", ""), "web");
	assert_non_null(json_at(hello, "protocol"));
	cJSON_Delete(hello);
	free(s);
}

struct welcomes {
	struct wire *wire;
	const char *welcome;
	double told;                    /* userIds of HELLO */
};

static void *welcomes_main(void *arg)
{
	struct welcomes *w = arg;
	cleanup_json cJSON *hello = NULL, *welcome = cJSON_Parse(w->welcome);
	struct error err = { 0 };
	struct wire_frame f;

	if (wire_receive(w->wire, 0, &f, &err) == 0 && wire_json(&f, &hello, &err) == 0 && json_at(hello, "userIds"))
		w->told = json_at(hello, "userIds")->valuedouble;
	wire_send_json(w->wire, WIRE_WELCOME, WIRE_NO_CONTAINER, welcome, &err);
	return NULL;
}

static int greeted(const char *welcome, bool resume, double *ret_told, struct error *err)
{
	struct source *s = calloc(1, sizeof(*s));
	struct bundle b = { .ids = { .count = 65536 } };
	struct welcomes there = { .welcome = welcome, .told = -1 };
	struct wire *w[2];
	pthread_t t;
	int r;

	assert_non_null(s);
	s->n = 1;
	s->containers[0].bundle = &b;
	/* So that no CRIU is asked for. */
	error_reason(&s->cause, -ENOTSUP, REASON_IOUringInUse, "found");
	wire_pair(w, 20000000);
	pthread_mutex_init(&s->wire_lock, NULL);
	s->wire = w[0];
	there.wire = w[1];
	assert_int_equal(pthread_create(&t, NULL, welcomes_main, &there), 0);
	r = source_greet(s, resume, err);
	pthread_join(t, NULL);
	*ret_told = there.told;
	cJSON_Delete(s->welcome);
	wire_free(w[1]);
	source_hang_up(s);
	pthread_mutex_destroy(&s->wire_lock);
	free(s);
	return r;
}

static void a_user_namespace_is_told_and_must_be_understood(void **state)
{
	struct error err = { 0 };
	double told;

	(void)state;
	assert_int_equal(greeted("{\"userIds\":65536}", false, &told, &err), 0);
	assert_int_equal((int)told, 65536);
	assert_int_equal(greeted("{}", false, &told, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedContainer);
	/* Dialled again, it is no longer asked. */
	assert_int_equal(greeted("{}", true, &told, &err), 0);
	assert_int_equal((int)told, -1);
}

/* --- what a destination says when it gives up in the midst of what is sent to it --- */

static void what_it_said_before_it_hung_up_is_the_reason(void **state)
{
	struct error err = { 0 };
	struct source *s = sent(true, &err);

	(void)state;
	assert_true(s->peer_gave_up);
	assert_int_equal(err.reason, REASON_NoSpace);
	assert_string_equal(err.message, "the node is full");
	end(s);
}

static void of_one_that_said_nothing_the_stream_broke(void **state)
{
	struct error err = { 0 };
	struct source *s = sent(false, &err);

	(void)state;
	assert_false(s->peer_gave_up);
	assert_int_equal(err.reason, REASON_TransferFailed);
	assert_non_null(strstr(err.message, "DATA frame"));
	end(s);
}

/* As one that restores what comes later (PostCopy): it has asked for memory, then the record says Abort. */
static void ask_and_give_up(struct wire *w, bool never_ran)
{
	struct wire_pages p = { .ns_pid = 1, .address = 4096, .pages = 1 };
	cleanup_json cJSON *j = cJSON_CreateObject();
	struct error err = { 0 };
	uint8_t head[WIRE_PAGES_HEAD];

	wire_pages_pack(&p, head);
	for (int i = 0; i < 3; i++)
		assert_int_equal(wire_send(w, WIRE_WANT, 0, head, sizeof(head), NULL, 0, &err), 0);
	cJSON_AddStringToObject(j, "reason", "NoSpace");
	cJSON_AddStringToObject(j, "message", "the node is full");
	cJSON_AddBoolToObject(j, "neverRan", never_ran);
	assert_int_equal(wire_send_json(w, WIRE_ABORT, WIRE_NO_CONTAINER, j, &err), 0);
	wire_interrupt(w);
}

static struct source *asked(struct wire **ret_theirs)
{
	struct source *s = calloc(1, sizeof(*s));
	struct wire *w[2];

	assert_non_null(s);
	signal(SIGPIPE, SIG_IGN);
	wire_pair(w, 20000000);
	pthread_mutex_init(&s->wire_lock, NULL);
	s->wire = w[0];
	*ret_theirs = w[1];
	answered = 0;
	return s;
}

static void expect_its_word(struct source *s, const struct error *err)
{
	assert_true(s->peer_gave_up);
	assert_int_equal(err->reason, REASON_NoSpace);
	assert_string_equal(err->message, "the node is full");
}

/* Nobody takes the answer any more, and what was said lies behind the questions. */
static void what_it_said_behind_its_questions_is_heard(void **state)
{
	(void)state;
	for (int never_ran = 0; never_ran < 2; never_ran++) {
		cleanup_json cJSON *j = NULL;
		struct error err = { 0 };
		struct wire *theirs;
		struct source *s = asked(&theirs);

		ask_and_give_up(theirs, never_ran);
		answers = true;
		assert_int_equal(source_expect(s, WIRE_RUNNING, 5000000, &j, &err), -ECONNABORTED);
		answers = false;
		assert_int_equal(answered, 2);
		assert_true(s->peer_never_ran == never_ran);
		expect_its_word(s, &err);
		end(s);
		wire_free(theirs);
	}
}

/* While state is sent nobody reads. */
static void its_last_word_is_heard_behind_its_questions(void **state)
{
	struct error err = { 0 };
	struct wire *theirs;
	struct source *s = asked(&theirs);

	(void)state;
	ask_and_give_up(theirs, false);
	error_reason(&err, -EPIPE, REASON_TransferFailed, "DATA frame");
	source_hear_last_word(s, &err);
	assert_int_equal(answered, 0);
	expect_its_word(s, &err);
	end(s);
	wire_free(theirs);
}

/* Another failure than the stream's stays what it is, and who goes on speaking is not listened to for long. */
static void a_question_that_cannot_be_answered_is_the_reason(void **state)
{
	struct error err = { 0 };
	struct wire *theirs;
	struct source *s = asked(&theirs);
	pthread_t t;
	int64_t start;

	(void)state;
	error_reason(&err, -EPROTO, REASON_ProtocolError, "the destination asks for memory of a pod that runs");
	ask_and_give_up(theirs, false);
	source_hear_last_word(s, &err);
	assert_int_equal(err.reason, REASON_ProtocolError);
	end(s);
	wire_free(theirs);
	s = asked(&theirs);
	assert_int_equal(pthread_create(&t, NULL, asks_main, theirs), 0);
	error_reason(&err, -EPIPE, REASON_TransferFailed, "DATA frame");
	start = clock_mono_us();
	source_hear_last_word(s, &err);
	assert_in_range(clock_mono_us() - start, LAST_WORD_US / 2, 2000000);
	assert_int_equal(err.reason, REASON_TransferFailed);
	end(s);
	pthread_join(t, NULL);
	wire_free(theirs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_only_asks_is_not_waited_for_without_end),
		cmocka_unit_test(who_dials_again_needs_no_criu), cmocka_unit_test(what_was_found_is_in_hello),
		cmocka_unit_test(a_user_namespace_is_told_and_must_be_understood),
		cmocka_unit_test(what_it_said_before_it_hung_up_is_the_reason),
		cmocka_unit_test(of_one_that_said_nothing_the_stream_broke),
		cmocka_unit_test(what_it_said_behind_its_questions_is_heard),
		cmocka_unit_test(its_last_word_is_heard_behind_its_questions),
		cmocka_unit_test(a_question_that_cannot_be_answered_is_the_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
