/* SPDX-License-Identifier: Apache-2.0 */
/* Real connections over the loopback of a network namespace of its own: found, taken, as they were afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "container/criu_images.h"
#include "container/tcp_stream.h"
#include "net/loopback.h"
#include "proto/criu.pb-c.h"

/* In a child, which has no cmocka: the line that is not as it should be becomes its exit status. */
#define CHECK(x) do { if (!(x)) return __LINE__ % 256; } while (0)

static int lo_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo);
}

static int listen_at(uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0), off = 0;

	return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 8) == 0 ? fd : -1;
}

static int connect_to(uint32_t address, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(address) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(address ? AF_INET : AF_INET6, SOCK_STREAM, 0);

	return connect(fd, address ? (struct sockaddr *)&a : (struct sockaddr *)&a6, address ? sizeof(a) : sizeof(a6)) == 0 ? fd : -1;
}

static uint32_t inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : (uint32_t)st.st_ino;
}

static bool has_pair(const struct tcp_pair *p, int n, int a, int b)
{
	for (int i = 0; i < n; i++)
		if ((p[i].a.inode == inode(a) && p[i].b.inode == inode(b)) || (p[i].a.inode == inode(b) && p[i].b.inode == inode(a)))
			return true;
	return false;
}

static int own_namespace(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 || lo_up() < 0 ? -1 : open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int finds_pairs(void)
{
	int netns = own_namespace(), listener = listen_at(4000), a[3], b[3], waiting;
	struct tcp_pair *p = NULL;
	struct error err = { 0 };

	CHECK(netns >= 0 && listener >= 0 && tcp_pairs(netns, &p, &err) == 0);
	for (int i = 0; i < 3; i++) {
		static const uint32_t to[] = { 0x7f000001, 0x7f000309, 0 };

		CHECK((a[i] = connect_to(to[i], 4000)) >= 0 && (b[i] = accept(listener, NULL, NULL)) >= 0);
	}
	/* The first half shut down; and one more that nobody has accepted, which is none. */
	CHECK(shutdown(a[0], SHUT_WR) == 0 && (waiting = connect_to(0x7f000001, 4000)) >= 0);
	CHECK(tcp_pairs(netns, &p, &err) == 3);
	for (int i = 0; i < 3; i++)
		CHECK(has_pair(p, 3, a[i], b[i]));
	free(p);
	/* Its one end closed: the other has no peer any more. */
	close(a[1]);
	p = NULL;
	CHECK(tcp_pairs(netns, &p, &err) == 2 && !has_pair(p, 2, a[1], b[1]));
	return 0;
}

static int cuts_loopback(void)
{
	const struct timeval moment = { .tv_usec = 300000 };
	int netns = own_namespace(), listener = listen_at(4000), a, b;
	struct error err = { 0 };
	char byte;

	CHECK(netns >= 0 && loopback_mend(netns, &err) == 0);
	CHECK((a = connect_to(0x7f000001, 4000)) >= 0 && (b = accept(listener, NULL, NULL)) >= 0);
	CHECK(setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment)) == 0);
	if (loopback_cut(netns, &err) == -EOPNOTSUPP)
		return 0;
	CHECK(loopback_cut(netns, &err) == 0);
	CHECK(send(a, "x", 1, 0) == 1 && recv(b, &byte, 1, 0) < 0 && errno == EAGAIN);
	CHECK(loopback_mend(netns, &err) == 0 && loopback_mend(netns, &err) == 0);
	CHECK(setsockopt(b, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 20 }, sizeof(moment)) == 0);
	CHECK(recv(b, &byte, 1, 0) == 1 && byte == 'x');
	return 0;
}

static bool is_as_before(int a, int b)
{
	char byte = 'n';
	int reuse[2] = { -1, -1 }, on = -1;
	socklen_t len = sizeof(int);

	getsockopt(a, SOL_SOCKET, SO_REUSEADDR, &reuse[0], &len);
	getsockopt(b, SOL_SOCKET, SO_REUSEADDR, &reuse[1], &len);
	getsockopt(a, IPPROTO_TCP, 19, &on, &len);      /* TCP_REPAIR */
	return reuse[0] == 1 && reuse[1] == 0 && on == 0 && send(b, "y", 1, MSG_NOSIGNAL) == 1 && recv(a, &byte, 1, 0) == 1 && byte == 'y';
}

/* Until the receiver's window is full. */
static size_t fill(int fd)
{
	static char data[65536];
	size_t all = 0;
	ssize_t n;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7);
	for (int still = 0; still < 20; still++)
		while ((n = send(fd, data, sizeof(data), MSG_DONTWAIT)) > 0) {
			all += (size_t)n;
			still = 0;
		}
	return all;
}

/* What is on its way arrives when the kernel has time for it; until then the two do not fit, and are taken again (src/agent/source_connections.c). */
static bool take_when_calm(int a, int b, struct tcp_stream s[2])
{
	for (int i = 0; i < 500; i++) {
		if (tcp_stream_take(a, &s[0]) < 0 || tcp_stream_take(b, &s[1]) < 0)
			return false;
		if (tcp_streams_fit(&s[0], &s[1]))
			return true;
		usleep(10000);
	}
	return false;
}

