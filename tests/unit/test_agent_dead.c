/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "agent/host_path.c"
#include "agent/source_inspect.c"

/* A container that was killed and left frozen, while containerd does not answer: its pod must not terminate for ever. */

int source_wait_filled(struct source_container *c, struct error *err)
{
	(void)c;
	(void)err;
	return 0;
}

int source_wait_strangers(struct source *s, struct obstacles *found, struct error *err)
{
	(void)s;
	(void)found;
	(void)err;
	return 0;
}

int volumes_add(const struct agent_options *o, const struct bundle *b, struct pod_volumes *v, struct error *err)
{
	(void)o;
	(void)b;
	(void)v;
	(void)err;
	return 0;
}

void source_files_free(struct source *s)
{
	(void)s;
}

void source_fence_end(struct source *s)
{
	(void)s;
}

void source_blinkers_free(struct source_blinkers *b)
{
	(void)b;
}

void record_close(struct record *r)
{
	(void)r;
}

static char root[] = "/tmp/pm-agent-dead-XXXXXX";
static const char *const made[] = { "c1/state.json", "group/cgroup.procs", "group/freezer.state", "c1", "group" };

static void put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL), 0);
}

static bool is_thawed(void)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	char path[128];

	snprintf(path, sizeof(path), "%s/group/freezer.state", root);
	return file_read(AT_FDCWD, path, &b, NULL) == 0 && !strncmp(b.data, "THAWED", 6);
}

static int thaw(struct source *s)
{
	static const struct agent_options o = { .host_root = "/", .containerd_socket = "/nobody/listens/here" };
	struct error err = { 0 };
	char text[256];

	snprintf(text, sizeof(text), "{\"cgroup_paths\":{\"freezer\":\"%s/group\"}}", root);
	put("c1/state.json", text);
	put("group/cgroup.procs", "");
	put("group/freezer.state", "FROZEN\n");
	s->o = &o;
	s->runc = (struct runc){ .root = root, .netns_fd = -1 };
	return source_thaw_dead(s, &err);
}

static void who_has_found_it_needs_no_containerd(void **state)
{
	struct source *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	s->n = 1;
	snprintf(s->containers[0].info.id, sizeof(s->containers[0].info.id), "c1");
	assert_int_equal(thaw(s), 0);
	assert_true(is_thawed());
	free(s);
}

/* The journal must then stay, or nobody would come back to it. */
static void who_comes_later_asks_again(void **state)
{
	struct source *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	s->resumed = true;
	assert_true(thaw(s) < 0);
	assert_false(is_thawed());
	/* It finds those that live; what has died is known to containerd alone. */
	s->n = 1;
	snprintf(s->containers[0].info.id, sizeof(s->containers[0].info.id), "alive");
	assert_true(thaw(s) < 0);
	assert_false(is_thawed());
	s->n = 0;
	s->resumed = false;     /* has frozen nothing */
	assert_int_equal(thaw(s), 0);
	containerd_close(s->containerd);
	free(s);
}

static int setup(void **state)
{
	char path[128];

	(void)state;
	assert_non_null(mkdtemp(root));
	for (size_t i = 3; i < sizeof(made) / sizeof(made[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", root, made[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	return 0;
}

static int teardown(void **state)
{
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", root, made[i]);
		remove(path);
	}
	return rmdir(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_has_found_it_needs_no_containerd),
		cmocka_unit_test(who_comes_later_asks_again),
	};

	return cmocka_run_group_tests_name("agent, killed and left frozen", tests, setup, teardown);
}
