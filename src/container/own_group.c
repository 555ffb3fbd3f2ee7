/* SPDX-License-Identifier: Apache-2.0 */
#include "own_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cgroup_ns.h"
#include "node.h"

#define NAME "podmigration"

struct request {
	pid_t host_pid;
	int *fds, n;
	struct error *err;
};

/* A new v1 cpuset is empty and takes no process before it has cpus and memory nodes (cpusets(7)). */
static void fill_cpuset(int hierarchy_fd)
{
	static const char *const files[][2] = { { "cpuset.cpus", NAME "/cpuset.cpus" }, { "cpuset.mems", NAME "/cpuset.mems" } };

	for (int i = 0; i < 2; i++) {
		cleanup_buf struct buf inherited = BUF_INIT(4096), own = BUF_INIT(4096);
		cleanup_close int fd = -1;

		/* A lone newline is an empty set. */
		if (file_read(hierarchy_fd, files[i][1], &own, NULL) < 0 || own.len > 1 || file_read(hierarchy_fd, files[i][0], &inherited, NULL) < 0)
			continue;
		fd = openat(hierarchy_fd, files[i][1], O_WRONLY | O_CLOEXEC);
		if (fd >= 0)
			write_full(fd, inherited.data, inherited.len);
	}
}

static int open_one(struct request *q, int hierarchy_fd)
{
	if (q->n == OWN_GROUPS_MAX)
		return error_set(q->err, -E2BIG, "more than %d cgroup hierarchies", OWN_GROUPS_MAX);
	if (mkdirat(hierarchy_fd, NAME, 0755) < 0 && errno != EEXIST)
		return error_errno(q->err, "make cgroup %s", NAME);
	fill_cpuset(hierarchy_fd);
	q->fds[q->n] = openat(hierarchy_fd, NAME "/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (q->fds[q->n] < 0)
		return error_errno(q->err, "open cgroup %s", NAME);
	q->fds[++q->n] = -1;
	return 0;
}

/* Version 2 lies at the top itself; of version 1 each folder is a hierarchy, but for the links ("cpu" to "cpu,cpuacct"). */
static int open_all(void *ctx)
{
	struct request *q = ctx;
	cleanup_closedir DIR *d = NULL;
	char top[4096];
	struct dirent *e;
	int r = 0;

	if (node_path(q->host_pid, "/sys/fs/cgroup", top, sizeof(top)) < 0)
		return error_set(q->err, -ENAMETOOLONG, "cgroup path too long");
	d = opendir(top);
	if (!d)
		return error_errno(q->err, "open %s", top);
	if (faccessat(dirfd(d), "cgroup.procs", F_OK, 0) == 0)
		return open_one(q, dirfd(d));
	while (r == 0 && (e = readdir(d))) {
		cleanup_close int fd = e->d_name[0] == '.' ? -1 : openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0 && faccessat(fd, "cgroup.procs", F_OK, 0) == 0)
			r = open_one(q, fd);
	}
	return r;
}

/* From the node's cgroup namespace: version 2 lets a process move only within the namespace of who opened the file (cgroups(7)). */
int own_group_open(pid_t host_pid, int *fds, struct error *err)
{
	struct request q = { host_pid, fds, 0, err };

	fds[0] = -1;
	return cgroup_ns_run(open_all, &q, err);
}

void own_group_close(int *fds)
{
	for (int i = 0; fds[i] >= 0; i++)
		close(take_fd(&fds[i]));
}
