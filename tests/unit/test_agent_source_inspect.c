/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/source.h"
#include "container/process_info.h"

int look_at_process(pid_t pid, struct obstacles *out, struct error *err);
int played_pids(struct freezer *f, int container, pid_t *pids, int max);
int played_bundle(int dirfd, const char *path, struct bundle **ret, struct error *err);
int played_filled(struct source_container *c, struct error *err);
int played_volumes(const struct agent_options *o, const struct bundle *b, struct pod_volumes *v, struct error *err);
#define freezer_pids played_pids
#define bundle_load played_bundle
#define source_wait_filled played_filled
#define volumes_add played_volumes
#define process_find_obstacles look_at_process
#include "agent/source_inspect.c"
#undef process_find_obstacles
#undef volumes_add
#undef source_wait_filled
#undef bundle_load
#undef freezer_pids

/* What the containers of a pod have in common, and only one of them can take along.  Their processes are children of ours, two in each container at most. */

static pid_t members[3][2];
static int (*look)(pid_t pid, struct obstacles *out, struct error *err) = process_find_obstacles;

int look_at_process(pid_t pid, struct obstacles *out, struct error *err)
{
	return look(pid, out, err);
}

int played_pids(struct freezer *f, int container, pid_t *pids, int max)
{
	int n = 0;

	(void)f;
	for (int i = 0; i < 2 && i < max; i++)
		if (members[container][i])
			pids[n++] = members[container][i];
	return n;
}

/* A process with this segment (-1: none) attached. */
static pid_t start(int id)
{
	void *segment = id < 0 ? NULL : shmat(id, NULL, 0);
	pid_t pid;

	assert_ptr_not_equal(segment, (void *)-1);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	if (segment)
		assert_int_equal(shmdt(segment), 0);
	return pid;
}

static int new_segment(void)
{
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);

	assert_true(id >= 0);
	return id;
}

/* at[container][process]: which of two segments is attached; 0: none; -1: there is no such process. */
struct pod {
	int at[3][2];
	int owner;
	const char *both;       /* in the message; NULL: it is accepted */
};

static void look_at_pod(const struct pod *p)
{
	static const char *const names[] = { "web", "cache", "db" };
	struct source *s = calloc(1, sizeof(*s));
	int ids[] = { -1, new_segment(), new_segment() };
	struct obstacles found = { 0 };
	struct error err = { 0 };
	int r;

	s->n = 3;
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 2; k++)
			members[i][k] = p->at[i][k] < 0 ? 0 : start(ids[p->at[i][k]]);
		s->containers[i].init_pid = getpid();
		snprintf(s->containers[i].info.name, sizeof(s->containers[i].info.name), "%s", names[i]);
	}
	check_containers(s, &found);
	r = obstacles_error(&found, &err);
	if (!p->both && r < 0)
		fail_msg("%s", err.message);
	assert_int_equal(r, p->both ? -ENOTSUP : 0);
	assert_int_equal(err.reason, p->both ? REASON_UnsupportedContainer : REASON_NONE);
	assert_true(!p->both || strstr(err.message, p->both));
	assert_int_equal(source_ipc_owner(s), p->owner);
	for (int i = 0; i < 6; i++) {
		pid_t pid = members[i / 2][i % 2];

		if (pid && kill(pid, SIGKILL) == 0)
			waitpid(pid, NULL, 0);
	}
	shmctl(ids[1], IPC_RMID, NULL);
	shmctl(ids[2], IPC_RMID, NULL);
	free(s);
}

static void one_container_takes_system_v_memory_along(void **state)
{
	static const struct pod pods[] = {
		{ { { 0, -1 }, { 0, -1 }, { 0, -1 } }, 0, NULL },
		{ { { 1, -1 }, { 0, -1 }, { 0, -1 } }, 0, NULL },
		{ { { 0, 0 }, { 0, -1 }, { 0, 1 } }, 2, NULL },
		/* Processes of one container share as they like. */
		{ { { 0, -1 }, { 1, 1 }, { 0, 0 } }, 1, NULL },
		{ { { 0, -1 }, { 1, 2 }, { 0, 0 } }, 1, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pods) / sizeof(pods[0]); i++)
		look_at_pod(&pods[i]);
}

static void two_containers_cannot(void **state)
{
	static const struct pod pods[] = {
		{ { { 1, -1 }, { 1, -1 }, { 0, -1 } }, 0, "containers web and cache both" },
		{ { { 0, -1 }, { 0, 1 }, { 1, 0 } }, 1, "containers cache and db both" },
		{ { { 1, -1 }, { 0, -1 }, { 2, -1 } }, 0, "containers web and db both" },
		{ { { 1, -1 }, { 0, -1 }, { 1, -1 } }, 0, "share files in an emptyDir with medium Memory" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pods) / sizeof(pods[0]); i++)
		look_at_pod(&pods[i]);
}

