/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/source.c"
#include "stream_pair.h"

/* A worker whose migration is not committed in time, and whom nobody orders anything. */

static const char order[] = "{\"migration\":\"m\",\"namespace\":\"shop\",\"name\":\"web-to-milan\",\"podUID\":\"u\",\"podName\":\"web\",\"epoch\":1,\"timeoutSeconds\":1}\n";

static struct control *kept[32];         /* nobody frees one: it lives as long as its worker */
static int n_kept;

struct worker {
	struct source *s;
	struct wire *theirs;
	int fd;
};

static struct worker begin(void)
{
	struct worker k = { .s = calloc(1, sizeof(*k.s)) };
	struct error err = { 0 };
	struct wire *w[2];
	cJSON *j = NULL;
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	k.fd = p[1];
	assert_int_equal(write(k.fd, order, strlen(order)), strlen(order));
	assert_int_equal(control_start(p[0], &k.s->control, &j, &err), 0);
	kept[n_kept++] = k.s->control;
	assert_int_equal(take_order(k.s, j, &err), 0);
	cJSON_Delete(j);
	pthread_mutex_init(&k.s->wire_lock, NULL);
	wire_pair(w, 20000000);
	k.s->wire = w[0];
	k.theirs = w[1];
	k.s->driver.side = SIDE_DECIDER;
	return k;
}

static void end(struct worker *k)
{
	control_forget(k->s->control);
	source_hang_up(k->s);
	wire_free(k->theirs);
	close(k->fd);
	free(k->s);
}

/* Whether the stream is broken, and how soon, 2 s at most. */
static bool is_interrupted(struct worker *k)
{
	for (int i = 0; i < 200; i++) {
		if (wire_is_given_up(k->s->wire))
			return true;
		usleep(10000);
	}
	return false;
}

static void what_is_late_goes_back(void **state)
{
	struct worker k = begin();

	(void)state;
	control_on_late(k.s->control, end_late, k.s);
	on_move(k.s, SRC_Freezing, INPUT_Ok, SRC_Sending);
	assert_true(is_interrupted(&k));
	/* As of a stream that broke, but for the reason. */
	error_reason(&k.s->err, -EPIPE, REASON_TransferFailed, "send");
	on_move(k.s, SRC_Sending, INPUT_StreamLost, SRC_Thawing);
	assert_int_equal(k.s->cause.reason, REASON_TimedOut);
	end(&k);
}

/* Both sides may think the other one runs it: only an outcome ends that. */
static void what_is_promised_does_not(void **state)
{
	static const uint8_t promised[] = { SRC_Committing, SRC_InDoubt, SRC_Delivering, SRC_Completing };

	(void)state;
	for (size_t i = 0; i < sizeof(promised); i++) {
		struct worker k = begin();

		control_on_late(k.s->control, end_late, k.s);
		on_move(k.s, SRC_Sent, INPUT_Ok, promised[i]);
		assert_false(is_interrupted(&k));
		end(&k);
	}
}

static const char leave[] = "{\"leave\":true}\n";

/* What the daemon sees within so many milliseconds. */
static bool says_that_it_stays(const struct worker *k, int ms)
{
	struct pollfd p = { k->fd, POLLRDHUP, 0 };

	return poll(&p, 1, ms) == 1 && (p.revents & POLLRDHUP) && !(p.revents & POLLHUP);
}

/* Its agent ends: the pod shall not stand still until another has come. */
static void what_its_agent_leaves_goes_back(void **state)
{
	static const uint8_t frozen[] = { SRC_Freezing, SRC_Sending, SRC_Sent, SRC_NotingCommit };

	(void)state;
	for (size_t i = 0; i < sizeof(frozen); i++) {
		struct worker k = begin();

		control_on_leave(k.s->control, end_leaving, k.s);
		on_move(k.s, SRC_NotingFreeze, INPUT_Ok, frozen[i]);
		assert_int_equal(write(k.fd, leave, strlen(leave)), strlen(leave));
		assert_true(is_interrupted(&k));
		error_reason(&k.s->err, -EPIPE, REASON_TransferFailed, "send");
		on_move(k.s, frozen[i], INPUT_StreamLost, SRC_Thawing);
		assert_int_equal(k.s->cause.reason, REASON_AgentRestarted);
		assert_false(says_that_it_stays(&k, 100));
		end(&k);
	}
}

