/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/json.h"

#include "agent/source_throttle.c"
#include "agent/throttle.c"

/*
 * A process of its own in a container's cgroup of its own, of the running kernel: slowed down, killed in the midst of it, and what is left behind taken back.  Where nobody may make a cgroup with
 * a cpu controller nothing is there to be slowed down, and that is what is looked at.
 */
#define MIGRATION "0b0c1d2e-0000-4000-8000-000000000002"
#define DEADLINE_US 1000000000000
#define USED 500000             /* a busy machine may have given it too little for a limit */

static char root[] = "/tmp/pm-slow-XXXXXX";
static struct agent_options options = { .host_root = root };
static char *told;              /* the last of status.source.containers */

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return path_format(out, size, "%s%s", strncmp(path, "/sys/", 5) ? o->host_root : "", path);
}

void source_live_tell(struct source *s)
{
	cleanup_json cJSON *list = cJSON_CreateArray();

	for (int i = 0; i < s->n; i++) {
		cJSON *e = cJSON_CreateObject();

		cJSON_AddStringToObject(e, "name", s->containers[i].info.name);
		source_throttle_report(&s->containers[i], e);
		cJSON_AddItemToArray(list, e);
	}
	free(told);
	told = cJSON_PrintUnformatted(list);
}

/* --- the container --- */

static const char *const v1[] = { "/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/freezer", NULL }, *const v2[] = { "/sys/fs/cgroup", NULL };

static struct container {
	const char *const *tops;
	pid_t pid;              /* 0: there is none */
} box;

static void group_of(const char *top, const char *part, char *out, size_t size)
{
	assert_int_equal(path_format(out, size, "%s/pm-unit-%d%s", top, getpid(), part), 0);
}

