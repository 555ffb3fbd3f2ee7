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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"

#include "agent/host_path.c"
#include "agent/monitors.c"

/* Monitors that do not answer, and a node that has nothing left to ask them with. */

static char root[] = "/tmp/pm-monitors-XXXXXX";
static struct agent_options options = { .host_root = root };

static void at(const char *what, char *out, size_t size)
{
	snprintf(out, size, "%s" PM_RUN_DIR "/containers/%s", root, what);
}

/* The socket of container c1, as a monitor has it that was stopped: nobody accepts. */
static int listen_deaf(int backlog)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char path[512];

	at("c1/monitor.sock", path, sizeof(path));
	unlink(path);
	assert_int_equal(path_format(a.sun_path, sizeof(a.sun_path), "%s", path), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

/* Each agent that asked in vain leaves one in the queue; behind the last place connect(2) would wait for ever. */
static void a_stopped_monitor_with_a_full_queue_is_given_up(void **state)
{
	int fd = listen_deaf(0);
	struct monitor *first = NULL, *second = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(monitor_connect(&options, "c1", &first, &err), 0);
	/* Not refused and not away: it may still do what it was told before. */
	assert_int_equal(monitor_connect(&options, "c1", &second, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.message, "c1"));
	assert_null(second);
	monitor_close(first);
	close(fd);
}

static void a_stopped_monitor_that_takes_no_more_words_is_given_up(void **state)
{
	int fd = listen_deaf(1), r = 0;
	struct monitor *m = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(monitor_connect(&options, "c1", &m, &err), 0);
	for (int i = 0; r == 0 && i < 100000; i++)
		r = monitor_open(m, &err);
	assert_int_equal(r, -ETIMEDOUT);
	monitor_close(m);
	close(fd);
}

static void put(const char *name, const char *text)
{
	char path[512];

	at(name, path, sizeof(path));
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL), 0);
}

/* Leaves so many file descriptors to be opened. */
static void leave(int n, struct rlimit *ret_before)
{
	struct rlimit less;
	int last = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(last);
	getrlimit(RLIMIT_NOFILE, ret_before);
	less = *ret_before;
	less.rlim_cur = (rlim_t)(last + n);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
}

/* Whoever is told that a container is gone gives up its pod, or says that it never ran. */
static void what_cannot_be_looked_at_is_not_gone(void **state)
{
	struct monitor_info *all = calloc(4, sizeof(*all));
	struct monitor *m = NULL;
	struct error err = { 0 };
	struct rlimit before;
	int fd = listen_deaf(8), r[3];

	(void)state;
	put("c1/info.json", "{\"id\":\"c1\",\"name\":\"web\",\"pod\":{\"namespace\":\"shop\",\"name\":\"web\",\"uid\":\"u\"},\"sandbox\":\"s\",\"migration\":\"m\",\"bundle\":\"/b\"}\n");
	put("c1/state", "barrier\n");
	assert_int_equal(monitors_list(&options, all, 4, &err), 1);
	for (int n = 0; n < 3; n++) {
		leave(n, &before);
		r[n] = monitor_connect(&options, "c1", &m, &err);
		setrlimit(RLIMIT_NOFILE, &before);
		assert_int_equal(r[n], -EMFILE);
		leave(n, &before);
		r[n] = monitors_list(&options, all, 4, &err);
		setrlimit(RLIMIT_NOFILE, &before);
		assert_int_equal(r[n], n < 2 ? -EMFILE : 1);
	}
	/* What is not complete yet, or damaged, is passed over as before. */
	put("c1/info.json", "{\"id\":");
	assert_int_equal(monitors_list(&options, all, 4, &err), 0);
	close(fd);
	free(all);
}

static int make_root(void **state)
{
	char path[512];

	(void)state;
	if (!mkdtemp(root))
		return -1;
	at("c1", path, sizeof(path));
	if (dir_make(AT_FDCWD, path, 0700, NULL) < 0)
		return -1;
	at("c2", path, sizeof(path));
	return dir_make(AT_FDCWD, path, 0700, NULL);
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stopped_monitor_with_a_full_queue_is_given_up),
		cmocka_unit_test(a_stopped_monitor_that_takes_no_more_words_is_given_up),
		cmocka_unit_test(what_cannot_be_looked_at_is_not_gone),
	};

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
