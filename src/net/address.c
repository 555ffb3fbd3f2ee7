/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "diag.h"

#define STATE_LISTEN 10                 /* include/net/tcp_states.h */

/* Either family, in network order. */
struct ip {
	int family;
	unsigned char bytes[16];
};

static size_t ip_size(const struct ip *ip)
{
	return ip->family == AF_INET ? 4 : 16;
}

/* ::ffff:1.2.3.4 is what a socket of both families is bound to when it means 1.2.3.4. */
static void unmap(struct ip *ip)
{
	static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	if (ip->family != AF_INET6 || memcmp(ip->bytes, mapped, sizeof(mapped)))
		return;
	ip->family = AF_INET;
	memmove(ip->bytes, ip->bytes + 12, 4);
}

/* One that belongs to a pod: not "any", loopback, multicast or broadcast, and not link-local, which needs an interface to mean something. */
static bool is_ordinary(const struct ip *ip)
{
	const unsigned char *b = ip->bytes;
	struct in6_addr a;

	if (ip->family == AF_INET)
		return b[0] != 0 && b[0] != 127 && b[0] < 224 && !(b[0] == 169 && b[1] == 254);
	memcpy(&a, b, sizeof(a));
	return !IN6_IS_ADDR_UNSPECIFIED(&a) && !IN6_IS_ADDR_LOOPBACK(&a) && !IN6_IS_ADDR_MULTICAST(&a) && !IN6_IS_ADDR_LINKLOCAL(&a);
}

/* --- what is bound --- */

static int remember(const struct ip *ip, struct address *list, int n)
{
	char text[INET6_ADDRSTRLEN];

	if (!is_ordinary(ip) || !inet_ntop(ip->family, ip->bytes, text, sizeof(text)))
		return n;
	for (int i = 0; i < n; i++)
		if (!strcmp(list[i].text, text))
			return n;
	if (n == ADDRESSES_MAX)
		return -E2BIG;
	memcpy(list[n].text, text, sizeof(text));
	return n + 1;
}

struct listing {
	int netns_fd;
	struct address *list;
	int n;                          /* or a negative errno */
};

static int note(void *ctx, const struct inet_diag_msg *m)
{
	struct listing *l = ctx;
	struct ip ip = { .family = m->idiag_family };

	memcpy(ip.bytes, m->id.idiag_src, sizeof(ip.bytes));
	unmap(&ip);
	l->n = remember(&ip, l->list, l->n);
	return l->n < 0 ? l->n : 0;
}

/*
 * In a thread of its own: a network namespace belongs to a thread.  Not by /proc/PID/net/tcp: to write that, the kernel goes through the table of established connections, of all the node's
 * namespaces, 7 to 30 ms of it, while the pod stands still.
 */
static void *list_in_netns(void *arg)
{
	struct listing *l = arg;
	cleanup_close int fd = setns(l->netns_fd, CLONE_NEWNET) < 0 ? -errno : diag_open();
	int r = fd < 0 ? fd : diag_tcp(fd, 1u << STATE_LISTEN, note, l);

	if (r == 0)
		r = diag_udp(fd, note, l);
	if (r < 0)
		l->n = r;
	return NULL;
}

int addresses_bound(int netns_fd, struct address ret[ADDRESSES_MAX], struct error *err)
{
	struct listing l = { .netns_fd = netns_fd, .list = ret };
	pthread_t thread;
	int r = pthread_create(&thread, NULL, list_in_netns, &l);

	if (r)
		return error_set(err, -r, "cannot start a thread");
	pthread_join(thread, NULL);
	return l.n < 0 ? error_set(err, l.n, "the addresses that sockets are bound to cannot be listed: %s", strerror(-l.n)) : l.n;
}

/* --- making one --- */

static int parse_text(const char *text, struct ip *ret)
{
	ret->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(ret->family, text, ret->bytes) == 1 && is_ordinary(ret) ? 0 : -EINVAL;
}

int address_check(const char *text)
{
	struct ip ip;

	return parse_text(text, &ip);
}

/* Whoever can bind it has it. */
static bool is_here(const struct ip *ip)
{
	cleanup_close int fd = socket(ip->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	memcpy(&in.sin_addr, ip->bytes, sizeof(in.sin_addr));
	memcpy(&in6.sin6_addr, ip->bytes, sizeof(in6.sin6_addr));
	return fd >= 0 && (ip->family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in)) : bind(fd, (struct sockaddr *)&in6, sizeof(in6))) == 0;
}

struct request {
	struct nlmsghdr head;
	struct ifaddrmsg body;
	char attributes[64];
};

static void put_attribute(struct request *q, unsigned short type, const struct ip *ip)
{
	struct rtattr *a = (struct rtattr *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(ip_size(ip));
	memcpy(RTA_DATA(a), ip->bytes, ip_size(ip));
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

/* rtnetlink(7): RTM_NEWADDR, and the kernel's answer to it. */
static int ask_kernel(const struct ip *ip, unsigned int interface)
{
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct request q = {
		.head = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg)), .nlmsg_type = RTM_NEWADDR,
			  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL },
		/* On lo there is nobody to be asked whether the address is taken. */
		.body = { .ifa_family = (unsigned char)ip->family, .ifa_prefixlen = (unsigned char)(ip_size(ip) * 8), .ifa_flags = IFA_F_NODAD | IFA_F_PERMANENT,
			  .ifa_scope = RT_SCOPE_HOST, .ifa_index = interface },
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[512];
	} answer;
	ssize_t n;

	if (fd < 0)
		return -errno;
	put_attribute(&q, IFA_LOCAL, ip);
	put_attribute(&q, IFA_ADDRESS, ip);
	if (send(fd, &q, q.head.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, &answer, sizeof(answer), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.head.nlmsg_type != NLMSG_ERROR)
		return n < 0 ? -errno : -EPROTO;
	return answer.error.error == -EEXIST ? 0 : answer.error.error;
}

struct job {
	int netns_fd, result;
	struct ip ip;
};

/* In a thread of its own: a network namespace belongs to a thread. */
static void *add_in_netns(void *arg)
{
	struct job *j = arg;
	unsigned int lo;

	if (setns(j->netns_fd, CLONE_NEWNET) < 0)
		j->result = -errno;
	else if (!is_here(&j->ip))
		j->result = (lo = if_nametoindex("lo")) ? ask_kernel(&j->ip, lo) : -errno;
	return NULL;
}

int address_add(int netns_fd, const char *text, struct error *err)
{
	struct job j = { .netns_fd = netns_fd };
	pthread_t thread;
	int r;

	if (parse_text(text, &j.ip) < 0)
		return error_set(err, -EINVAL, "not an address of a pod: %.60s", text);
	r = pthread_create(&thread, NULL, add_in_netns, &j);
	if (r)
		return error_set(err, -r, "cannot start a thread");
	pthread_join(thread, NULL);
	return j.result < 0 ? error_set(err, j.result, "give the pod its old address %s: %s", text, strerror(-j.result)) : 0;
}
