/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "check.h"

static bool in_group(const struct box *b)
{
	bool v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
	cleanup_buf struct buf text = BUF_INIT(65536);
	char path[64];
	int lines = 0, with = 0;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", b->pid);
	if (file_read(AT_FDCWD, path, &text, NULL) < 0)
		return false;
	for (char *l = text.data; *l; l += strcspn(l, "\n") + 1) {
		/* Beside v1 hierarchies that of v2 holds no controllers, and nobody moves anything there; of those, nobody sees any where it is mounted alone. */
		bool seen = !strncmp(l, "0::", 3) == v2;

		lines += seen;
		with += seen && memmem(l, strcspn(l, "\n"), b->id, strlen(b->id));
	}
	return lines > 0 && with == lines;
}

/* Of ours, and so of runc's and CRIU's, which come out of it. */
static bool leaves_no_core(const struct box *b)
{
	cleanup_buf struct buf text = BUF_INIT(65536);
	char path[64], *line;

	snprintf(path, sizeof(path), "/proc/%d/limits", b->pid);
	line = file_read(AT_FDCWD, path, &text, NULL) == 0 ? strstr(text.data, "Max core file size") : NULL;
	return line && strtoul(line + strlen("Max core file size"), NULL, 10) <= 1;
}

static void check_info(const struct box *b)
{
	cleanup_buf struct buf text = BUF_INIT(262144), state = BUF_INIT(64);
	cleanup_json cJSON *j = NULL;
	struct error err = { 0 };
	char path[512];
	struct stat st;
	int64_t pid = 0;

	snprintf(path, sizeof(path), "%s/%s/info.json", CONTAINERS, b->id);
	if (!check(file_read(AT_FDCWD, path, &text, &err) == 0 && json_parse(text.data, text.len, 262144, &j, &err) == 0, "info.json %s", err.message))
		return;
	check(!strcmp(json_str_or(j, "id", ""), b->id) && !strcmp(json_str_or(j, "name", ""), "app") &&
		      !strcmp(json_str_or(j, "migration", ""), MIGRATION) && !strcmp(json_str_or(j, "bundle", ""), b->bundle) &&
		      !strcmp(json_str_or(j, "root", ""), b->s->root) && !strcmp(json_str_or(j, "netns", ""), b->s->netns) &&
		      !strncmp(json_str_or(j, "sandbox", ""), "sandbox", 7) && !strncmp(json_str_or(j, "cgroup", ""), "/kubepods/", 10) &&
		      !strcmp(json_str_or(j, "pod/namespace", ""), "shop") && !strcmp(json_str_or(j, "pod/name", ""), "web") &&
		      !strncmp(json_str_or(j, "pod/uid", ""), "aaaaaaaa-", 9),
	      "info.json says who it is");
	check(json_int(j, "pid", 1, 4194304, &pid) == 0 && pid == b->pid, "and the monitor's pid");
	check(strstr(json_str_or(j, "keyDir", ""), "/volumes/key") && strstr(json_str_or(j, "orderDir", ""), "/volumes/order"), "and the folders of the two volumes");
	check(cJSON_GetArraySize(json_at(j, "mounts")) == 1 && !strcmp(json_str_or(j, "mounts/0/destination", ""), "/data"), "and the bind mounts that are left");
	snprintf(path, sizeof(path), "%s/%s/state", CONTAINERS, b->id);
	check(file_read(AT_FDCWD, path, &state, NULL) == 0 && !strcmp(state.data, "waiting\n"), "state is waiting");
	snprintf(path, sizeof(path), "%s/%s", CONTAINERS, b->id);
	check(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700, "the folder is root's alone");
	check(leaves_no_core(b), "no core of it is ever written");
}

/* Not a byte but the two mounts may change: numbers of 64 bits are what a JSON library would spoil. */
static void check_config(const struct buf *before, const struct box *b)
{
	cleanup_buf struct buf after = BUF_INIT(1u << 20), want = BUF_INIT(1u << 20);
	const char *from = strstr(before->data, "{\"destination\":\"/.podmigration/key\""), *to = strstr(before->data, "{\"destination\":\"/data\"");
	char path[512];

	buf_append(&want, before->data, (size_t)(from - before->data));
	buf_puts(&want, to);
	snprintf(path, sizeof(path), "%s/config.json", b->bundle);
	check(file_read(AT_FDCWD, path, &after, NULL) == 0 && after.len == want.len && !memcmp(after.data, want.data, want.len),
	      "config.json has lost our two mounts and nothing else");
}

static void refusals(struct box *b)
{
	static const char *const refused[] = { "pause", "resume", "checkpoint", "events" };
	char pids[16];
	int code;

	check(shim_op(b, "start") == 0, "start is fine");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check(shim_op(b, refused[i]) == 1 && strstr(b->message, "waits for its migrated state"), "%s is refused", refused[i]);
	check(shim_call(b, (const char *const[]){ "update", "--resources=-", b->id, NULL }) == 0, "update is fine");
	check(shim_exec(b, "[\"/app\"]", &code) == 1 && strstr(b->message, "waits for its migrated state"), "exec is refused");
	check(shim_exec(b, "[\"/.podmigration/started\",\"x\"]", &code) == 1, "a command that only begins like it is refused");
	snprintf(pids, sizeof(pids), "[%d]\n", b->pid);
	check(shim_call(b, (const char *const[]){ "ps", "--format", "json", b->id, NULL }) == 0 && !strcmp(shim_said(), pids), "ps: the monitor, %s", shim_said());
	check(shim_op(b, "state") == 0 && strstr(shim_said(), "\"status\":\"running\"") && strstr(shim_said(), b->bundle), "state: running");
	check(shim_delete(b, false) == 1 && strstr(b->message, "not stopped"), "delete without --force is refused");
}

