/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/process.h"
#include "json_scan.h"
#include "runtime.h"

#define DELETE_US 10000000

int program_dir(char *out, size_t size)
{
	char self[1024];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *slash;

	if (n <= 0)
		return n < 0 ? -errno : -ENOENT;
	self[n] = '\0';
	slash = strrchr(self, '/');
	return slash ? path_format(out, size, "%.*s", (int)(slash - self), self) : -ENOENT;
}

int runc_find(const char *dir, char *out, size_t size)
{
	const char *const places[] = { dir, "/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (path_format(out, size, "%s/runc", places[i]) == 0 && access(out, X_OK) == 0)
			return 0;
	return -ENOENT;
}

static int exec_it(const struct oci_args *a, struct error *err)
{
	char dir[1024], path[1100];

	if (program_dir(dir, sizeof(dir)) < 0 || runc_find(dir, path, sizeof(path)) < 0)
		return error_set(err, -ENOENT, "no runc beside this program, in /usr/sbin, /usr/bin or below /usr/local");
	a->argv[0] = path;
	execv(path, a->argv);
	return error_errno(err, "run %s", path);
}

int runc_exec(const struct oci_args *a)
{
	struct error err = { 0 };

	exec_it(a, &err);
	return report_error(a, &err);
}

int runc_wait(const struct oci_args *a)
{
	pid_t pid = fork();
	int st = 0;

	if (pid == 0)
		_exit(runc_exec(a));
	if (pid < 0)
		return runc_exec(a);
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
}

int runc_delete(const char *dir, const char *root, bool systemd_cgroup, const char *id, struct error *err)
{
	char path[1100], criu_root[1024];
	const char *argv[8] = { path, "--root", root };
	const char *tail[] = { "delete", "--force", id };
	struct process_spec spec = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1 };
	int n = 3;

	if (runc_find(dir, path, sizeof(path)) < 0)
		return error_set(err, -ENOENT, "no runc on this node");
	/* A `runc restore` that was killed leaves the root it mounts for CRIU (libcontainer/criu_linux.go), and delete fails on it silently. */
	if (path_format(criu_root, sizeof(criu_root), "%s/%s/criu-root", root, id) == 0)
		umount2(criu_root, MNT_DETACH | UMOUNT_NOFOLLOW);
	if (systemd_cgroup)
		argv[n++] = "--systemd-cgroup";
	for (size_t i = 0; i < sizeof(tail) / sizeof(tail[0]); i++)
		argv[n++] = tail[i];
	argv[n] = NULL;
	return process_run(&spec, DELETE_US, NULL, err);
}

static int log_line(const struct oci_args *a, const char *message, struct buf *b)
{
	char now[CLOCK_RFC3339_SIZE];

	clock_rfc3339(clock_real_us(), 1, now);
	if (a->log_format && !strcmp(a->log_format, "json")) {
		if (buf_puts(b, "{") < 0 || json_put_member(b, "level", "error") < 0 || json_put_member(b, "msg", message) < 0 ||
		    json_put_member(b, "time", now) < 0)
			return -ENOSPC;
		return buf_puts(b, "}\n");
	}
	if (buf_printf(b, "time=\"%s\" level=error msg=", now) < 0 || json_put(b, message) < 0)
		return -ENOSPC;
	return buf_puts(b, "\n");
}

int report_error(const struct oci_args *a, const struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(2 * sizeof(err->message) + 256);
	int fd = a->log ? open(a->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644) : -1;

	if (fd >= 0) {
		/* A log that cannot be written has nowhere to complain but the exit status. */
		if (log_line(a, err->message, &b) == 0)
			write_full(fd, b.data, b.len);
		close(fd);
	}
	if (!a->command || strcmp(a->command, "create"))
		dprintf(STDERR_FILENO, "podmigration-runtime: %s\n", err->message);
	return 1;
}
