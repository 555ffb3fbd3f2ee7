/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/children.c"
#include "agent/host_path.c"
#include "agent/lock.c"

/* The workers of these tests are this program, which lives for as long as it may be told something. */

static const struct agent_options options = { .node = "n", .host_root = "", .runc_root = "/r", .containerd_socket = "/c" };

static struct child *begin(struct children *c, const char *key)
{
	cleanup_json cJSON *line = cJSON_CreateObject();
	struct error err = { 0 };

	cJSON_AddStringToObject(line, "podUID", "u");
	return children_start(c, CHILD_SOURCE, key, line, &err);
}

static void end(struct child *c)
{
	struct pollfd p = { c->pidfd, POLLIN, 0 };

	close(take_fd(&c->control_fd));
	assert_int_equal(poll(&p, 1, 20000), 1);
	child_reap(c);
}

/* Of one with an entry it is thought that it was begun. */
static void one_that_could_not_be_started_leaves_no_entry(void **state)
{
	struct children *c = calloc(1, sizeof(*c));
	struct rlimit had, none;
	int next = dup(0);

	(void)state;
	c->o = &options;
	assert_non_null(begin(c, "a"));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &had), 0);
	none = had;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_null(begin(c, "b"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	close(next);
	assert_null(children_find(c, CHILD_SOURCE, "b"));
	assert_non_null(children_find(c, CHILD_SOURCE, "a"));
	assert_non_null(begin(c, "b"));
	assert_int_equal(children_running(c, CHILD_SOURCE), 2);
	end(children_find(c, CHILD_SOURCE, "a"));
	end(children_find(c, CHILD_SOURCE, "b"));
	/* One that has ended, and cannot be started again now, is remembered. */
	next = dup(0);
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_null(begin(c, "a"));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	close(next);
	assert_non_null(children_find(c, CHILD_SOURCE, "a"));
	while (c->n)
		children_forget(c, &c->items[0]);
	free(c);
}

static short poll_control(const struct child *c)
{
	struct pollfd p = { c->control_fd, POLLRDHUP, 0 };

	assert_int_equal(poll(&p, 1, 20000), 1);
	return p.revents;
}

/* Both hang up: who stays goes on listening. */
static void one_that_ends_does_not_stay(void **state)
{
	static const char *const keys[] = { "ends", "stays" };
	struct children *c = calloc(1, sizeof(*c));

	(void)state;
	c->o = &options;
	for (int i = 0; i < 2; i++) {
		cleanup_json cJSON *line = cJSON_CreateObject();
		struct child *k = begin(c, keys[i]);
		struct pollfd p = { k->pidfd, POLLIN, 0 };

		cJSON_AddStringToObject(line, "key", keys[i]);
		child_hear(k, 0);
		assert_true(k->control_fd >= 0 && !k->stays);
		child_tell(k, line);
		child_hear(k, poll_control(k));
		assert_true(k->stays == (i == 1));
		assert_int_equal(k->control_fd, -1);
		assert_int_equal(poll(&p, 1, 20000), 1);
		child_reap(k);
	}
	while (c->n)
		children_forget(c, &c->items[0]);
	free(c);
}

/* A daemon may be gone before its workers are: until then the next one must not think that they are. */
static void the_lock_is_free_when_the_last_worker_has_ended(void **state)
{
	static char root[] = "/tmp/pm-lock-XXXXXX";
	const struct agent_options o = { .node = "n", .host_root = root, .runc_root = "/r", .containerd_socket = "/c" };
	struct children *c = calloc(1, sizeof(*c));
	struct error err = { 0 };
	int next;

	(void)state;
	assert_non_null(mkdtemp(root));
	c->o = &o;
	c->lock_fd = lock_open(&o, &err);
	next = lock_open(&o, &err);
	assert_true(c->lock_fd > 0 && next > 0);
	assert_int_equal(lock_take(c->lock_fd, &err), 0);
	assert_int_equal(lock_take(c->lock_fd, &err), 0);
	assert_int_equal(lock_take(next, &err), -EAGAIN);
	assert_non_null(begin(c, "a"));
	close(c->lock_fd);
	assert_int_equal(lock_take(next, &err), -EAGAIN);
	end(children_find(c, CHILD_SOURCE, "a"));
	assert_int_equal(lock_take(next, &err), 0);
	close(next);
	children_forget(c, &c->items[0]);
	free(c);
	assert_int_equal(tree_remove(AT_FDCWD, root, NULL), 0);
}

/* Until nothing is told any more, or it is told to do what a worker may do when its agent ends. */
static void work(void)
{
	char text[4096] = "";
	size_t len = 0;
	ssize_t n;

	while ((n = read(0, text + len, sizeof(text) - 1 - len)) > 0) {
		len += (size_t)n;
		if (strstr(text, "\"ends\""))
			return;
		if (strstr(text, "\"stays\""))
			shutdown(0, SHUT_WR);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_could_not_be_started_leaves_no_entry),
		cmocka_unit_test(one_that_ends_does_not_stay),
		cmocka_unit_test(the_lock_is_free_when_the_last_worker_has_ended),
	};

	if (argc > 1 && !strcmp(argv[1], "source")) {
		work();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