static void waits(struct setup *s)
{
	cleanup_buf struct buf before = BUF_INIT(1u << 20);
	char path[512];
	struct box b;
	pid_t probe;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	snprintf(path, sizeof(path), "%s/config.json", b.bundle);
	file_read(AT_FDCWD, path, &before, NULL);
	check(shim_create(&b) == 0 && b.pid > 1, "create of a container that is to be restored %s", b.message);
	check(in_group(&b), "its pid is in the container's cgroup of every hierarchy");
	check(getpgid(b.pid) == b.pid, "it has a session of its own");
	check_info(&b);
	check_config(&before, &b);
	refusals(&b);
	check(shim_exec_start(&b, STARTED_PROBE, &probe) == 0 && shim_exec_wait(probe, 300) == -1, "the startup probe does not answer yet");
	check(shim_kill(&b, "0") == 0 || shim_wait(&b, 0) < 0, "it is still there");
	shim_delete(&b, true);
	check(shim_exec_wait(probe, 2000) == 1, "it ends with it, and says no");
	check(shim_wait(&b, 2000) == 143, "delete --force ends it");
	check(box_gone(&b), "and nothing is left");
	close(b.out_fd);
}

static void ends(struct setup *s, const char *signal, int status)
{
	struct box b;

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	check(shim_kill(&b, signal) == 0 && shim_wait(&b, 2000) == status, "kill %s while it waits: status %d", signal, status);
	check(shim_kill(&b, "9") == 1 && strstr(b.message, "container not running"), "a second kill: not running");
	check(shim_op(&b, "state") == 0 && strstr(shim_said(), "\"status\":\"stopped\""), "state: stopped");
	check(shim_delete(&b, false) == 0 && box_gone(&b), "delete leaves nothing");
	close(b.out_fd);
}

/* The kubelet restarts a container whose monitor ended before anything was restored: it waits again. */
static void waits_again(struct setup *s)
{
	static const struct bundle_options o = { .migration = MIGRATION, .pod_uid = "bbbbbbbb-0000-4000-8000-000000000001" };
	struct box a, b;

	shim_bundle(&a, s, &o);
	shim_create(&a);
	shim_kill(&a, "9");
	shim_wait(&a, 2000);
	shim_delete(&a, false);
	shim_bundle(&b, s, &o);
	check(shim_create(&b) == 0 && agent_open(&b) >= 0, "a monitor that was killed while it waited is followed by another");
	shim_delete(&b, true);
	shim_wait(&b, 2000);
	close(a.out_fd);
	close(b.out_fd);
}

static void failed_create(struct setup *s)
{
	static const struct {
		const char *cgroup, *message, *what;
	} cases[] = {
		{ "relative", "cgroupsPath", "a cgroupsPath that is not absolute" },
		{ "/a/../../b", "cgroupsPath", "a cgroupsPath that climbs" },
		{ "a:b", "cgroupsPath", "a cgroupsPath with a part missing" },
	};
	struct box b;
	char path[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION, .cgroup = cases[i].cgroup });
		check(shim_create(&b) == 1 && strstr(b.message, cases[i].message) && box_gone(&b), "%s is an error that leaves nothing", cases[i].what);
		close(b.out_fd);
	}
	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	snprintf(path, sizeof(path), "%s/init.pid/x", b.bundle);
	dir_make(AT_FDCWD, path, 0700, NULL);
	check(shim_create(&b) == 1 && strstr(b.message, "init.pid") && box_gone(&b), "a pid file that cannot be written: nothing is left");
	close(b.out_fd);
	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	shim_create(&b);
	check(shim_create(&b) == 1 && strstr(b.message, "already exists"), "an id that is in use is refused");
	check(shim_delete(&b, true) == 0 && shim_wait(&b, 2000) == 143 && box_gone(&b), "and the first one is not harmed");
}

static void with_console(struct setup *s)
{
	struct box b;
	char pid_file[300];

	shim_bundle(&b, s, &(struct bundle_options){ .migration = MIGRATION });
	snprintf(pid_file, sizeof(pid_file), "%s/init.pid", b.bundle);
	check(shim_call(&b, (const char *const[]){ "create", "--bundle", b.bundle, "--pid-file", pid_file, "--console-socket", "/x", b.id, NULL }) == 1 &&
		      strstr(b.message, "terminal") && box_gone(&b),
	      "a terminal is refused");
	check(shim_call(&b, (const char *const[]){ "create", "--bundle", "relative", "--pid-file", pid_file, b.id, NULL }) != 0 && box_gone(&b),
	      "a bundle that is not there is runc's error");
	snprintf(pid_file, sizeof(pid_file), "--bundle=%s", b.bundle);
	check(shim_call(&b, (const char *const[]){ "create", pid_file, b.id, NULL }) == 1 && strstr(b.message, "--pid-file"),
	      "--bundle=DIR is understood, a missing --pid-file is an error");
}

void suite_wait(struct setup *s)
{
	waits(s);
	ends(s, "9", 137);
	ends(s, "15", 143);
	ends(s, "SIGKILL", 137);
	waits_again(s);
	failed_create(s);
	with_console(s);
}
