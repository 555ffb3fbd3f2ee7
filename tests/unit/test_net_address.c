/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/address.h"

static void ordinary_addresses_only(void **state)
{
	static const char *const good[] = { "10.10.0.5", "192.168.1.1", "100.64.0.9", "fd00::5", "2001:db8::1" };
	static const char *const bad[] = { "", "0.0.0.0", "127.0.0.1", "127.8.8.8", "224.0.0.1", "255.255.255.255", "169.254.1.1", "10.1.1", "10.1.1.1/32", "host",
					   "::", "::1", "fe80::1", "ff02::1", "fd00::5%lo", "10.10.0.5 " };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(address_check(good[i]), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(address_check(bad[i]), -EINVAL);
}

static int bind_to(int family, int type, const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(4000) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(4000) };
	int fd = socket(family, type, 0);

	if (inet_pton(family, text, family == AF_INET ? (void *)&in.sin_addr : (void *)&in6.sin6_addr) != 1)
		return -1;
	if ((family == AF_INET ? bind(fd, (struct sockaddr *)&in, sizeof(in)) : bind(fd, (struct sockaddr *)&in6, sizeof(in6))) < 0)
		return -1;
	return type == SOCK_STREAM && listen(fd, 1) < 0 ? -1 : fd;
}

static int has(const struct address *list, int n, const char *text)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(list[i].text, text))
			return 1;
	return 0;
}

/* Without an interface that is up the kernel has no table of local addresses, and lets a socket be bound to any. */
static int lo_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo);
}

/* The number of the first thing that is not as it should be. */
static int in_namespace(void)
{
	struct address list[ADDRESSES_MAX];
	struct error err = { 0 };
	int netns, n;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 || (netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0 || lo_up() < 0)
		return 1;
	if (bind_to(AF_INET, SOCK_DGRAM, "10.10.0.5") >= 0 || addresses_bound(netns, list, &err) != 0)
		return 2;
	/* Twice: the second time it is there. */
	for (int i = 0; i < 2; i++)
		if (address_add(netns, "10.10.0.5", &err) < 0 || address_add(netns, "10.10.0.6", &err) < 0 || address_add(netns, "fd00::5", &err) < 0)
			return 3;
	if (address_add(netns, "127.0.0.9", &err) != -EINVAL)
		return 4;
	if (bind_to(AF_INET, SOCK_STREAM, "10.10.0.5") < 0 || bind_to(AF_INET6, SOCK_STREAM, "fd00::5") < 0 || bind_to(AF_INET, SOCK_DGRAM, "10.10.0.5") < 0 ||
	    bind_to(AF_INET6, SOCK_DGRAM, "::ffff:10.10.0.6") < 0 || bind_to(AF_INET, SOCK_DGRAM, "127.0.0.1") < 0 || bind_to(AF_INET6, SOCK_STREAM, "::1") < 0)
		return 5;
	n = addresses_bound(netns, list, &err);
	if (n != 3 || !has(list, n, "10.10.0.5") || !has(list, n, "10.10.0.6") || !has(list, n, "fd00::5"))
		return 6;
	return 0;
}

static void old_addresses_can_be_bound_again(void **state)
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_addresses_only),
		cmocka_unit_test(old_addresses_can_be_bound_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
