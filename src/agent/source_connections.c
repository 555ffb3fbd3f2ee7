/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "container/criu_images.h"
#include "container/tcp_stream.h"
#include "net/address.h"
#include "net/loopback.h"

/*
 * TCP connections inside the pod, taken while all of it is frozen: both ends move, at one instant, so nothing can be on its way between them but what the kernel itself still
 * sends (an acknowledgement that waits, a window's update).  A pair that changes while it is taken is taken again.
 */
#define TRIES 5
#define BYTES_MAX (256u << 20)  /* in all queues together */

enum { NOWHERE = -1, SEVERAL = -2 };

/* Which process has one end. */
struct held {
	const struct tcp_end *end;
	int container;          /* or NOWHERE, SEVERAL */
	pid_t pid;
	int fd;
};

struct search {
	struct held *held;
	size_t n;
};

static int compare_inodes(const void *x, const void *y)
{
	const struct held *a = x, *b = y;

	return (a->end->inode > b->end->inode) - (a->end->inode < b->end->inode);
}

static struct held *find(const struct search *q, uint32_t inode)
{
	const struct tcp_end end = { .inode = inode };
	const struct held key = { .end = &end };

	return bsearch(&key, q->held, q->n, sizeof(*q->held), compare_inodes);
}

/* Of /proc/PID/fd. */
static bool is_socket(int dir, const char *name, unsigned *ret_inode)
{
	char link[64];
	ssize_t n = name[0] == '.' ? 0 : readlinkat(dir, name, link, sizeof(link) - 1);

	link[n > 0 ? n : 0] = '\0';
	return sscanf(link, "socket:[%u]", ret_inode) == 1;
}

static void look_at_fd(const struct search *q, int container, pid_t pid, int dir, const char *name)
{
	unsigned inode;
	struct held *h;

	if (!is_socket(dir, name, &inode) || !(h = find(q, inode)))
		return;
	/* CRIU would restore it twice. */
	if (h->container != NOWHERE && h->container != container)
		h->container = SEVERAL;
	else
		*h = (struct held){ h->end, container, pid, (int)strtol(name, NULL, 10) };
}

static void look_at_process(const struct search *q, int container, pid_t pid)
{
	cleanup_closedir DIR *d = NULL;
	char path[64];
	struct dirent *e;

	path_format(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d)))
		look_at_fd(q, container, pid, dirfd(d), e->d_name);
}

static int find_holders(struct source *s, const struct search *q)
{
	pid_t pids[SOURCE_PROCESSES_MAX];

	qsort(q->held, q->n, sizeof(*q->held), compare_inodes);
	for (int i = 0; i < s->n; i++) {
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		if (n < 0)
			return n;
		for (int k = 0; k < n; k++)
			look_at_process(q, i, pids[k]);
	}
	return 0;
}

/* --- taking --- */

static int take(const struct held *h, struct tcp_stream *ret)
{
	cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	cleanup_close int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, h->fd, 0);

	return fd < 0 ? -errno : tcp_stream_take(fd, ret);
}

static int take_both(const struct held *a, const struct held *b, struct tcp_stream ret[2])
{
	int r = -EAGAIN;

	for (int i = 0; i < TRIES && r == -EAGAIN; i++) {
		r = take(a, &ret[0]);
		if (r == 0)
			r = take(b, &ret[1]);
		if (r == 0 && !tcp_streams_fit(&ret[0], &ret[1]))
			r = -EAGAIN;
		if (r < 0) {
			tcp_stream_free(&ret[0]);
			tcp_stream_free(&ret[1]);
		}
	}
	return r;
}

static int open_images(struct source *s, int container)
{
	char host[4096];

	if (agent_host_path(s->o, host, sizeof(host), "%s", s->containers[container].dump.image_dir) < 0)
		return -1;
	return open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Both or none: one alone would come to life without a peer. */
static int write_both(struct source *s, const struct held *a, const struct held *b, const struct tcp_stream streams[2])
{
	cleanup_close int dir_a = open_images(s, a->container), dir_b = open_images(s, b->container);
	struct error why = { 0 };
	char name[64];
	int r = dir_a < 0 || dir_b < 0 ? -EIO : tcp_stream_write(&streams[0], dir_a, a->end->inode, &why);

	if (r == 0) {
		r = tcp_stream_write(&streams[1], dir_b, b->end->inode, &why);
		if (r < 0 && path_format(name, sizeof(name), CRIU_TCP_STREAM, (unsigned)a->end->inode) == 0)
			unlinkat(dir_a, name, 0);
	}
	return r;
}

/* --- addresses --- */

static bool is_loopback(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

/* The pod's own address, too, must exist where it goes. */
static int want_address(const struct in6_addr *a, cJSON *addresses)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(a);
	char text[INET6_ADDRSTRLEN];
	const cJSON *e;

	if (is_loopback(a))
		return 0;
	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->s6_addr + 12 : a->s6_addr, text, sizeof(text)) || address_check(text) < 0)
		return -ENOTSUP;
	cJSON_ArrayForEach(e, addresses)
		if (!strcmp(e->valuestring, text))
			return 0;
	if (cJSON_GetArraySize(addresses) == ADDRESSES_MAX)
		return -E2BIG;
	cJSON_AddItemToArray(addresses, cJSON_CreateString(text));
	return 0;
}

