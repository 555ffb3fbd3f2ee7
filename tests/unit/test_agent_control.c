/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/control.c"

/* What a worker hears of its daemon, and when it hears nothing. */

static _Atomic int aborts, lates;
static struct control *kept[8];         /* nobody frees one: it lives as long as its worker */

static void on_abort(void *ctx)
{
	(void)ctx;
	aborts++;
}

static void on_late(void *ctx)
{
	(void)ctx;
	lates++;
}

static void say(int fd, const char *line)
{
	assert_int_equal(write(fd, line, strlen(line)), strlen(line));
}

/* Its thread lives as long as the other end is open. */
static struct control *begin(const char *order, int *ret_fd)
{
	struct control *c = NULL;
	struct error err = { 0 };
	cJSON *j = NULL;
	int p[2];

	assert_int_equal(pipe(p), 0);
	say(p[1], order);
	assert_int_equal(control_start(p[0], &c, &j, &err), 0);
	cJSON_Delete(j);
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (!kept[i]) {
			kept[i] = c;
			break;
		}
	aborts = lates = 0;
	*ret_fd = p[1];
	return c;
}

static void wait_for(_Atomic int *n, int want)
{
	for (int i = 0; i < 400 && *n < want; i++)
		usleep(10000);
	assert_int_equal(*n, want);
}

/* The controller, which ends a migration in time, is gone. */
static void the_end_of_its_time_is_told_once(void **state)
{
	struct error err = { 0 };
	struct control *c;
	int fd;

	(void)state;
	c = begin("{\"timeoutSeconds\":1}\n", &fd);
	control_on_abort(c, on_abort, NULL);
	control_on_late(c, on_late, NULL);
	say(fd, "{\"podIP\":\"10.0.0.1\"}\n");
	wait_for(&lates, 1);
	/* Nobody has ordered anything by that .. */
	assert_int_equal(control_check(c, &err), 0);
	assert_int_equal(aborts, 0);
	/* .. and what is ordered afterwards is heard. */
	say(fd, "{\"abort\":\"given up\",\"reason\":\"Cancelled\"}\n");
	wait_for(&aborts, 1);
	assert_int_equal(control_check(c, &err), -ECANCELED);
	assert_int_equal(lates, 1);
	/* Who comes late hears it at once. */
	control_on_late(c, on_late, NULL);
	assert_int_equal(lates, 2);
	control_forget(c);
	close(fd);
}

static void what_is_resumed_has_no_such_time(void **state)
{
	struct control *c;
	int fd;

	(void)state;
	c = begin("{\"timeoutSeconds\":1,\"resume\":true}\n", &fd);
	control_on_late(c, on_late, NULL);
	usleep(1500000);
	assert_int_equal(lates, 0);
	assert_int_equal(control_deadline(c), 0);
	control_forget(c);
	close(fd);
}

static void who_has_forgotten_is_not_called(void **state)
{
	struct control *c;
	int fd;

	(void)state;
	c = begin("{\"timeoutSeconds\":1}\n", &fd);
	control_on_late(c, on_late, NULL);
	control_forget(c);
	usleep(1500000);
	assert_int_equal(lates, 0);
	close(fd);
}

/* What the record says stays; what is only ordered may be a migration that has committed meanwhile. */
static void an_abort_says_whether_the_record_does(void **state)
{
	static const struct {
		const char *line;
		bool recorded;
	} cases[] = {
		{ "{\"abort\":\"given up\",\"reason\":\"Cancelled\"}\n", false },
		{ "{\"abort\":\"given up\",\"reason\":\"Cancelled\",\"recorded\":false}\n", false },
		{ "{\"abort\":\"given up\",\"reason\":\"Cancelled\",\"recorded\":true}\n", true },
		{ "{\"recorded\":true,\"podIP\":\"10.0.0.1\"}\n{\"abort\":\"given up\"}\n", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct control *c;
		int fd;

		c = begin("{\"timeoutSeconds\":100}\n", &fd);
		control_on_abort(c, on_abort, NULL);
		assert_false(control_abort_recorded(c));
		say(fd, cases[i].line);
		wait_for(&aborts, 1);
		assert_true(control_abort_recorded(c) == cases[i].recorded);
		control_forget(c);
		close(fd);
	}
}

/* The daemon ends: no order, and told once. */
static void an_end_of_the_agent_is_no_order(void **state)
{
	struct error err = { 0 };
	struct control *c;
	int fd;

	(void)state;
	c = begin("{\"timeoutSeconds\":100}\n", &fd);
	control_on_abort(c, on_abort, NULL);
	control_on_leave(c, on_late, NULL);
	say(fd, "{\"leave\":true}\n{\"leave\":true}\n");
	wait_for(&lates, 1);
	assert_int_equal(control_check(c, &err), 0);
	say(fd, "{\"abort\":\"given up\"}\n");
	wait_for(&aborts, 1);
	assert_int_equal(lates, 1);
	control_forget(c);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_end_of_its_time_is_told_once),
		cmocka_unit_test(what_is_resumed_has_no_such_time),
		cmocka_unit_test(who_has_forgotten_is_not_called),
		cmocka_unit_test(an_abort_says_whether_the_record_does),
		cmocka_unit_test(an_end_of_the_agent_is_no_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
