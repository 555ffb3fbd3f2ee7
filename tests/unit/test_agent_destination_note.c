/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "migration/machine.h"

#include "agent/destination_note.c"

int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return path_format(out, size, "%s%s", o->host_root, path);
}

static char root[] = "/tmp/pm-note-XXXXXX";
static struct agent_options options = { .host_root = root };

static const struct destination_note sample = {
	.migration = "m-1", .ns = "shop", .name = "web-to-milan", .source_node = "n1", .decider = true, .n = 2, .containers = { "one", "two" },
};

static void notes_come_back_as_they_were(void **state)
{
	struct destination_note n;
	struct monitor_info pod = { .sandbox = "other" };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(destination_note_read(&options, "box", &n, &err), -ENOENT);
	assert_int_equal(destination_note_write(&options, "box", &sample, &err), 0);
	assert_int_equal(destination_note_read(&options, "box", &n, &err), 0);
	assert_memory_equal(&n, &sample, sizeof(n));
	n.told = true;
	assert_int_equal(destination_note_write(&options, "box", &n, &err), 0);
	assert_int_equal(destination_note_read(&options, "box", &n, &err), 0);
	assert_true(n.told);
	/* It stays as long as its pod, and no longer. */
	snprintf(pod.sandbox, sizeof(pod.sandbox), "box");
	destination_notes_sweep(&options, &pod, 1);
	assert_int_equal(destination_note_read(&options, "box", &n, &err), 0);
	destination_notes_sweep(&options, &pod, 0);
	assert_int_equal(destination_note_read(&options, "box", &n, &err), -ENOENT);
	assert_int_equal(destination_note_write(&options, "../box", &sample, &err), -EINVAL);
}

enum { NOTED = 1, TOLD = 2 };
#define NOTHING -1

/* The states of a pod's monitors and what a worker that begins must make of them. */
static const struct {
	int note;
	const char *states[3];
	int found;
} row[] = {
	{ 0, { "waiting", "waiting" }, INPUT_FoundWaiting },
	{ 0, { "waiting" }, INPUT_FoundWaiting },                       /* the kubelet has not started the other one yet */
	{ 0, { "running", "running" }, NOTHING },                       /* it came here long ago */
	{ 0, { "failed" }, NOTHING },
	{ 0, { NULL }, NOTHING },
	{ 0, { "barrier", "waiting" }, INPUT_FoundRestoring },
	{ NOTED, { "waiting", "waiting" }, INPUT_FoundRestoring },      /* its source has given up */
	{ NOTED, { "standby", "waiting" }, INPUT_FoundRestoring },
	{ NOTED, { "starting", "standby" }, INPUT_FoundRestoring },
	{ NOTED, { "barrier", "restoring" }, INPUT_FoundRestoring },
	{ NOTED, { "barrier", "barrier" }, INPUT_FoundBarrier },
	{ NOTED, { "barrier", "failed" }, INPUT_FoundRestoring },       /* never to be committed */
	{ NOTED, { "barrier" }, INPUT_FoundRestoring },
	{ NOTED, { "waiting", "failed" }, INPUT_FoundRestoring },
	{ NOTED, { "running", "barrier" }, INPUT_FoundOpen },           /* opening had begun: it is committed */
	{ NOTED, { "running", "running" }, INPUT_FoundOpen },
	{ NOTED, { "running", "failed" }, INPUT_FoundOpen },
	{ NOTED, { "running", "cold" }, INPUT_FoundOpen },
	{ NOTED, { "cold" }, NOTHING },
	{ 0, { "cold", "running" }, NOTHING },
	{ NOTED, { "failed", "failed" }, NOTHING },
	{ TOLD, { "running", "running" }, NOTHING },
	{ NOTED, { "somethingelse", "barrier" }, INPUT_FoundRestoring },
};

static void monitors_tell_how_far_it_was(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct destination_note note = sample;
		struct monitor_info pods[5] = { { .sandbox = "another", .migration = "m-1", .state = "running" } };
		int n = 1;

		note.told = row[i].note == TOLD;
		for (int k = 0; k < 3 && row[i].states[k]; k++) {
			snprintf(pods[n].sandbox, sizeof(pods[n].sandbox), "box");
			snprintf(pods[n].migration, sizeof(pods[n].migration), "m-1");
			snprintf(pods[n].state, sizeof(pods[n].state), "%s", row[i].states[k]);
			n++;
		}
		if (destination_found(row[i].note ? &note : NULL, "box", pods, n) != row[i].found)
			fail_msg("row %zu: found %d, not %d", i, destination_found(row[i].note ? &note : NULL, "box", pods, n), row[i].found);
	}
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notes_come_back_as_they_were),
		cmocka_unit_test(monitors_tell_how_far_it_was),
	};

	return cmocka_run_group_tests_name("agent destination note", tests, make_root, remove_root);
}