/* --- all --- */

static int keep_pair(struct source *s, const struct search *q, const struct tcp_pair *p, uint64_t *room, cJSON *addresses)
{
	const struct held *a = find(q, p->a.inode), *b = find(q, p->b.inode);
	struct tcp_stream streams[2] = { 0 };
	uint64_t bytes;
	int r;

	if (!a || !b || a->container < 0 || b->container < 0)
		return -ENOENT;
	r = take_both(a, b, streams);
	if (r < 0)
		return r;
	bytes = (uint64_t)streams[0].in_len + streams[0].out_len + streams[1].in_len + streams[1].out_len;
	r = bytes > *room ? -EFBIG : want_address(&p->a.local, addresses);
	if (r == 0)
		r = want_address(&p->b.local, addresses);
	if (r == 0)
		r = write_both(s, a, b, streams);
	if (r == 0)
		*room -= bytes;
	tcp_stream_free(&streams[0]);
	tcp_stream_free(&streams[1]);
	return r;
}

static void note_ends(struct search *q, const struct tcp_pair *pairs, int n)
{
	q->n = 2 * (size_t)n;
	for (int i = 0; i < n; i++) {
		q->held[2 * i] = (struct held){ &pairs[i].a, NOWHERE, 0, -1 };
		q->held[2 * i + 1] = (struct held){ &pairs[i].b, NOWHERE, 0, -1 };
	}
}

/* One that cannot be kept is closed at both ends as those to the outside are: no reason not to move. */
int source_keep_connections(struct source *s, cJSON *addresses)
{
	cleanup_free struct tcp_pair *pairs = NULL;
	cleanup_free struct held *held = NULL;
	struct search q = { 0 };
	struct error why = { 0 };
	uint64_t room = BYTES_MAX;
	int kept = 0, r, n = tcp_pairs(s->runc.netns_fd, &pairs, &why);

	if (n <= 0) {
		if (n < 0)
			log_warning("connections inside the pod are closed", LOG_S("pod", s->journal.pod_name), LOG_S("err", why.message));
		return 0;
	}
	q.held = held = calloc(2 * (size_t)n, sizeof(*held));
	if (!held)
		return 0;
	note_ends(&q, pairs, n);
	r = find_holders(s, &q);
	for (int i = 0; r == 0 && i < n; i++) {
		int one = keep_pair(s, &q, &pairs[i], &room, addresses);

		kept += one == 0;
		if (one < 0)
			log_warning("a connection inside the pod is closed", LOG_S("pod", s->journal.pod_name), LOG_N("port", pairs[i].a.local_port), LOG_N("otherPort", pairs[i].b.local_port),
				    LOG_S("err", strerror(-one)));
	}
	return kept;
}

/* Nothing but sockets is taken over: a file's close(2) may ask whoever serves its file system (FUSE), who may be frozen, and is thawed behind this only. */
void source_leave_connections(struct source *s)
{
	pid_t pids[SOURCE_PROCESSES_MAX];

	for (int i = 0; i < s->n; i++) {
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		for (int k = 0; k < n; k++) {
			cleanup_close int pidfd = (int)syscall(SYS_pidfd_open, pids[k], 0);
			cleanup_closedir DIR *d = NULL;
			char path[64];
			struct dirent *e;
			unsigned inode;

			path_format(path, sizeof(path), "/proc/%d/fd", pids[k]);
			d = opendir(path);
			while (d && pidfd >= 0 && (e = readdir(d))) {
				cleanup_close int fd = !is_socket(dirfd(d), e->d_name, &inode) ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, (int)strtol(e->d_name, NULL, 10), 0);

				if (fd >= 0 && tcp_stream_leave(fd))
					log_warning("a connection was left half taken; it goes on", LOG_S("pod", s->journal.pod_name), LOG_N("pid", pids[k]));
			}
		}
	}
}