static int takes_both(void)
{
	int netns = own_namespace(), listener = listen_at(4000), a, b, one = 1, zero = 0;
	struct tcp_stream s[2] = { 0 }, again = { 0 };
	size_t n;

	CHECK(netns >= 0 && (a = connect_to(0x7f000001, 4000)) >= 0 && (b = accept(listener, NULL, NULL)) >= 0);
	CHECK(setsockopt(a, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 && setsockopt(b, SOL_SOCKET, SO_REUSEADDR, &zero, sizeof(zero)) == 0);
	CHECK(tcp_stream_take(listener, &again) < 0);
	CHECK(tcp_stream_take(a, &s[0]) == 0 && tcp_stream_take(b, &s[1]) == 0);
	CHECK(tcp_streams_fit(&s[0], &s[1]) && s[0].in_len == 0 && s[1].out_len == 0 && is_as_before(a, b));
	n = fill(a);
	CHECK(take_when_calm(a, b, s));
	/* All that was sent is here or there, none of it twice (but what was not acknowledged). */
	CHECK(s[0].unsent > 0 && s[0].out_seq - s[1].in_seq + s[1].in_len == n);
	CHECK(s[1].in_len > 65536 && (char)s[1].in[65535] == (char)(65535u * 7) && s[1].in[8] == (uint8_t)(8 * 7));
	/* One of them taken at another time. */
	CHECK(recv(b, s[1].in, s[1].in_len, 0) == (ssize_t)s[1].in_len && recv(b, s[1].in, 1000, MSG_WAITALL) == 1000);
	CHECK(tcp_stream_take(a, &again) == 0 && !tcp_streams_fit(&again, &s[1]));
	return 0;
}

static int takes_halves(void)
{
	int netns = own_namespace(), listener = listen_at(4000), a, b, on = 1;
	struct tcp_stream s[2] = { 0 };
	char byte;

	CHECK(netns >= 0 && (a = connect_to(0, 4000)) >= 0 && (b = accept(listener, NULL, NULL)) >= 0);
	CHECK(send(a, "last", 4, 0) == 4 && shutdown(a, SHUT_WR) == 0);
	CHECK(tcp_stream_take(a, &s[0]) == 0 && tcp_stream_take(b, &s[1]) == 0 && tcp_streams_fit(&s[0], &s[1]));
	CHECK(s[0].fin_out && !s[0].fin_in && s[1].fin_in && s[1].in_len == 4 && s[1].in_seq == s[0].out_seq);
	CHECK(recv(b, &byte, 1, 0) == 1 && byte == 'l' && send(b, "z", 1, 0) == 1 && recv(a, &byte, 1, 0) == 1 && byte == 'z');
	/* Left as a process that was killed leaves it. */
	CHECK(setsockopt(a, IPPROTO_TCP, 19, &on, sizeof(on)) == 0 && tcp_stream_leave(a) == 1 && tcp_stream_leave(a) == 0 && tcp_stream_leave(netns) == 0);
	/* Ended: nobody can keep that. */
	close(b);
	CHECK(tcp_stream_take(a, &s[0]) < 0);
	return 0;
}

static int writes_images(void)
{
	struct tcp_stream s = { .in_seq = 7, .out_seq = 9, .in_len = 2, .out_len = 3, .unsent = 1, .in = (uint8_t *)"in", .out = (uint8_t *)"out", .mss = 65483, .options = 7 };
	char dir[] = "/tmp/test-stream-XXXXXX";
	struct buf b = BUF_INIT(4096);
	struct error err = { 0 };
	Criu__TcpStreamEntry *e;
	uint32_t size;
	int fd;

	CHECK(mkdtemp(dir) && (fd = open(dir, O_RDONLY | O_DIRECTORY)) >= 0 && tcp_stream_write(&s, fd, 0xabc, &err) == 0);
	CHECK(file_read(fd, "tcp-stream-abc.img", &b, &err) == 0 && b.len > 12 && !memcmp(b.data, "\x19\x43\x56\x54\x06\x55\x46\x51", 8));
	memcpy(&size, b.data + 8, sizeof(size));
	CHECK(size == b.len - 12 - 5 && !memcmp(b.data + 12 + size, "inout", 5));
	e = criu__tcp_stream_entry__unpack(NULL, size, (uint8_t *)b.data + 12);
	CHECK(e && e->inq_seq == 7 && e->outq_len == 3 && e->has_unsq_len && e->unsq_len == 1 && e->mss_clamp == 65483 && e->has_rcv_wup);
	criu__tcp_stream_entry__free_unpacked(e, NULL);
	buf_free(&b);
	tree_remove(AT_FDCWD, dir, NULL);
	return 0;
}

static void run(int (*f)(void))
{
	pid_t pid = fork();
	int st;

	if (pid == 0)
		_exit(f());
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st));
	assert_int_equal(WEXITSTATUS(st), 0);
}

static void pairs_are_found(void **state)
{
	(void)state;
	run(finds_pairs);
}

static void nothing_passes_a_cut_loopback(void **state)
{
	(void)state;
	run(cuts_loopback);
}

static void two_ends_are_taken_and_go_on(void **state)
{
	(void)state;
	run(takes_both);
}

static void halves_are_taken_without_their_end(void **state)
{
	(void)state;
	run(takes_halves);
}

static void the_image_is_as_criu_reads_it(void **state)
{
	(void)state;
	run(writes_images);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_found), cmocka_unit_test(nothing_passes_a_cut_loopback), cmocka_unit_test(two_ends_are_taken_and_go_on),
		cmocka_unit_test(halves_are_taken_without_their_end), cmocka_unit_test(the_image_is_as_criu_reads_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
