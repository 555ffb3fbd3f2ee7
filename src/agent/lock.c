/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "base/file.h"

int lock_open(const struct agent_options *o, struct error *err)
{
	char dir[4096], path[4096];
	int fd, r;

	if (agent_host_path(o, dir, sizeof(dir), "%s", PM_RUN_DIR) < 0 || path_format(path, sizeof(path), "%s/agent.lock", dir) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the agent's lock is too long");
	r = dir_make(AT_FDCWD, dir, 0700, err);
	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? error_errno(err, "open %s", path) : fd;
}

int lock_take(int fd, struct error *err)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return error_set(err, -EAGAIN, "another agent works on this node");
	return error_errno(err, "lock the node");
}
