/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "container/criu_log.h"
#include "container/runc.h"
#include "migration/reason.h"

/* Lines CRIU 4.2.1 wrote in dumps that failed, and the reason they stand for. */
static void telling_lines_have_a_reason(void **state)
{
	static const struct {
		const char *line;
		enum reason reason;
	} cases[] = {
		{ "Error (criu/sk-unix.c:881): unix: Can't dump half of stream unix connection. name: (null); peer name: /data/outside",
		  REASON_ExternalUnixSocket },
		{ "Error (criu/pie/parasite.c:588): send_fds failed (-22)", REASON_IOUringInUse },
		{ "Error (criu/files-ext.c:99): Can't dump file 3 of that type [600] (anon anon_inode:[io_uring])", REASON_IOUringInUse },
		{ "Error (criu/files-ext.c:99): Can't dump file 3 of that type [600] (anon anon_inode:[perf_event])", REASON_UnsupportedFile },
		{ "Error (criu/sk-inet.c:162): inet: Unsupported proto 262 for socket 1d3a", REASON_UnsupportedFile },
		{ "Error (criu/arch/x86/cpu.c:262): cpu: CPU xfeatures has unsupported bits (0x3f1a)", REASON_CPUIncompatible },
		{ "Error (criu/image.c:412): Can't write image: No space left on device", REASON_NoSpace },
		{ "Error (criu/tty.c:2200): tty: Found slave peer index 0 without correspond master peer", REASON_TerminalAttached },
		{ "Error (criu/cr-dump.c:1975): Dumping FAILED.", REASON_NONE },
		{ "Error (criu/cgroup.c:1): cg: cannot write cpu: nothing of the sort", REASON_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(criu_log_reason(cases[i].line, strlen(cases[i].line)), cases[i].reason);
}

static const char failed_dump[] =
	"(00.003905) Will dump/restore TCP connections\n"
	"(00.004449) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
	"(00.122815) 17409 fdinfo 1: pos:                0 flags:           100001/0\n"
	"(00.122834) Error (criu/sk-unix.c:881): unix: Can't dump half of stream unix connection. name: (null); peer name: /o\n"
	"(00.122844) ----------------------------------------\n"
	"(00.122909) Error (criu/cr-dump.c:1545): Dump files (pid: 17409) failed with -1\n"
	"(00.124199) Error (criu/cr-dump.c:1975): Dumping FAILED.\n";

static void errors_are_quoted_in_order_without_times_and_noise(void **state)
{
	struct buf b = BUF_INIT(4096);
	int reason = REASON_CheckpointFailed;

	(void)state;
	criu_log_quote(failed_dump, sizeof(failed_dump) - 1, 2000, &b, &reason);
	assert_string_equal(b.data, "Error (criu/sk-unix.c:881): unix: Can't dump half of stream unix connection. name: (null); peer name: /o | "
				    "Error (criu/cr-dump.c:1545): Dump files (pid: 17409) failed with -1 | "
				    "Error (criu/cr-dump.c:1975): Dumping FAILED.");
	assert_int_equal(reason, REASON_ExternalUnixSocket);
	buf_free(&b);
}

static void the_last_ones_that_fit_are_quoted(void **state)
{
	struct buf b = BUF_INIT(4096), log = BUF_INIT(1u << 20);
	int reason = REASON_NoSpace;

	(void)state;
	criu_log_quote(failed_dump, sizeof(failed_dump) - 1, 60, &b, &reason);
	assert_string_equal(b.data, "Error (criu/cr-dump.c:1975): Dumping FAILED.");
	/* A reason that is more than "failed" already stays. */
	assert_int_equal(reason, REASON_NoSpace);
	buf_reset(&b);
	criu_log_quote(failed_dump, sizeof(failed_dump) - 1, 10, &b, &reason);
	assert_int_equal(b.len, 0);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(buf_printf(&log, "(00.1) Error (a.c:1): number %d\n", i), 0);
	criu_log_quote(log.data, log.len, 4000, &b, &reason);
	assert_non_null(strstr(b.data, "number 4999"));
	assert_null(strstr(b.data, "number 4900"));
	buf_reset(&b);
	criu_log_quote("", 0, 100, &b, &reason);
	criu_log_quote("Error (", 7, 100, &b, &reason);
	assert_string_equal(b.data, "Error (");
	buf_free(&b);
	buf_free(&log);
}

static void a_log_is_added_to_the_message(void **state)
{
	char dir[] = "/tmp/test-criu-log-XXXXXX";
	struct buf log = BUF_INIT(2u << 20);
	struct error e = { 0 };
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error_reason(&e, -EIO, REASON_CheckpointFailed, "runc ended with status 1");
	criu_explain(fd, "dump.log", &e);
	assert_string_equal(e.message, "runc ended with status 1");
	/* Only the end of a large log is looked at; control characters of the application's file names do not get through. */
	for (int i = 0; i < 20000; i++)
		assert_int_equal(buf_puts(&log, "(00.000001) Error (x.c:1): early and far away from the end of the log\n"), 0);
	assert_int_equal(buf_printf(&log, "%0300000d\n(00.2) Error (y.c:2): Can't dump file 3 of that type [1] (reg \x1b[31m)\n", 0), 0);
	assert_int_equal(file_write(fd, "dump.log", log.data, log.len, 0600, false, NULL), 0);
	criu_explain(fd, "dump.log", &e);
	assert_string_equal(e.message, "runc ended with status 1; CRIU: Error (y.c:2): Can't dump file 3 of that type [1] (reg  [31m)");
	assert_int_equal(e.reason, REASON_UnsupportedFile);
	/* A message that is full stays as it is. */
	e.reason = REASON_CheckpointFailed;
	memset(e.message, 'x', sizeof(e.message) - 1);
	e.message[sizeof(e.message) - 1] = '\0';
	criu_explain(fd, "dump.log", &e);
	assert_int_equal(strlen(e.message), sizeof(e.message) - 1);
	assert_null(strstr(e.message, "CRIU"));
	assert_int_equal(e.reason, REASON_UnsupportedFile);
	close(fd);
	tree_remove(AT_FDCWD, dir, NULL);
	buf_free(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(telling_lines_have_a_reason),
		cmocka_unit_test(errors_are_quoted_in_order_without_times_and_noise),
		cmocka_unit_test(the_last_ones_that_fit_are_quoted),
		cmocka_unit_test(a_log_is_added_to_the_message),
	};

	return cmocka_run_group_tests_name("container criu log", tests, NULL, NULL);
}
