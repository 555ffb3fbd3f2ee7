/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>

#include "agent/source_stream.c"
#include "stream_pair.h"

static int answered;

int source_answer(struct source *s, const struct wire_frame *f, struct error *err)
{
	(void)s;
	(void)f;
	(void)err;
	answered++;
	return 0;
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
	return error_set(err, -ENOENT, "no criu");
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
	assert_string_equal(json_str_or(hello, "found/message", ""), "container web: process 7");
	assert_string_equal(json_str_or(hello, "containers/0", ""), "web");
	assert_non_null(json_at(hello, "protocol"));
	cJSON_Delete(hello);
	free(s);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_only_asks_is_not_waited_for_without_end),
		cmocka_unit_test(who_dials_again_needs_no_criu), cmocka_unit_test(what_was_found_is_in_hello),
		cmocka_unit_test(what_it_said_before_it_hung_up_is_the_reason),
		cmocka_unit_test(of_one_that_said_nothing_the_stream_broke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
