/* SPDX-License-Identifier: Apache-2.0 */
#include "net/loopback.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "diag.h"

#define SOCKETS_MAX 65536
/* include/net/tcp_states.h: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING. */
#define LISTENING (1u << 10)
#define STATES (1u << 1 | 1u << 4 | 1u << 5 | 1u << 8 | 1u << 9 | 1u << 11)

struct job {
	int netns_fd, result;
	int (*run)(struct job *j);
	struct tcp_end *ends;
	size_t n, room;
};

/* In a thread of its own: a network namespace belongs to a thread. */
static void *job_main(void *arg)
{
	struct job *j = arg;

	j->result = setns(j->netns_fd, CLONE_NEWNET) < 0 ? -errno : j->run(j);
	return NULL;
}

static int job_run(struct job *j)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, job_main, j);

	if (r)
		return -r;
	pthread_join(thread, NULL);
	return j->result;
}

/* --- pairs --- */

static struct in6_addr normal(unsigned char family, const uint32_t words[4])
{
	struct in6_addr a = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (family == AF_INET)
		memcpy(a.s6_addr + 12, words, 4);
	else
		memcpy(a.s6_addr, words, 16);
	return a;
}

static int remember(void *ctx, const struct inet_diag_msg *m)
{
	struct job *j = ctx;

	if (!m->idiag_inode)
		return 0;
	if (j->n == j->room) {
		size_t room = j->room ? j->room * 2 : 64;
		struct tcp_end *more = room > SOCKETS_MAX ? NULL : realloc(j->ends, room * sizeof(*more));

		if (!more)
			return room > SOCKETS_MAX ? -E2BIG : -ENOMEM;
		j->ends = more;
		j->room = room;
	}
	j->ends[j->n++] = (struct tcp_end){ normal(m->idiag_family, m->id.idiag_src), normal(m->idiag_family, m->id.idiag_dst), ntohs(m->id.idiag_sport),
					    ntohs(m->id.idiag_dport), m->idiag_inode };
	return 0;
}

static int count(void *ctx, const struct inet_diag_msg *m)
{
	(void)m;
	++*(long *)ctx;
	return 0;
}

/* TCP sockets of this network namespace that listen or are connected; -1: not known. */
static long in_use(void)
{
	static const struct {
		const char *path, *begin;
	} files[] = { { "/proc/thread-self/net/sockstat", "TCP: inuse " }, { "/proc/thread-self/net/sockstat6", "TCP6: inuse " } };
	long all = 0;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		cleanup_fclose FILE *f = fopen(files[i].path, "re");
		char line[128];
		bool seen = false;

		/* No IPv6 in this kernel. */
		if (!f && errno == ENOENT && i)
			continue;
		while (f && fgets(line, sizeof(line), f))
			if (!strncmp(line, files[i].begin, strlen(files[i].begin))) {
				all += strtol(line + strlen(files[i].begin), NULL, 10);
				seen = true;
			}
		if (!seen)
			return -1;
	}
	return all;
}

/* Counting costs little, and most pods have no connection at this moment. */
static int list_ends(struct job *j)
{
	cleanup_close int fd = diag_open();
	long all = in_use(), listening = 0;
	int r = fd < 0 ? fd : diag_tcp(fd, LISTENING, count, &listening);

	if (r < 0 || (all >= 0 && all - listening < 2))
		return r;
	return diag_tcp_connected(fd, STATES, remember, j);
}

static int compare(const void *x, const void *y)
{
	const struct tcp_end *a = x, *b = y;
	int r = memcmp(&a->local, &b->local, sizeof(a->local));

	if (!r)
		r = memcmp(&a->remote, &b->remote, sizeof(a->remote));
	if (!r)
		r = a->local_port - b->local_port;
	return r ? r : a->remote_port - b->remote_port;
}

static int pair_up(const struct job *j, struct tcp_pair *pairs)
{
	int n = 0;

	for (size_t i = 0; i < j->n; i++) {
		const struct tcp_end *a = &j->ends[i];
		const struct tcp_end mirror = { a->remote, a->local, a->remote_port, a->local_port, 0 };
		const struct tcp_end *b = bsearch(&mirror, j->ends, j->n, sizeof(*j->ends), compare);

		/* Each is found twice; one that is connected to itself not at all. */
		if (!b || compare(a, b) >= 0)
			continue;
		if (n == TCP_PAIRS_MAX)
			return -E2BIG;
		pairs[n++] = (struct tcp_pair){ *a, *b };
	}
	return n;
}

int tcp_pairs(int netns_fd, struct tcp_pair **ret, struct error *err)
{
	struct job j = { .netns_fd = netns_fd, .run = list_ends };
	cleanup_free struct tcp_pair *pairs = NULL;
	int r = job_run(&j);

	if (r == 0 && j.n) {
		qsort(j.ends, j.n, sizeof(*j.ends), compare);
		pairs = calloc(j.n / 2 + 1, sizeof(*pairs));
		r = pairs ? pair_up(&j, pairs) : -ENOMEM;
	}
	free(j.ends);
	if (r < 0)
		return error_set(err, r, "list the connections inside the pod: %s", strerror(-r));
	*ret = pairs;
	pairs = NULL;
	return r;
}

/* --- the cut --- */

/*
 * rtnetlink(7), tc(8): a queue without a place drops what it is given (pfifo with limit 0, which is in every kernel that has CONFIG_NET_SCHED).  Unlike taking lo down it leaves
 * addresses and routes alone, and unlike a firewall it needs no module.
 */
#define HANDLE 0x504d0000u      /* to know our own again */

struct request {
	struct nlmsghdr head;
	struct tcmsg body;
	char attributes[64];
};

static void put_attribute(struct request *q, unsigned short type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(void *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

static int tell_queue(unsigned short type, unsigned short flags)
{
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	const struct tc_fifo_qopt none = { .limit = 0 };
	struct request q = { .head = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct tcmsg)), .nlmsg_type = type,
				       .nlmsg_flags = (unsigned short)(NLM_F_REQUEST | NLM_F_ACK | flags) },
			     .body = { .tcm_family = AF_UNSPEC, .tcm_ifindex = (int)if_nametoindex("lo"), .tcm_handle = HANDLE, .tcm_parent = TC_H_ROOT } };

	if (fd < 0 || q.body.tcm_ifindex == 0)
		return -errno;
	if (type == RTM_NEWQDISC) {
		put_attribute(&q, TCA_KIND, "pfifo", sizeof("pfifo"));
		put_attribute(&q, TCA_OPTIONS, &none, sizeof(none));
	}
	return send(fd, &q, q.head.nlmsg_len, 0) < 0 ? -errno : diag_answer(fd);
}

static int cut(struct job *j)
{
	(void)j;
	return tell_queue(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
}

static int mend(struct job *j)
{
	int r = tell_queue(RTM_DELQDISC, 0);

	(void)j;
	/* net/sched/sch_api.c, tc_get_qdisc: EINVAL, the root is another's; ENOENT, there is none. */
	return r == -EINVAL || r == -ENOENT ? 0 : r;
}

int loopback_cut(int netns_fd, struct error *err)
{
	struct job j = { .netns_fd = netns_fd, .run = cut };
	int r = job_run(&j);

	return r < 0 ? error_set(err, r, "hold what is sent over the pod's loopback: %s", strerror(-r)) : 0;
}

int loopback_mend(int netns_fd, struct error *err)
{
	struct job j = { .netns_fd = netns_fd, .run = mend };
	int r = job_run(&j);

	return r < 0 ? error_set(err, r, "let through what is sent over the pod's loopback: %s", strerror(-r)) : 0;
}
