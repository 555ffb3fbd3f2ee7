/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/destination_recorded.c"
#include "base/json.h"
#include "stream_pair.h"

/* That the record says Abort is told while the worker does something else, once, and before anything is ended. */

#define IDLE_US 10000000

static struct {
	void (*fn)(void *ctx);
	void *ctx;
	bool told_when_killed;
	const struct error *failure;
} rig;

int record_watch(struct record *r, void (*fn)(void *ctx), void *ctx, struct error *err)
{
	(void)r;
	(void)err;
	rig.fn = fn;
	rig.ctx = ctx;
	return 0;
}

bool record_is_aborted(const struct record *r)
{
	return r != NULL;
}

void destination_abort(struct destination *d)
{
	rig.told_when_killed = d->told_abort;
}

const struct error *destination_own_failure(const struct destination *d)
{
	(void)d;
	return rig.failure;
}

void destination_say_no(struct destination *d, enum wire_type type, const struct error *cause)
{
	cleanup_json cJSON *j = cJSON_CreateObject();
	struct error ignored = { 0 };

	cJSON_AddStringToObject(j, "reason", reason_name(cause->reason));
	wire_send_json(d->wire, type, WIRE_NO_CONTAINER, j, &ignored);
}

static void *receive_main(void *ctx)
{
	struct destination *d = ctx;
	struct error err = { 0 };
	struct wire_frame f;

	return wire_receive(d->wire, -1, &f, &err) < 0 ? d : NULL;
}

static void start(struct destination *d, struct wire *w[2])
{
	memset(&rig, 0, sizeof(rig));
	wire_pair(w, IDLE_US);
	*d = (struct destination){ .wire = w[1] };
	pthread_mutex_init(&d->wire_lock, NULL);
	destination_watch_record(d);
	assert_non_null(rig.fn);
}

static void end(struct wire *w[2])
{
	wire_free(w[0]);
	wire_free(w[1]);
}

static void expect_abort(struct wire *w, const char *reason)
{
	cleanup_json cJSON *j = NULL;
	struct error err = { 0 };
	struct wire_frame f;

	assert_int_equal(wire_receive(w, 0, &f, &err), 0);
	assert_int_equal(f.type, WIRE_ABORT);
	assert_int_equal(wire_json(&f, &j, &err), 0);
	assert_string_equal(json_str_or(j, "reason", ""), reason);
	/* Behind it nothing comes: a second word would meet a source that goes on already. */
	assert_true(wire_receive(w, 0, &f, &err) < 0);
}

static void the_source_is_told_while_it_is_waited_for(void **state)
{
	struct error cause = { 0 };
	struct destination d;
	struct wire *w[2];
	pthread_t thread;
	void *ended = NULL;

	(void)state;
	start(&d, w);
	assert_int_equal(pthread_create(&thread, NULL, receive_main, &d), 0);
	rig.fn(rig.ctx);
	assert_int_equal(pthread_join(thread, &ended), 0);
	assert_ptr_equal(ended, &d);
	assert_true(rig.told_when_killed);
	/* The worker comes to say it as well. */
	error_reason(&cause, 0, REASON_Cancelled, "given up");
	assert_true(destination_tell_abort(&d, &cause));
	expect_abort(w[0], "Cancelled");
	end(w);
}

static void a_source_that_only_sends_sees_that_nobody_listens(void **state)
{
	struct destination d;
	struct wire *w[2];

	(void)state;
	start(&d, w);
	assert_false(wire_is_given_up(w[0]));
	rig.fn(rig.ctx);
	assert_true(wire_is_given_up(w[0]));
	expect_abort(w[0], "Cancelled");
	end(w);
}

static void of_a_restore_that_had_failed_it_is_told_why(void **state)
{
	const struct error failure = { .reason = REASON_RestoreFailed, .message = "container web" };
	struct destination d;
	struct wire *w[2];

	(void)state;
	start(&d, w);
	rig.failure = &failure;
	rig.fn(rig.ctx);
	expect_abort(w[0], "RestoreFailed");
	end(w);
}

static void without_a_stream_nobody_is_told(void **state)
{
	struct destination d = { 0 };
	struct error cause = { 0 };

	(void)state;
	memset(&rig, 0, sizeof(rig));
	pthread_mutex_init(&d.wire_lock, NULL);
	destination_watch_record(&d);
	rig.fn(rig.ctx);
	assert_false(rig.told_when_killed);
	assert_false(destination_tell_abort(&d, &cause));
	assert_false(destination_is_aborted(&d));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_source_is_told_while_it_is_waited_for), cmocka_unit_test(a_source_that_only_sends_sees_that_nobody_listens),
					    cmocka_unit_test(of_a_restore_that_had_failed_it_is_told_why),
					    cmocka_unit_test(without_a_stream_nobody_is_told) };

	return cmocka_run_group_tests_name("agent destination, the record's Abort", tests, NULL, NULL);
}
