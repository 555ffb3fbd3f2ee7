/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "migration/names.h"

#define PROCESS_MAX (1u << 20)

/* Is this container ours and the application not there yet? */
static bool before_restored(const struct oci_args *a)
{
	char state[32];

	if (!a->id)
		return false;
	container_state(a->id, state, sizeof(state));
	return *state && strcmp(state, "running");
}

int command_start(const struct oci_args *a)
{
	char dir[512];

	/* A monitor is running from the moment it is created; runc start would fail on what it restored. */
	return a->id && container_dir(a->id, dir, sizeof(dir)) ? 0 : runc_exec(a);
}

int command_kill(const struct oci_args *a)
{
	int number = a->operand2 ? (int)strtol(a->operand2, NULL, 10) : SIGTERM;
	bool is_kill = number == SIGKILL || (a->operand2 && (!strcmp(a->operand2, "KILL") || !strcmp(a->operand2, "SIGKILL")));
	pid_t pid;

	if (!before_restored(a))
		return runc_exec(a);
	pid = container_monitor_pid(a->id);
	if (pid > 1 && kill(pid, is_kill ? SIGKILL : SIGTERM) < 0 && errno != ESRCH) {
		struct error err = { 0 };

		error_errno(&err, "signal the monitor");
		return report_error(a, &err);
	}
	return 0;
}

int command_state(const struct oci_args *a)
{
	if (!before_restored(a))
		return runc_exec(a);
	printf("{\"ociVersion\":\"1.2.0\",\"id\":\"%s\",\"pid\":%d,\"status\":\"running\"}\n", a->id, container_monitor_pid(a->id));
	return 0;
}

int command_other(const struct oci_args *a)
{
	struct error err = { 0 };

	if (!before_restored(a))
		return runc_exec(a);
	/* The kubelet updates resources of containers that it just started; the values come again with the application. */
	if (!strcmp(a->command, "update"))
		return 0;
	error_set(&err, -EAGAIN, "%s: the container waits for its migrated state", a->command);
	return report_error(a, &err);
}

/* --- exec of our own startup probe --- */

static bool is_started_probe(const char *process_file)
{
	cleanup_buf struct buf b = BUF_INIT(PROCESS_MAX);
	cleanup_json cJSON *j = NULL;

	return process_file && file_read(AT_FDCWD, process_file, &b, NULL) == 0 && json_parse(b.data, b.len, PROCESS_MAX, &j, NULL) == 0 &&
	       !strcmp(json_str_or(j, "args/0", ""), PM_STARTED_COMMAND);
}

/*
 * The shim wants a process to wait for: a child that ends with the answer as soon as we are gone (it is the shim's child then, which is a subreaper).
 */
static int answer_probe(const struct oci_args *a, int status)
{
	struct error err = { 0 };
	char text[16], c;
	int p[2];
	pid_t pid;

	if (!a->pid_file || pipe2(p, O_CLOEXEC) < 0) {
		error_set(&err, -EINVAL, "exec: no --pid-file");
		return report_error(a, &err);
	}
	pid = fork();
	if (pid == 0) {
		for (int fd = 0; fd < 3; fd++)
			close(fd);
		close(p[1]);
		/* End of file when the parent has ended. */
		while (read(p[0], &c, 1) < 0 && errno == EINTR)
			;
		_exit(status);
	}
	snprintf(text, sizeof(text), "%d", pid);
	if (pid < 0 || file_write(AT_FDCWD, a->pid_file, text, strlen(text), 0644, false, &err) < 0)
		return report_error(a, &err);
	return 0;
}

int command_exec(const struct oci_args *a)
{
	bool waiting = before_restored(a);
	struct error err = { 0 };

	if (is_started_probe(a->process))
		return answer_probe(a, waiting ? 1 : 0);
	if (!waiting)
		return runc_exec(a);
	error_set(&err, -EAGAIN, "exec: the container waits for its migrated state");
	return report_error(a, &err);
}
