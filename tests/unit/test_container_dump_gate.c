/* SPDX-License-Identifier: Apache-2.0 */
/* The gate at which CRIU waits for the freeze, with a reader that reads as CRIU does: until a page is full or the file ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "container/dump_gate.h"

#define PAGE 4096
#define SOON_MS 2000

static char dir[] = "/tmp/pm-gate-XXXXXX";
static int gate, said;          /* said: how many bytes the reader got, once it is through */
static pid_t reader;

static void start_reader(void)
{
	char path[64];
	int p[2];

	assert_int_equal(pipe(p), 0);
	snprintf(path, sizeof(path), "%s/irmap-cache", dir);
	reader = fork();
	if (reader == 0) {
		char page[PAGE];
		size_t got = 0;
		ssize_t n;
		int fd;

		close(gate);
		fd = open(path, O_RDONLY);
		while (got < PAGE && (n = read(fd, page + got, PAGE - got)) > 0)
			got += (size_t)n;
		_exit(write(p[1], &got, sizeof(got)) != sizeof(got));
	}
	close(p[1]);
	said = p[0];
}

/* 0: it still waits. */
static size_t through(int ms)
{
	struct pollfd f = { said, POLLIN, 0 };
	size_t got = 0;

	if (poll(&f, 1, ms) > 0)
		assert_int_equal(read(said, &got, sizeof(got)), sizeof(got));
	return got;
}

static void wait_reached(void)
{
	for (int i = 0; !dump_gate_reached(gate) && i < SOON_MS; i++)
		usleep(1000);
	assert_true(dump_gate_reached(gate));
}

static int set_up(void **state)
{
	struct error err = { 0 };

	(void)state;
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	return mkdtemp(dir) && dump_gate_make(dir, &gate, &err) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	if (gate >= 0)
		close(gate);
	close(said);
	waitpid(reader, NULL, 0);
	return tree_remove(AT_FDCWD, dir, NULL);
}

static void who_stands_there_goes_on_when_it_is_opened(void **state)
{
	(void)state;
	start_reader();
	wait_reached();
	assert_int_equal(through(50), 0);
	assert_int_equal(dump_gate_open(&gate), 0);
	assert_int_equal(gate, -1);
	assert_int_equal(through(SOON_MS), 8);
}

/* The gate stays open meanwhile: who is aborted is frozen until CRIU has ended. */
static void who_stands_there_hears_at_once_that_it_is_refused(void **state)
{
	(void)state;
	start_reader();
	wait_reached();
	assert_int_equal(dump_gate_refuse(gate), 0);
	assert_int_equal(through(SOON_MS), PAGE);
}

static void who_comes_later_is_refused_too(void **state)
{
	(void)state;
	assert_int_equal(dump_gate_refuse(gate), 0);
	start_reader();
	assert_int_equal(through(SOON_MS), PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_stands_there_goes_on_when_it_is_opened, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_stands_there_hears_at_once_that_it_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_comes_later_is_refused_too, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
