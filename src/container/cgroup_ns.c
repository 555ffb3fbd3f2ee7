/* SPDX-License-Identifier: Apache-2.0 */
#include "cgroup_ns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/cleanup.h"

struct call {
	int (*fn)(void *ctx);
	void *ctx;
	struct error *err;
	int ns_fd;
	int result;
};

static void *run(void *arg)
{
	struct call *c = arg;

	if (setns(c->ns_fd, CLONE_NEWCGROUP) < 0)
		c->result = error_errno(c->err, "enter the node's cgroup namespace");
	else
		c->result = c->fn(c->ctx);
	return NULL;
}

/*
 * *ret_fd: pid 1's cgroup namespace, or -1 when it is ours as well.  A pid 1 that may not be looked at is no agent's node: we are
 * on it.
 */
static int node_cgroup_ns(int *ret_fd, struct error *err)
{
	cleanup_close int fd = open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC);
	struct stat theirs, ours;

	*ret_fd = -1;
	if (fd < 0 && errno == EACCES)
		return 0;
	if (fd < 0 || fstat(fd, &theirs) < 0 || stat("/proc/self/ns/cgroup", &ours) < 0)
		return error_errno(err, "look at the node's cgroup namespace");
	if (theirs.st_ino != ours.st_ino)
		*ret_fd = take_fd(&fd);
	return 0;
}

int cgroup_ns_run(int (*fn)(void *ctx), void *ctx, struct error *err)
{
	cleanup_close int ns_fd = -1;
	struct call c = { fn, ctx, err, -1, 0 };
	pthread_t t;
	int r = node_cgroup_ns(&ns_fd, err);

	if (r < 0)
		return r;
	if (ns_fd < 0)
		return fn(ctx);
	c.ns_fd = ns_fd;
	errno = pthread_create(&t, NULL, run, &c);
	if (errno)
		return error_errno(err, "start a thread");
	pthread_join(t, NULL);
	return c.result;
}
