/* SPDX-License-Identifier: Apache-2.0 */
#include "container/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "cgroup_ns.h"
#include "cgroup_path.h"
#include "node.h"

#define EACH_MS 5               /* a grace period lasts some milliseconds at least; after 10 ms moves were still immediate */
#define EVENT_MS 1000           /* an event only has to be held */
#define CGROUP_TEXT_MAX 16384

struct warm {
	unsigned what;
	bool runs;              /* the thread was started */
	pthread_t thread;
	int event_fd;           /* the perf event */
	int procs_fd;           /* of the group we are in; -1: no moves */
	int stop_fd;
	int64_t until_us;
};

struct request {
	pid_t host_pid;
	int fd;
	struct error *err;
};

/* In the node's cgroup namespace, so that the path is the node's and the file may be written to (cgroups(7)). */
static int open_own(void *ctx)
{
	struct request *q = ctx;
	cleanup_buf struct buf text = BUF_INIT(CGROUP_TEXT_MAX);
	char group[CGROUP_PATH_MAX], inside[CGROUP_PATH_MAX + 64], path[CGROUP_PATH_MAX + 128];
	bool v2;
	int r = file_read(AT_FDCWD, "/proc/thread-self/cgroup", &text, q->err);

	if (r == 0 && node_path(q->host_pid, "/sys/fs/cgroup", path, sizeof(path)) < 0)
		r = error_set(q->err, -ENAMETOOLONG, "the path of the node's cgroups is too long");
	if (r < 0)
		return r;
	r = cgroup_path_parse(text.data ? text.data : "", cgroup_is_unified(path), group, sizeof(group), &v2);
	if (r < 0)
		return error_set(q->err, r, "our own cgroup cannot be told");
	if (path_format(inside, sizeof(inside), "/sys/fs/cgroup%s%s/cgroup.procs", v2 ? "" : "/freezer", group) < 0 ||
	    node_path(q->host_pid, inside, path, sizeof(path)) < 0)
		return error_set(q->err, -ENAMETOOLONG, "the path of our own cgroup is too long");
	q->fd = open(path, O_WRONLY | O_CLOEXEC);
	return q->fd < 0 ? error_errno(q->err, "open %s", path) : 0;
}

static int hold_event(void)
{
	/* Of a task, as a breakpoint is; one of a processor does not count (kernel/events/core.c, PERF_ATTACH_TASK). */
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Both wait for a grace period at first: not in the thread that has other things to do. */
static void *keep_warm(void *ctx)
{
	struct warm *w = ctx;
	struct pollfd stop = { w->stop_fd, POLLIN, 0 };
	const int each_ms = w->procs_fd >= 0 ? EACH_MS : EVENT_MS;

	if (w->what & WARM_BREAKPOINTS)
		w->event_fd = hold_event();
	do {
		/* "0": ourselves, to where we are. */
		if (w->procs_fd >= 0 && pwrite(w->procs_fd, "0", 1, 0) != 1)
			break;
	} while (poll(&stop, 1, each_ms) == 0 && clock_mono_us() < w->until_us);
	return NULL;
}

int warm_start(unsigned what, pid_t host_pid, int64_t max_us, struct warm **ret, struct error *err)
{
	struct warm *w = malloc(sizeof(*w));
	struct request q = { host_pid, -1, err };
	int r;

	*ret = NULL;
	if (!w)
		return error_set(err, -ENOMEM, "out of memory");
	*w = (struct warm){ .what = what, .event_fd = -1, .stop_fd = eventfd(0, EFD_CLOEXEC), .until_us = clock_mono_us() + max_us };
	r = w->stop_fd < 0 ? error_errno(err, "eventfd") : what & WARM_CGROUPS ? cgroup_ns_run(open_own, &q, err) : 0;
	w->procs_fd = q.fd;
	if (r == 0) {
		r = -pthread_create(&w->thread, NULL, keep_warm, w);
		w->runs = r == 0;
		if (r < 0)
			error_set(err, r, "start a thread");
	}
	if (r < 0)
		warm_stop(w);
	else
		*ret = w;
	return r;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void warm_stop(struct warm *w)
{
	if (!w)
		return;
	if (w->runs) {
		/* A counter that is 0 always takes it. */
		eventfd_write(w->stop_fd, 1);
		pthread_join(w->thread, NULL);
	}
	close_fd(w->event_fd);
	close_fd(w->procs_fd);
	close_fd(w->stop_fd);
	free(w);
}
