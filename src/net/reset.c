/* SPDX-License-Identifier: Apache-2.0 */
#include "net/reset.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"

/* sock_diag(7): a list of sockets by SOCK_DIAG_BY_FAMILY, the end of one by SOCK_DESTROY (kernel 4.5). */

#define STATE_TIME_WAIT 6               /* include/net/tcp_states.h; nobody waits for these */
#define STATE_LISTEN 10
#define SOCKETS_MAX 4096                /* of one pass */
#define PASSES 8                        /* a child of a listener may come into the list while it is read */

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

struct job {
	int netns_fd, result;
	size_t n;
	struct inet_diag_msg found[SOCKETS_MAX];
};

static int ask(int fd, unsigned short type, unsigned short flags, const struct inet_diag_req_v2 *body)
{
	struct request q = { .head = { .nlmsg_len = sizeof(q), .nlmsg_type = type, .nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags) }, .body = *body };

	return send(fd, &q, sizeof(q), 0) < 0 ? -errno : 0;
}

/* One datagram of the answer.  1: the list is complete, 0: there is more. */
static int take(struct job *j, const char *data, ssize_t len)
{
	for (const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)data; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 1;
		if (h->nlmsg_type == NLMSG_ERROR)
			return h->nlmsg_len < NLMSG_LENGTH(sizeof(int)) ? -EPROTO : ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		if (h->nlmsg_type == SOCK_DIAG_BY_FAMILY && h->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg)) && j->n < SOCKETS_MAX)
			memcpy(&j->found[j->n++], NLMSG_DATA(h), sizeof(j->found[0]));
	}
	return 0;
}

static int list(struct job *j, int fd, unsigned char family)
{
	const struct inet_diag_req_v2 all = { .sdiag_family = family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~(1u << STATE_TIME_WAIT) };
	int r = ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &all);

	while (r == 0) {
		_Alignas(struct nlmsghdr) char data[32768];
		ssize_t n = recv(fd, data, sizeof(data), 0);

		r = n < 0 ? -errno : n == 0 ? -EPROTO : take(j, data, n);
	}
	return r < 0 ? r : 0;
}

/* A socket that has ended in between is no failure. */
static int destroy(int fd, const struct inet_diag_msg *m)
{
	struct inet_diag_req_v2 one = { .sdiag_family = m->idiag_family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ~0u, .id = m->id };
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[512];
	} answer;
	ssize_t n;
	int r;

	/* Of several that listen on one port (SO_REUSEPORT) the kernel finds any: whichever it is, it is due. */
	if (m->idiag_state == STATE_LISTEN)
		one.id.idiag_cookie[0] = one.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	r = ask(fd, SOCK_DESTROY, NLM_F_ACK, &one);
	n = r < 0 ? 0 : recv(fd, &answer, sizeof(answer), 0);
	if (r < 0 || n < 0)
		return r < 0 ? r : -errno;
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.head.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error == -ENOENT ? 0 : answer.error.error < 0 ? answer.error.error : 1;
}

/* How many were ended. */
static int pass(struct job *j, int fd)
{
	int ended = 0, r;

	j->n = 0;
	r = list(j, fd, AF_INET);
	if (r == 0)
		r = list(j, fd, AF_INET6);
	if (r == -ENOENT)               /* no IPv6 in this kernel */
		r = 0;
	/* Listening ones first, so that nothing new comes. */
	for (int listening = 1; r >= 0 && listening >= 0; listening--)
		for (size_t i = 0; r >= 0 && i < j->n; i++) {
			if ((j->found[i].idiag_state == STATE_LISTEN) != listening)
				continue;
			r = destroy(fd, &j->found[i]);
			ended += r > 0;
		}
	return r < 0 ? r : ended;
}

/* In a thread of its own: a network namespace belongs to a thread. */
static void *reset_in_netns(void *arg)
{
	struct job *j = arg;
	const struct timeval patience = { .tv_sec = 1 };
	cleanup_close int fd = -1;
	int n = 1;

	if (setns(j->netns_fd, CLONE_NEWNET) < 0 || (fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0) {
		j->result = -errno;
		return NULL;
	}
	for (int i = 0; i < PASSES && n > 0; i++) {
		n = pass(j, fd);
		j->result = n < 0 ? n : j->result + n;
	}
	return NULL;
}

int tcp_reset_all(int netns_fd, struct error *err)
{
	cleanup_free struct job *j = calloc(1, sizeof(*j));
	pthread_t thread;
	int r;

	if (!j)
		return error_set(err, -ENOMEM, "out of memory");
	j->netns_fd = netns_fd;
	r = pthread_create(&thread, NULL, reset_in_netns, j);
	if (r)
		return error_set(err, -r, "cannot start a thread");
	pthread_join(thread, NULL);
	return j->result < 0 ? error_set(err, j->result, "end the pod's connections: %s", strerror(-j->result)) : j->result;
}
