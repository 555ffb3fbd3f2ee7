/* SPDX-License-Identifier: Apache-2.0 */
#include "diag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

struct listing {
	int (*visit)(void *ctx, const struct inet_diag_msg *m);
	void *ctx;
};

int diag_open(void)
{
	const struct timeval patience = { .tv_sec = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), r;

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0)
		return fd;
	r = -errno;
	if (fd >= 0)
		close(fd);
	return r;
}

int diag_ask(int fd, unsigned short type, unsigned short flags, const struct inet_diag_req_v2 *body)
{
	struct request q = { .head = { .nlmsg_len = sizeof(q), .nlmsg_type = type, .nlmsg_flags = (unsigned short)(NLM_F_REQUEST | flags) }, .body = *body };

	return send(fd, &q, sizeof(q), 0) < 0 ? -errno : 0;
}

int diag_answer(int fd)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[512];
	} answer;
	ssize_t n = recv(fd, &answer, sizeof(answer), 0);

	if (n < 0)
		return -errno;
	return n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.head.nlmsg_type != NLMSG_ERROR ? -EPROTO : answer.error.error;
}

/* One datagram of the answer.  1: the list is complete, 0: there is more. */
static int take(const struct listing *l, const char *data, ssize_t len)
{
	for (const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)data; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
		struct inet_diag_msg m;
		int r;

		/* With what the list itself ended in (net/netlink/af_netlink.c, netlink_dump_done). */
		if (h->nlmsg_type == NLMSG_DONE)
			return h->nlmsg_len >= NLMSG_LENGTH(sizeof(int)) && *(const int *)NLMSG_DATA(h) < 0 ? *(const int *)NLMSG_DATA(h) : 1;
		if (h->nlmsg_type == NLMSG_ERROR)
			return h->nlmsg_len < NLMSG_LENGTH(sizeof(int)) ? -EPROTO : ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		if ((h->nlmsg_type != SOCK_DIAG_BY_FAMILY && h->nlmsg_type != TCPDIAG_GETSOCK) || h->nlmsg_len < NLMSG_LENGTH(sizeof(m)))
			continue;
		memcpy(&m, NLMSG_DATA(h), sizeof(m));
		r = l->visit(l->ctx, &m);
		if (r < 0)
			return r;
	}
	return 0;
}

static int take_all(const struct listing *l, int fd)
{
	int r = 0;

	while (r == 0) {
		_Alignas(struct nlmsghdr) char data[32768];
		ssize_t n = recv(fd, data, sizeof(data), 0);

		r = n < 0 ? -errno : n == 0 ? -EPROTO : take(l, data, n);
	}
	return r < 0 ? r : 0;
}

static int list(const struct listing *l, int fd, unsigned char family, unsigned char protocol, unsigned states)
{
	const struct inet_diag_req_v2 all = { .sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = states };
	int r = diag_ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &all);

	return r < 0 ? r : take_all(l, fd);
}

static int list_both(const struct listing *l, int fd, unsigned char protocol, unsigned states)
{
	int r = list(l, fd, AF_INET, protocol, states);

	if (r == 0)
		r = list(l, fd, AF_INET6, protocol, states);
	return r == -ENOENT ? 0 : r;    /* no IPv6, or no such protocol, in this kernel */
}

int diag_tcp(int fd, unsigned states, int (*visit)(void *ctx, const struct inet_diag_msg *m), void *ctx)
{
	return list_both(&(struct listing){ visit, ctx }, fd, IPPROTO_TCP, states);
}

int diag_udp(int fd, int (*visit)(void *ctx, const struct inet_diag_msg *m), void *ctx)
{
	const struct listing l = { visit, ctx };
	int r = list_both(&l, fd, IPPROTO_UDP, ~0u);

	return r < 0 ? r : list_both(&l, fd, IPPROTO_UDPLITE, ~0u);
}

/* The older question names no family (net/ipv4/inet_diag.c, inet_diag_dump_compat). */
int diag_tcp_connected(int fd, unsigned states, int (*visit)(void *ctx, const struct inet_diag_msg *m), void *ctx)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req body;
	} q = { .head = { .nlmsg_len = sizeof(q), .nlmsg_type = TCPDIAG_GETSOCK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP }, .body = { .idiag_family = AF_INET, .idiag_states = states } };

	return send(fd, &q, sizeof(q), 0) < 0 ? -errno : take_all(&(struct listing){ visit, ctx }, fd);
}
