/* SPDX-License-Identifier: Apache-2.0 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "migration/names.h"
#include "runtime/monitor.h"

static const char *const names[STATE_COUNT] = { "waiting", "starting", "standby", "restoring", "barrier", "running", "failed", "cold" };

const char *state_name(enum monitor_state s)
{
	return names[s];
}

int record_dir(const char *id, char out[RECORD_DIR_MAX])
{
	if (!name_is_safe(id))
		return -EINVAL;
	return path_format(out, RECORD_DIR_MAX, "%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, id);
}

static enum monitor_state read_state(int dir_fd)
{
	cleanup_buf struct buf b = BUF_INIT(64);

	if (file_read(dir_fd, MONITOR_STATE, &b, NULL) == 0)
		for (int s = 0; s < STATE_COUNT; s++)
			if (!strncmp(b.data, names[s], strlen(names[s])) && strspn(b.data + strlen(names[s]), "\n") == b.len - strlen(names[s]))
				return (enum monitor_state)s;
	return STATE_FAILED;
}

static void read_info(int dir_fd, struct record *r)
{
	cleanup_buf struct buf b = BUF_INIT(RECORD_INFO_MAX);
	struct span info;
	struct stat st;
	int64_t pid;

	if (file_read(dir_fd, MONITOR_INFO, &b, NULL) < 0 || json_scan(b.data, b.len, &info) < 0)
		return;
	if (json_copy_at(info, "root", r->root, sizeof(r->root)) < 0 || json_copy_at(info, "bundle", r->bundle, sizeof(r->bundle)) < 0 ||
	    json_copy_at(info, "cgroup", r->cgroup, sizeof(r->cgroup)) < 0 || json_number_at(info, "pid", 2, RECORD_PID_MAX, &pid) < 0 ||
	    json_number_at(info, "started", 0, INT64_MAX, &r->started) < 0)
		return;
	r->pid = (pid_t)pid;
	r->created = fstatat(dir_fd, MONITOR_INFO, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mtime : 0;
}

bool record_load(const char *id, struct record *ret)
{
	int fd;

	*ret = (struct record){ .state = STATE_FAILED };
	if (!id || record_dir(id, ret->dir) < 0)
		return false;
	fd = open(ret->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return false;
	ret->state = read_state(fd);
	read_info(fd, ret);
	close(fd);
	return true;
}

bool record_is_runcs(const struct record *r)
{
	return r->state == STATE_RUNNING || r->state == STATE_COLD;
}

int process_started(pid_t pid, int64_t *ret)
{
	cleanup_buf struct buf b = BUF_INIT(4096);
	char path[64], *p;

	if (path_format(path, sizeof(path), "/proc/%d/stat", pid) < 0 || file_read(AT_FDCWD, path, &b, NULL) < 0)
		return -ESRCH;
	/* The name in parentheses may hold anything; behind it follow field 3 and the rest, one space before each. */
	p = strrchr(b.data, ')');
	for (int field = 3; p && field <= 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EBADMSG;
	*ret = strtoll(p + 1, NULL, 10);
	return 0;
}

int process_open(pid_t pid, int64_t started)
{
	int64_t now;
	int fd;

	if (pid <= 1)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	/* Read after the pidfd was opened: if it is the right one now, the pidfd is the right one for good. */
	if (process_started(pid, &now) < 0 || now != started) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

int record_monitor(const struct record *r)
{
	return process_open(r->pid, r->started);
}

int record_set_state(const char *dir, enum monitor_state s, struct error *err)
{
	char path[RECORD_DIR_MAX + 16], word[16];
	int n = path_format(word, sizeof(word), "%s\n", names[s]);

	if (n < 0 || path_format(path, sizeof(path), "%s/%s", dir, MONITOR_STATE) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the state file is too long");
	return file_write(AT_FDCWD, path, word, strlen(word), 0600, false, err);
}