static void write_word(const char *folder, const char *file, const char *word)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%.400s/%s", folder, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, word, strlen(word)) < 0)
		print_message("%s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void remove_groups(void)
{
	static const char *const parts[] = { "/podu/c", "/podu", "" };
	char path[512];

	for (int i = 0; box.tops[i]; i++)
		for (int k = 0; k < 3; k++) {
			group_of(box.tops[i], parts[k], path, sizeof(path));
			rmdir(path);
		}
}

static bool make_groups(void)
{
	static const char *const parts[] = { "", "/podu", "/podu/c" };
	char path[512];

	for (int i = 0; box.tops[i]; i++)
		for (int k = 0; k < 3; k++) {
			group_of(box.tops[i], parts[k], path, sizeof(path));
			if (mkdir(path, 0755) < 0)
				return false;
			if (box.tops == v2 && k < 2)
				write_word(path, "cgroup.subtree_control", "+cpu");
		}
	group_of(box.tops[0], box.tops == v2 ? "/podu/c/cpu.max" : "/podu/c/cpu.cfs_quota_us", path, sizeof(path));
	return access(path, W_OK) == 0;
}

static void start(void)
{
	char path[512], number[16];

	box.tops = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? v2 : v1;
	if (!make_groups())
		return;
	box.pid = fork();
	assert_true(box.pid >= 0);
	while (!box.pid)
		;
	snprintf(number, sizeof(number), "%d", box.pid);
	for (int i = 0; box.tops[i]; i++) {
		group_of(box.tops[i], "/podu/c", path, sizeof(path));
		write_word(path, "cgroup.procs", number);
	}
}

static void quota(char *out, size_t size)
{
	struct buf b = BUF_INIT(64);
	char path[512];

	group_of(box.tops[0], box.tops == v2 ? "/podu/c/cpu.max" : "/podu/c/cpu.cfs_quota_us", path, sizeof(path));
	assert_int_equal(file_read(AT_FDCWD, path, &b, NULL), 0);
	snprintf(out, size, "%s", b.data);
	buf_free(&b);
}

static void assert_own(void)
{
	char text[64];

	quota(text, sizeof(text));
	assert_string_equal(text, box.tops == v2 ? "max 100000\n" : "-1\n");
}

static int64_t quota_now(void)
{
	char text[64];

	quota(text, sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	return cpu_limit_quota(text, box.tops == v2);
}

/* --- the source --- */

static void set_up(struct source *s)
{
	*s = (struct source){ .o = &options, .record = (void *)&options, .auto_converge = true, .deadline_us = DEADLINE_US, .n = 1 };
	pthread_mutex_init(&s->throttle_lock, NULL);
	snprintf(s->journal.migration, sizeof(s->journal.migration), "%s", MIGRATION);
	s->containers[0] = (struct source_container){ .source = s, .init_pid = box.pid };
	snprintf(s->containers[0].info.name, sizeof(s->containers[0].info.name), "busy");
}

/* As of one round while nothing is limited. */
static void measure(struct source *s)
{
	struct source_usage before = source_usage_now(&s->containers[0]);

	usleep(200000);
	source_throttle_measure(&s->containers[0], &before);
}

static bool nobody(void *ctx, const char *migration)
{
	(void)ctx;
	(void)migration;
	return false;
}

static void it_is_slowed_down_step_by_step_and_has_its_own_again(void **state)
{
	static struct source s;
	struct source_container *c = &s.containers[0];
	struct error err = { 0 };
	char expected[64];
	int64_t all;

	(void)state;
	set_up(&s);
	measure(&s);
	if (!box.pid) {
		assert_false(source_throttle_more(c, 0));
		assert_int_equal(source_throttle_lift(&s, &err), 0);
		return;
	}
	assert_in_range(c->cpu_used, 1, 1100000);
	c->cpu_used = USED;
	all = c->cpu_used / 10;         /* in one period of 100 ms */
	for (int percent = 80; percent >= 10; percent -= 10) {
		assert_true(source_throttle_more(c, 0));
		assert_int_equal(c->cpu_percent, percent);
		assert_int_equal(quota_now(), throttle_quota_us(c->cpu_used, percent, 100000));
		assert_true(quota_now() <= all * percent / 100 + 1);
		snprintf(expected, sizeof(expected), "[{\"name\":\"busy\",\"cpuPercent\":%d,\"cpuLimit\":\"%lldm\"}]", percent, (long long)(c->cpu_used * percent / 100000));
		assert_string_equal(told, expected);
	}
	/* What it uses now is no measure any more. */
	all = c->cpu_used;
	measure(&s);
	assert_int_equal(c->cpu_used, all);
	assert_false(source_throttle_more(c, 0));
	assert_int_equal(source_throttle_lift(&s, &err), 0);
	assert_own();
	assert_int_equal(source_throttle_lift(&s, &err), 0);
	assert_int_equal(throttle_notes_lift(&options, nobody, NULL), 0);
}

/* Off, and where the time is up. */
static void it_is_left_alone(void **state)
{
	static struct source s;

	(void)state;
	set_up(&s);
	s.auto_converge = false;
	measure(&s);
	assert_int_equal(s.containers[0].cpu_used, 0);
	assert_false(source_throttle_more(&s.containers[0], 0));
	s.auto_converge = true;
	measure(&s);
	s.deadline_us = clock_mono_us() + GRACE_US + 2000000;
	assert_false(source_throttle_more(&s.containers[0], 1100000));
	if (box.pid)
		assert_own();
}

static void a_worker_that_is_killed_leaves_nothing_slow(void **state)
{
	static struct source s;
	pid_t pid;
	int status;

	(void)state;
	if (!box.pid)
		return;
	pid = fork();
	if (!pid) {
		set_up(&s);
		s.containers[0].cpu_used = USED;
		if (source_throttle_more(&s.containers[0], 0) && source_throttle_more(&s.containers[0], 0))
			raise(SIGKILL);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_true(quota_now() < INT64_MAX);
	assert_int_equal(throttle_notes_lift(&options, nobody, NULL), 1);
	assert_own();
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(root))
		return -1;
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(told);
	if (box.pid > 0) {
		kill(box.pid, SIGKILL);
		waitpid(box.pid, NULL, 0);
	}
	remove_groups();
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_slowed_down_step_by_step_and_has_its_own_again),
		cmocka_unit_test(it_is_left_alone),
		cmocka_unit_test(a_worker_that_is_killed_leaves_nothing_slow),
	};

	return cmocka_run_group_tests_name("source throttle", tests, setup, teardown);
}
