/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/reset.h"

static int lo_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo);
}

static int listen_on(int family, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(family, SOCK_STREAM, 0), one = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
	    (family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in)) : bind(fd, (struct sockaddr *)&in6, sizeof(in6))) < 0)
		return -1;
	return listen(fd, 8) < 0 ? -1 : fd;
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return connect(fd, (struct sockaddr *)&in, sizeof(in)) < 0 ? -errno : fd;
}

/* The number of the first thing that is not as it should be. */
static int in_namespace(void)
{
	struct error err = { 0 };
	bool listened = true;
	int netns, client, waiting, n;
	char byte;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 || (netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0 || lo_up() < 0)
		return 1;
	if (tcp_reset_all(netns, &listened, &err) != 0 || listened)
		return 2;
	/* Two that share a port, one of the other family, one connection that was accepted and one that nobody has accepted yet. */
	if ((n = listen_on(AF_INET, 4000)) < 0 || (client = connect_to(4000)) < 0 || accept(n, NULL, NULL) < 0 || (waiting = connect_to(4000)) < 0 ||
	    listen_on(AF_INET, 4000) < 0 || listen_on(AF_INET6, 4001) < 0)
		return 3;
	n = tcp_reset_all(netns, &listened, &err);
	if (n == -EOPNOTSUPP)
		return 0;
	if (n < 4 || !listened)
		return 4;
	if (connect_to(4000) != -ECONNREFUSED)
		return 5;
	if (read(client, &byte, 1) >= 0 || read(waiting, &byte, 1) >= 0)
		return 6;
	return tcp_reset_all(netns, &listened, &err) == 0 && !listened ? 0 : 7;
}

static void every_peer_is_told_at_once(void **state)
{
	pid_t pid = fork();
	int st;

	(void)state;
	if (pid == 0)
		_exit(in_namespace());
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_peer_is_told_at_once) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