static int looks;

/* Three processes of two containers, each with three things in the way, two of them of one reason. */
static int played_find(pid_t pid, struct obstacles *out, struct error *err)
{
	(void)err;
	looks++;
	obstacles_add(out, REASON_UnsupportedFile, "process %d has a queue", pid);
	obstacles_add(out, REASON_UnsupportedFile, "process %d has a socket", pid);
	obstacles_add(out, REASON_DeviceInUse, "process %d has a device", pid);
	return 0;
}

static void all_of_each_process_is_told(void **state)
{
	struct source *s = calloc(1, sizeof(*s));
	struct obstacles found = { 0 };
	struct error err = { 0 };
	char want[128];

	(void)state;
	members[0][0] = start(-1);
	members[0][1] = start(-1);
	members[1][0] = start(-1);
	members[1][1] = members[2][0] = members[2][1] = 0;
	s->n = 2;
	for (int i = 0; i < 2; i++) {
		s->containers[i].init_pid = getpid();
		snprintf(s->containers[i].info.name, sizeof(s->containers[i].info.name), "%s", i ? "cache" : "web");
	}
	look = played_find;
	check_containers(s, &found);
	look = process_find_obstacles;
	assert_int_equal(looks, 3);
	assert_int_equal(obstacles_error(&found, &err), -ENOTSUP);
	assert_int_equal(err.reason, REASON_UnsupportedFile);
	for (int i = 0; i < 3; i++) {
		pid_t pid = members[i / 2][i % 2];

		for (int k = 0; k < 3; k++) {
			snprintf(want, sizeof(want), "%scontainer %s: process %d has a %s", i + k == 0 ? "" : k == 2 ? "; DeviceInUse: " : "; UnsupportedFile: ", i < 2 ? "web" : "cache", pid,
				 k == 0 ? "queue" : k == 1 ? "socket" : "device");
			if (!strstr(err.message, want))
				fail_msg("%s is not in: %s", want, err.message);
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	free(s);
}

static int filled;              /* what waiting for the pod's memory comes to */
static int volumes_looked_at;

int played_bundle(int dirfd, const char *path, struct bundle **ret, struct error *err)
{
	(void)dirfd;
	(void)path;
	(void)err;
	*ret = calloc(1, sizeof(**ret));
	(*ret)->terminal = true;
	return 0;
}

int played_filled(struct source_container *c, struct error *err)
{
	(void)c;
	return filled < 0 ? error_reason(err, filled, filled == -ECANCELED ? REASON_Cancelled : REASON_TimedOut, "it is over") : 0;
}

int played_volumes(const struct agent_options *o, const struct bundle *b, struct pod_volumes *v, struct error *err)
{
	(void)o;
	(void)b;
	(void)v;
	(void)err;
	volumes_looked_at++;
	return 0;
}

static int check_one(int filling, struct obstacles *found, struct error *err)
{
	static const struct agent_options options = { .host_root = "/" };
	struct source *s = calloc(1, sizeof(*s));
	int r;

	s->o = &options;
	s->n = 1;
	snprintf(s->containers[0].info.upperdir, sizeof(s->containers[0].info.upperdir), "/u");
	snprintf(s->containers[0].info.bundle, sizeof(s->containers[0].info.bundle), "/b");
	filled = filling;
	volumes_looked_at = 0;
	r = check_container(s, &s->containers[0], found, err);
	free(s->containers[0].bundle);
	free(s);
	return r;
}

/* Who gives it up need not hear what is in the way, nor wait until all has been looked at. */
static void an_abort_is_no_obstacle(void **state)
{
	struct obstacles found = { 0 };
	struct error err = { 0 };

	(void)state;
	assert_int_equal(check_one(-ECANCELED, &found, &err), -ECANCELED);
	assert_int_equal(err.reason, REASON_Cancelled);
	assert_int_equal(found.n, 1);
	assert_int_equal(volumes_looked_at, 0);
	found = (struct obstacles){ 0 };
	assert_int_equal(check_one(-ETIMEDOUT, &found, &err), 0);
	assert_int_equal(found.n, 2);
	assert_int_equal(found.items[0].reason, REASON_TerminalAttached);
	assert_int_equal(found.items[1].reason, REASON_TimedOut);
	assert_int_equal(volumes_looked_at, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_container_takes_system_v_memory_along),
		cmocka_unit_test(two_containers_cannot),
		cmocka_unit_test(all_of_each_process_is_told),
		cmocka_unit_test(an_abort_is_no_obstacle),
	};

	return cmocka_run_group_tests_name("agent, what is looked at before the freeze", tests, NULL, NULL);
}
