/* SPDX-License-Identifier: Apache-2.0 */
#include "restore.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "hook.h"
#include "migration/names.h"
#include "runtime.h"

#define LOG_MAX (8u << 20)
#define ABORT_US 5000000

void restore_init(struct restore *r)
{
	memset(r, 0, sizeof(*r));
	r->process.pidfd = r->process.out_fd = -1;
}

static bool below_run_dir(const char *path)
{
	return !strncmp(path, PM_RUN_DIR "/", strlen(PM_RUN_DIR) + 1) && !strstr(path, "/../") && !strstr(path, "//");
}

/* The hook stands beside this program. */
static int hook_path(char *out, size_t size)
{
	char self[1024];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return -errno;
	self[n] = '\0';
	slash = strrchr(self, '/');
	return path_format(out, size, "%.*s/podmigration-hook", (int)(slash - self), self);
}

/*
 * What runc has no option for (criu(8), found by CRIU_CONFIG_FILE): connections are closed rather than kept, no firewall is touched, deleted files up to 512 MiB
 * come along, and the hook.
 */
static int write_config(const char *work, char *ret, size_t size, struct error *err)
{
	char text[2048], hook[1200];

	if (hook_path(hook, sizeof(hook)) < 0 || path_format(ret, size, "%s/criu.conf", work) < 0 ||
	    path_format(text, sizeof(text), "tcp-close\nnetwork-lock skip\nskip-in-flight\nghost-limit 512M\naction-script %s\n", hook) < 0)
		return error_set(err, -ENAMETOOLONG, "work path too long");
	return file_write(AT_FDCWD, ret, text, strlen(text), 0600, false, err);
}

int restore_start(struct restore *r, const char *id, const char *root, const char *bundle, bool systemd_cgroup, const char *images,
		  const char *work, bool lazy, const char *dir, const char *hook, struct error *err)
{
	char config[600], config_env[700], hook_env[700];
	const char *env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", config_env, hook_env, NULL };
	const char *argv[32] = { runc_path(), "--root", root, "--log", r->log, "--log-format", "json" };
	const char *tail[] = { "restore", "--detach", "--no-subreaper", "--file-locks", "--ext-unix-sk", "--tcp-established", "--image-path", images,
			       "--work-path", work, "--bundle", bundle, "--pid-file", r->pid_file };
	struct process_spec spec = { .argv = argv, .env = env, .stdin_fd = 0, .stdout_fd = 1, .stderr_fd = 2, .die_with_parent = 1 };
	int n = 7, rc;

	if (!below_run_dir(images) || !below_run_dir(work))
		return error_set(err, -EPERM, "images and work must lie below %s", PM_RUN_DIR);
	if (!argv[0])
		return error_set(err, -ENOENT, "no runc in the usual places");
	if (path_format(r->work, sizeof(r->work), "%s", work) < 0 || path_format(r->pid_file, sizeof(r->pid_file), "%s/restored.pid", dir) < 0 ||
	    path_format(r->log, sizeof(r->log), "%s/runc.log", dir) < 0)
		return error_set(err, -ENAMETOOLONG, "work path too long");
	rc = write_config(work, config, sizeof(config), err);
	if (rc < 0)
		return rc;
	snprintf(config_env, sizeof(config_env), "CRIU_CONFIG_FILE=%s", config);
	snprintf(hook_env, sizeof(hook_env), "%s=%s", HOOK_ENV, hook);
	if (systemd_cgroup)
		argv[n++] = "--systemd-cgroup";
	for (size_t i = 0; i < sizeof(tail) / sizeof(tail[0]); i++)
		argv[n++] = tail[i];
	if (lazy)
		argv[n++] = "--lazy-pages";
	argv[n++] = id;
	argv[n] = NULL;
	return process_start(&spec, false, &r->process, err);
}

void restore_reaped(struct restore *r, int status)
{
	r->process.pid = 0;
	close(r->process.pidfd);
	r->process.pidfd = -1;
	r->status = status;
}

/* The last "Error (" lines of CRIU's log that fit in a message. */
static void add_criu_lines(const char *work, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(LOG_MAX);
	char path[600], lines[1400] = "";
	size_t used = 0;
	char *save = NULL;

	if (path_format(path, sizeof(path), "%s/restore.log", work) < 0 || file_read(AT_FDCWD, path, &b, NULL) < 0)
		return;
	for (char *l = strtok_r(b.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		const char *e = strstr(l, "Error (");
		size_t len = e ? strlen(e) : 0;

		if (!e || len > 600)
			continue;
		while (used + len + 3 > sizeof(lines)) {
			char *cut = strstr(lines, "; ");
			size_t drop = cut ? (size_t)(cut - lines) + 2 : used;

			memmove(lines, lines + drop, used - drop + 1);
			used -= drop;
		}
		used += (size_t)snprintf(lines + used, sizeof(lines) - used, "%s%s", used ? "; " : "", e);
	}
	if (used)
		error_set(err, -EIO, "%s: CRIU: %s", err->message, lines);
}

static void runc_message(const char *log, char *out, size_t size)
{
	cleanup_buf struct buf b = BUF_INIT(65536);
	char *save = NULL;

	snprintf(out, size, "runc restore failed");
	if (file_read(AT_FDCWD, log, &b, NULL) < 0)
		return;
	for (char *l = strtok_r(b.data, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		cleanup_json cJSON *j = NULL;

		if (json_parse(l, strlen(l), 65536, &j, NULL) == 0 && !strcmp(json_str_or(j, "level", ""), "error"))
			snprintf(out, size, "%s", json_str_or(j, "msg", "runc restore failed"));
	}
}

int restore_finish(struct restore *r, pid_t *ret_init, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(32);
	char message[512];
	long pid;

	if (!WIFEXITED(r->status) || WEXITSTATUS(r->status)) {
		runc_message(r->log, message, sizeof(message));
		error_set(err, -EIO, "%s", message);
		add_criu_lines(r->work, err);
		return -EIO;
	}
	if (file_read(AT_FDCWD, r->pid_file, &b, err) < 0)
		return -EIO;
	pid = strtol(b.data, NULL, 10);
	if (pid <= 1)
		return error_set(err, -EIO, "runc wrote no pid");
	*ret_init = (pid_t)pid;
	return 0;
}

void restore_abort(struct restore *r)
{
	int status;

	if (r->process.pid > 0)
		process_wait(&r->process, clock_mono_us() + ABORT_US, NULL, &status, NULL);
	r->process.pid = 0;
}
