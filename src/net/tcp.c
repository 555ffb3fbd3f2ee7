/* SPDX-License-Identifier: Apache-2.0 */
/* TCP connections and listeners for the streams between agents. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migration/reason.h"
#include "tcp_options.h"
#include "net/tls.h"

void tcp_options(int fd)
{
	/* A peer that vanished without a word is noticed after 5 + 3*5 s when idle, 20 s when data is under way. */
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },   { SOL_SOCKET, SO_KEEPALIVE, 1 }, { IPPROTO_TCP, TCP_KEEPIDLE, 5 },
		{ IPPROTO_TCP, TCP_KEEPINTVL, 5 }, { IPPROTO_TCP, TCP_KEEPCNT, 3 }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 20000 },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

/* 1: ready, -ETIMEDOUT, or another negative errno. */
static int wait_for(int fd, short events, int64_t deadline_us)
{
	for (;;) {
		int64_t left_us = deadline_us ? deadline_us - clock_mono_us() : -1;
		struct pollfd p = { .fd = fd, .events = events };
		int r;

		if (deadline_us && left_us <= 0)
			return -ETIMEDOUT;
		if (left_us > 3600 * 1000000LL)
			left_us = 3600 * 1000000LL;
		r = poll(&p, 1, deadline_us ? (int)((left_us + 999) / 1000) : -1);
		if (r > 0)
			return 1;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

static int connect_one(int fd, const struct addrinfo *ai, int64_t deadline_us)
{
	socklen_t len = sizeof(int);
	int error = 0, r;

	if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	r = wait_for(fd, POLLOUT, deadline_us);
	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

int tcp_connect(const char *host, uint16_t port, int64_t deadline_us, int *ret_fd, struct error *err)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai = NULL;
	cleanup_close int fd = -1;
	char service[8];
	int r;

	snprintf(service, sizeof(service), "%u", (unsigned)port);
	if (port == 0 || getaddrinfo(host, service, &hints, &ai) != 0)
		return error_set(err, -EINVAL, "not an IP address and port: %s:%u", host, (unsigned)port);
	fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		r = -errno;
	} else {
		tcp_options(fd);
		r = connect_one(fd, ai, deadline_us);
	}
	freeaddrinfo(ai);
	if (r < 0) {
		char why[128];

		return error_reason(err, r, REASON_TransferFailed, "connect to %s port %u: %s", host, (unsigned)port,
				    strerror_r(-r, why, sizeof(why)));
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

int tcp_accept(int listen_fd, int64_t deadline_us, int *ret_fd, struct error *err)
{
	for (;;) {
		int r = wait_for(listen_fd, POLLIN, deadline_us), fd;

		if (r < 0) {
			errno = -r;
			return error_errno(err, "wait for a connection");
		}
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			tcp_options(fd);
			*ret_fd = fd;
			return 0;
		}
		/* The caller that made us readable may be gone again (accept(2), "Error handling"). */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && errno != EPROTO)
			return error_errno(err, "accept a connection");
	}
}

static int listen_on(const struct sockaddr *addr, socklen_t len, int backlog, int *ret_fd)
{
	cleanup_close int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return -errno;
	if (addr->sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || bind(fd, addr, len) < 0 || listen(fd, backlog) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

static int listen_here(uint16_t port, int backlog, int *ret_fd)
{
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT };
	struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	int r = listen_on((struct sockaddr *)&any6, sizeof(any6), backlog, ret_fd);

	/* No IPv6 in this kernel, or switched off in this network namespace (ipv6.disable, net.ipv6.conf.*.disable_ipv6). */
	if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)
		r = listen_on((struct sockaddr *)&any4, sizeof(any4), backlog, ret_fd);
	return r;
}

struct listen_job {
	int netns_fd, backlog, fd, result;
	uint16_t port;
};

static void *listen_in_netns(void *arg)
{
	struct listen_job *job = arg;

	job->result = setns(job->netns_fd, CLONE_NEWNET) < 0 ? -errno : listen_here(job->port, job->backlog, &job->fd);
	return NULL;
}

int tcp_listen(int netns_fd, uint16_t port, int backlog, int *ret_fd, uint16_t *ret_port, struct error *err)
{
	struct listen_job job = { .netns_fd = netns_fd, .backlog = backlog, .fd = -1, .port = port };
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr = { 0 };
	socklen_t len = sizeof(addr);
	pthread_t thread;

	/* setns is per thread: a thread of its own cannot leave the caller in a wrong namespace, whatever fails. */
	if (netns_fd < 0) {
		job.result = listen_here(port, backlog, &job.fd);
	} else {
		int r = pthread_create(&thread, NULL, listen_in_netns, &job);

		if (r == 0)
			pthread_join(thread, NULL);
		else
			job.result = -r;
	}
	if (job.result == 0 && getsockname(job.fd, &addr.any, &len) < 0) {
		job.result = -errno;
		close(job.fd);
	}
	if (job.result < 0) {
		errno = -job.result;
		return error_errno(err, "listen on port %u", (unsigned)port);
	}
	*ret_fd = job.fd;
	if (ret_port)
		*ret_port = ntohs(addr.any.sa_family == AF_INET6 ? addr.in6.sin6_port : addr.in.sin_port);
	return 0;
}
