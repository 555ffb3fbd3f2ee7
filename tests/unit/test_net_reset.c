/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
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
	uint64_t before, after;
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
	if (tcp_resets_sent(getpid(), &before, &err) < 0 || connect_to(4000) != -ECONNREFUSED || tcp_resets_sent(getpid(), &after, &err) < 0 || after != before + 1)
		return 5;
	if (read(client, &byte, 1) >= 0 || read(waiting, &byte, 1) >= 0)
		return 6;
	return tcp_reset_all(netns, &listened, &err) == 0 && !listened ? 0 : 7;
}

#define HOLDERS 4
#define EACH 9000               /* of which a process may have so many open */

/* Holds so many sockets at an address of its own; 1 into the pipe when it has them, 0 when it may not (the limit of open files is less). */
static void __attribute__((noreturn)) hold(unsigned number, int tell)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number) };
	char there = 1;

	for (int i = 0; i < EACH && there; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		in.sin_port = htons((uint16_t)(1024 + i));
		there = fd >= 0 && bind(fd, (struct sockaddr *)&in, sizeof(in)) == 0 && listen(fd, 1) == 0;
	}
	if (write(tell, &there, 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

static int of_many(void)
{
	struct error err = { 0 };
	pid_t holder[HOLDERS];
	int netns, ends[2], n;
	unsigned holders = 0;
	bool listened = false;
	char there = 1;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 || (netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0 || lo_up() < 0 || pipe(ends) < 0)
		return 1;
	while (holders < HOLDERS && there) {
		holder[holders] = fork();
		if (holder[holders] == 0)
			hold(holders, ends[1]);
		holders++;
		if (read(ends[0], &there, 1) != 1)
			return 2;
	}
	n = there ? tcp_reset_all(netns, &listened, &err) : 0;
	while (holders > 0)
		kill(holder[--holders], SIGKILL);
	return n == -EOPNOTSUPP || n == HOLDERS * EACH ? 0 : there ? 3 : 4;
}

static void run(int (*fn)(void))
{
	pid_t pid = fork();
	int st;

	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 0);
}

static void every_peer_is_told_at_once(void **state)
{
	(void)state;
	run(in_namespace);
}

/* More than fit into one pass, or into any number of them that was thought of. */
static void however_many_there_are(void **state)
{
	(void)state;
	run(of_many);
}

static void nobody_counts_what_is_not_there(void **state)
{
	struct error err = { 0 };
	uint64_t n;

	(void)state;
	assert_int_equal(tcp_resets_sent(1 << 30, &n, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_peer_is_told_at_once), cmocka_unit_test(however_many_there_are),
					    cmocka_unit_test(nobody_counts_what_is_not_there) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
