/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "container/fence.h"
#include "fence_group.h"

struct fence_guard {
	pthread_t thread;
	int group_fd, watch_fd, stop_fd;
	bool ended;
};

/* Our own write is seen as well; then there is nothing to be done.  False: the group is gone. */
static bool close_again(int group_fd)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	cleanup_close int fd = -1;

	if (file_read(group_fd, FENCE_FILE, &b, NULL) < 0)
		return false;
	if (b.data && (!strcmp(b.data, FENCE_CLOSED "\n") || !strcmp(b.data, FENCE_CLOSED)))
		return true;
	fd = openat(group_fd, FENCE_FILE, O_WRONLY | O_TRUNC | O_CLOEXEC);
	return fd >= 0 && write_full(fd, FENCE_CLOSED, strlen(FENCE_CLOSED)) == 0;
}

/* A write(2) to a file of a cgroup is told like any other (fs/read_write.c, vfs_write). */
static void *keep_closed(void *ctx)
{
	struct fence_guard *g = ctx;
	struct pollfd p[2] = { { g->watch_fd, POLLIN, 0 }, { g->stop_fd, POLLIN, 0 } };
	char events[4096];

	while (close_again(g->group_fd)) {
		while (poll(p, 2, -1) < 0 && errno == EINTR)
			;
		if (p[1].revents || (read(g->watch_fd, events, sizeof(events)) < 0 && errno != EAGAIN))
			break;
	}
	return NULL;
}

static void guard_free(struct fence_guard *g)
{
	int *const fds[] = { &g->group_fd, &g->watch_fd, &g->stop_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(take_fd(fds[i]));
	free(g);
}

static int guard_begin(struct fence_guard *g, struct error *err)
{
	char path[64];

	path_format(path, sizeof(path), "/proc/self/fd/%d/" FENCE_FILE, g->group_fd);
	g->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	g->stop_fd = eventfd(0, EFD_CLOEXEC);
	if (g->watch_fd < 0 || g->stop_fd < 0 || inotify_add_watch(g->watch_fd, path, IN_MODIFY | IN_DELETE_SELF) < 0)
		return error_errno(err, "watch " FENCE_FILE " of the pod's cgroup");
	errno = pthread_create(&g->thread, NULL, keep_closed, g);
	return errno ? error_errno(err, "start a thread") : 0;
}

int fence_guard_start(const char *cgroup_root, const struct fence *f, struct fence_guard **ret, struct error *err)
{
	struct fence_guard *g;
	int r;

	*ret = NULL;
	if (!f->group[0])
		return 0;
	g = malloc(sizeof(*g));
	if (!g)
		return error_set(err, -ENOMEM, "out of memory");
	*g = (struct fence_guard){ .group_fd = -1, .watch_fd = -1, .stop_fd = -1 };
	r = fence_group_open(cgroup_root, f, &g->group_fd, err);
	if (r == 0)
		r = guard_begin(g, err);
	if (r < 0) {
		guard_free(g);
		return r == -ENOENT ? 0 : r;
	}
	*ret = g;
	return 0;
}

void fence_guard_end(struct fence_guard *g)
{
	if (!g || g->ended)
		return;
	/* A counter that is 0 always takes it. */
	eventfd_write(g->stop_fd, 1);
	pthread_join(g->thread, NULL);
	g->ended = true;
}

void fence_guard_stop(struct fence_guard *g)
{
	fence_guard_end(g);
	if (g)
		guard_free(g);
}
