/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/pid_room.h"

/* The first process of a new process namespace: for each byte it gets it forks, and answers with the number that its child had. */
static void first_process(int in, int out)
{
	char byte;

	while (read(in, &byte, 1) == 1) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		waitpid(child, NULL, 0);
		if (write(out, &child, sizeof(child)) != sizeof(child))
			_exit(1);
	}
	_exit(0);
}

struct space {
	pid_t init;
	int in, out;
	char path[64];
};

static void make_space(struct space *s)
{
	int to[2], from[2], who[2];
	pid_t helper;

	assert_int_equal(pipe(to) | pipe(from) | pipe(who), 0);
	helper = fork();
	if (helper == 0) {
		pid_t init;

		close(to[1]);
		if (unshare(CLONE_NEWPID) < 0 || (init = fork()) < 0)
			_exit(1);
		if (init == 0)
			first_process(to[0], from[1]);
		_exit(write(who[1], &init, sizeof(init)) != sizeof(init));
	}
	close(to[0]);
	close(from[1]);
	close(who[1]);
	assert_int_equal(read(who[0], &s->init, sizeof(s->init)), sizeof(s->init));
	close(who[0]);
	waitpid(helper, NULL, 0);
	s->in = to[1];
	s->out = from[0];
	snprintf(s->path, sizeof(s->path), "/proc/%d/ns/pid", s->init);
}

static pid_t next_number(struct space *s)
{
	pid_t n = 0;

	assert_int_equal(write(s->in, "x", 1), 1);
	assert_int_equal(read(s->out, &n, sizeof(n)), sizeof(n));
	return n;
}

static void end_space(struct space *s)
{
	close(s->in);
	close(s->out);
}

static void new_processes_get_numbers_far_from_the_low_ones(void **state)
{
	struct error err = { 0 };
	struct space s;
	pid_t one, two;

	(void)state;
	make_space(&s);
	assert_true(next_number(&s) < 10);
	assert_int_equal(pid_room_make(s.path, "sandbox one", &err), 0);
	one = next_number(&s);
	assert_in_range(one, 32768 / 4, 32768 / 4 * 3 + 8);
	assert_true(next_number(&s) == one + 1);
	assert_int_equal(pid_room_make(s.path, "sandbox two", &err), 0);
	two = next_number(&s);
	assert_true(two < one - 8 || two > one + 8);
	end_space(&s);
}

static void what_is_no_namespace_is_said(void **state)
{
	struct error err = { 0 };

	(void)state;
	assert_int_equal(pid_room_make("/proc/0/ns/pid", "x", &err), -ENOENT);
	assert_int_equal(pid_room_make("/proc/self/ns/net", "x", &err), -EINVAL);
	assert_non_null(strstr(err.message, "process namespace"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(new_processes_get_numbers_far_from_the_low_ones),
		cmocka_unit_test(what_is_no_namespace_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
