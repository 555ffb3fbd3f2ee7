/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define grpc_call played_call
#include "container/containerd.c"
#undef grpc_call
#include "migration/reason.h"

/* What containerd says of a container's runtime, and which of them the source's agent takes. */

#define ROOT "/run/containerd/runc/k8s.io"

/* A container of the kubelet's, with the runtime that CRI has noted for it; a name of a type other than runc's leaves the options unread. */
static int filled(const char *shim, const char *type, const char *binary, const char *root, struct pod_container *ret, struct error *err)
{
	Containerd__RuncOptions options = CONTAINERD__RUNC_OPTIONS__INIT;
	Containerd__Any any = CONTAINERD__ANY__INIT;
	Containerd__Runtime runtime = CONTAINERD__RUNTIME__INIT;
	Containerd__Label name = CONTAINERD__LABEL__INIT, *labels[] = { &name };
	Containerd__Container in = CONTAINERD__CONTAINER__INIT;
	uint8_t packed[1200];

	name.key = (char *)(uintptr_t)"io.kubernetes.container.name";
	name.value = (char *)(uintptr_t)"one";
	options.binary_name = (char *)(uintptr_t)binary;
	options.root = (char *)(uintptr_t)root;
	any.type_url = (char *)(uintptr_t)type;
	any.value.data = packed;
	any.value.len = containerd__runc_options__pack(&options, packed);
	runtime.name = (char *)(uintptr_t)shim;
	runtime.options = type[0] ? &any : NULL;
	in.id = (char *)(uintptr_t)"c1";
	in.labels = labels;
	in.n_labels = 1;
	in.runtime = &runtime;
	return fill_container(NULL, &in, 1, ret, err);
}

static const struct {
	const char *shim, *type, *binary, *root, *said;
} cases[] = {
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "", "", NULL },
	{ "io.containerd.runc.v2", "", "", "", NULL },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "/opt/podmigration/bin/podmigration-runtime", "", NULL },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "/usr/bin/nvidia-container-runtime", "", NULL },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "/srv/crun/runc", "", NULL },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "runc", "/run/containerd/runc", NULL },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "runc", "/run/elsewhere", "below /run/elsewhere" },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "crun", "", "made by crun" },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "/usr/bin/crun", "", "made by /usr/bin/crun" },
	{ "io.containerd.runc.v2", RUNC_OPTIONS, "/usr/local/bin/youki", "", "made by /usr/local/bin/youki" },
	{ "io.containerd.runsc.v1", "runtimeoptions.v1.Options", "", "", "runs with io.containerd.runsc.v1" },
	{ "io.containerd.kata.v2", "", "", "", "runs with io.containerd.kata.v2" },
	{ "", "", "", "", NULL },
};

static void only_what_runc_knows_is_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pod_container c;
		struct error err = { 0 };

		assert_int_equal(filled(cases[i].shim, cases[i].type, cases[i].binary, cases[i].root, &c, &err), 0);
		assert_int_equal(containerd_check_runtime(&c, ROOT, &err), cases[i].said ? -ENOTSUP : 0);
		if (!cases[i].said)
			continue;
		assert_int_equal(err.reason, REASON_UnsupportedRuntime);
		assert_non_null(strstr(err.message, cases[i].said));
	}
}

static void what_is_too_long_is_refused(void **state)
{
	char text[1024];
	struct pod_container c;
	struct error err = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(filled(text, "", "", "", &c, &err), -EBADMSG);
	assert_int_equal(filled("io.containerd.runc.v2", RUNC_OPTIONS, text, "", &c, &err), -EBADMSG);
	assert_int_equal(filled("io.containerd.runc.v2", RUNC_OPTIONS, "", text, &c, &err), -EBADMSG);
}

/* The task that containerd tells of; -1: it says that there is none. */
static int task_status;
static uint32_t task_pid;

int played_call(struct grpc *g, const char *method, const void *request, size_t len, struct buf *reply, int *ret_status, struct error *err)
{
	Containerd__GetTaskResponse answer = CONTAINERD__GET_TASK_RESPONSE__INIT;
	Containerd__Task task = CONTAINERD__TASK__INIT;
	uint8_t packed[64];

	(void)g;
	(void)method;
	(void)request;
	(void)len;
	(void)ret_status;
	if (task_status < 0)
		return error_set(err, -ENOENT, "no task");
	task.status = (Containerd__TaskStatus)task_status;
	task.pid = task_pid;
	answer.process = &task;
	buf_reset(reply);
	return buf_append(reply, packed, containerd__get_task_response__pack(&answer, packed));
}

static int lives(int status, uint32_t pid)
{
	struct containerd c = { .reply = BUF_INIT(4096) };
	struct error err = { 0 };
	pid_t found = 0;
	int r;

	task_status = status;
	task_pid = pid;
	r = live_task(&c, "c1", &found, &err);
	assert_int_equal(found, r == 1 ? pid : 0);
	buf_free(&c.reply);
	return r;
}

/* Who takes a pod for gone forgets it, frozen or not. */
static void what_containerd_does_not_know_is_neither_dead_nor_alive(void **state)
{
	(void)state;
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__RUNNING, 42), 1);
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__PAUSED, 42), 1);
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__PAUSING, 42), 1);
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__CREATED, 42), 0);
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__STOPPED, 42), 0);
	assert_int_equal(lives(-1, 0), 0);
	/* Its shim did not answer in time. */
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__UNKNOWN, 0), -EAGAIN);
	assert_int_equal(lives(CONTAINERD__TASK_STATUS__RUNNING, 0), -EAGAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_runc_knows_is_taken),
		cmocka_unit_test(what_is_too_long_is_refused),
		cmocka_unit_test(what_containerd_does_not_know_is_neither_dead_nor_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