static void what_is_promised_stays_when_its_agent_leaves(void **state)
{
	static const uint8_t promised[] = { SRC_Committing, SRC_InDoubt, SRC_Delivering, SRC_Completing };

	(void)state;
	for (size_t i = 0; i < sizeof(promised); i++) {
		struct worker k = begin();

		control_on_leave(k.s->control, end_leaving, k.s);
		on_move(k.s, SRC_Sent, INPUT_Ok, promised[i]);
		assert_int_equal(write(k.fd, leave, strlen(leave)), strlen(leave));
		assert_true(says_that_it_stays(&k, 20000));
		assert_false(is_interrupted(&k));
		/* What it hears of the outcome is the reason, should it go back after all. */
		error_reason(&k.s->err, -ECONNABORTED, REASON_DestinationPodFailed, "ABORT");
		on_move(k.s, promised[i], INPUT_PeerAbort, SRC_Thawing);
		assert_int_equal(k.s->cause.reason, REASON_DestinationPodFailed);
		end(&k);
	}
}

/* It gives its word at the same moment. */
static void what_is_promised_a_moment_later_stays(void **state)
{
	struct worker k = begin();

	(void)state;
	control_on_leave(k.s->control, end_leaving, k.s);
	on_move(k.s, SRC_NotingFreeze, INPUT_Ok, SRC_Sent);
	assert_int_equal(write(k.fd, leave, strlen(leave)), strlen(leave));
	assert_true(is_interrupted(&k));
	assert_false(says_that_it_stays(&k, 100));
	on_move(k.s, SRC_Sent, INPUT_Ok, SRC_Committing);
	assert_true(says_that_it_stays(&k, 0));
	end(&k);
}

/* The destination may come in minutes: nobody waits for that, and nothing is given up. */
static void who_has_no_stream_yet_stays(void **state)
{
	static const uint8_t early[] = { SRC_Inspecting, SRC_Ready, SRC_Dialling };

	(void)state;
	for (size_t i = 0; i < sizeof(early); i++) {
		struct worker k = begin();

		control_on_leave(k.s->control, end_leaving, k.s);
		on_move(k.s, SRC_Idle, INPUT_Ok, early[i]);
		assert_int_equal(write(k.fd, leave, strlen(leave)), strlen(leave));
		assert_true(says_that_it_stays(&k, 20000));
		assert_int_equal(control_check(k.s->control, NULL), 0);
		assert_int_equal(k.s->cause.message[0], 0);
		end(&k);
	}
}

/* The pod stands still while it asks, and would be refused.  (There is no record here to be asked.) */
static void what_the_record_is_known_to_say_is_not_asked(void **state)
{
	static const char abort[] = "{\"abort\":\"given up\",\"reason\":\"Cancelled\",\"recorded\":true}\n";
	struct worker k = begin();

	(void)state;
	assert_int_equal(write(k.fd, abort, strlen(abort)), strlen(abort));
	for (int i = 0; i < 2000 && !control_abort_recorded(k.s->control); i++)
		usleep(1000);
	assert_int_equal(source_deeds[DEED_RecordCommit].fn(k.s), INPUT_RecordAbort);
	assert_int_equal(k.s->err.reason, REASON_Cancelled);
	end(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_is_late_goes_back), cmocka_unit_test(what_is_promised_does_not),
					    cmocka_unit_test(what_its_agent_leaves_goes_back), cmocka_unit_test(what_is_promised_stays_when_its_agent_leaves),
					    cmocka_unit_test(what_is_promised_a_moment_later_stays), cmocka_unit_test(who_has_no_stream_yet_stays),
					    cmocka_unit_test(what_the_record_is_known_to_say_is_not_asked) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
