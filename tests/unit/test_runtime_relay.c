/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor between runc and CRIU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runtime/criu_rpc.h"
#include "runtime/pass_fd.h"
#include "runtime/relay.h"

static struct relay relay;
static int runc, criu;  /* the others' ends */

#define INIT 4711

/* protobuf by hand: type 6, success, notify{script, pid}. */
static size_t notify(char *to, const char *script, bool pid)
{
	size_t len = strlen(script), n = 0;

	memcpy(to, "\x08\x06\x10\x01\x2a", 5);
	n = 6;
	to[n++] = 0x0a;
	to[n++] = (char)len;
	memcpy(to + n, script, len);
	n += len;
	if (pid) {
		memcpy(to + n, "\x10\xe7\x24", 3);
		n += 3;
	}
	to[5] = (char)(n - 6);
	return n;
}

static int setup(void **state)
{
	int a[2], b[2];

	(void)state;
	relay = (struct relay)RELAY_NONE;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, a) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, b) < 0)
		return -1;
	relay.runc = a[0];
	runc = a[1];
	relay.criu = b[0];
	criu = b[1];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	relay_close(&relay);
	close(runc);
	close(criu);
	return 0;
}

static void comes(int fd, const char *what, size_t len)
{
	char got[256];

	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), len);
	assert_memory_equal(got, what, len);
}

static void nothing_comes(int fd)
{
	char c;

	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void says(int fd, const char *what, size_t len)
{
	assert_int_equal(send(fd, what, len, 0), len);
}

static const char yes[] = "\x08\x06\x18\x01";   /* notify_success */

static void what_is_said_is_passed_on(void **state)
{
	char m[64];
	size_t n = notify(m, "setup-namespaces", true);

	(void)state;
	says(criu, m, n);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	comes(runc, m, n);
	says(runc, yes, 4);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	comes(criu, yes, 4);
	/* Something unreadable too: it is theirs to understand. */
	says(criu, "\xff\xff\xff", 3);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	comes(runc, "\xff\xff\xff", 3);
}

static void criu_waits_at_the_barrier(void **state)
{
	char m[64];
	size_t n = notify(m, "post-restore", true);

	(void)state;
	says(criu, m, n);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	assert_false(relay.held);
	comes(runc, m, n);
	says(runc, yes, 4);
	assert_int_equal(relay_pass(&relay), RELAY_BARRIER);
	assert_true(relay.held);
	assert_int_equal(relay.init, INIT);
	nothing_comes(criu);
	relay_release(&relay);
	comes(criu, yes, 4);
	assert_false(relay.held);
	n = notify(m, "post-resume", false);
	says(criu, m, n);
	assert_int_equal(relay_pass(&relay), RELAY_RESUMED);
	assert_int_equal(relay.init, INIT);
	comes(runc, m, n);
}

/* Whatever it is: nothing but the opening of the barrier lets CRIU go on. */
static void a_word_too_many_ends_both(void **state)
{
	char m[64], c;
	size_t n = notify(m, "post-restore", true);

	(void)state;
	says(criu, m, n);
	relay_pass(&relay);
	says(runc, yes, 4);
	assert_int_equal(relay_pass(&relay), RELAY_BARRIER);
	says(runc, yes, 4);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	assert_false(relay.held);
	assert_int_equal(recv(criu, &c, 1, MSG_DONTWAIT), 0);
}

static void both_hear_of_the_end_of_one(void **state)
{
	char m[64], c;
	size_t n = notify(m, "post-restore", true);

	(void)state;
	says(criu, m, n);
	relay_pass(&relay);
	says(runc, yes, 4);
	assert_int_equal(relay_pass(&relay), RELAY_BARRIER);
	close(criu);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	assert_false(relay.held);
	/* The notification that is still there, then the end. */
	comes(runc, m, n);
	assert_int_equal(recv(runc, &c, 1, MSG_DONTWAIT), 0);
	criu = dup(runc);
}

static void a_last_word_arrives(void **state)
{
	static const char done[] = "\x08\x02\x10\x01";
	char c;

	(void)state;
	says(criu, done, 4);
	close(criu);
	relay_pass(&relay);
	comes(runc, done, 4);
	assert_int_equal(recv(runc, &c, 1, MSG_DONTWAIT), 0);
	criu = dup(runc);
}

static void a_restore_is_sent_to_our_folders(void **state)
{
	/* type RESTORE, opts { images_dir_fd: 9 }; merged with what is added: opts { images_dir_fd, log_level, notify_scripts, work_dir_fd }. */
	static const char request[] = "\x08\x02\x12\x02\x08\x09", dump[] = "\x08\x01\x12\x02\x08\x09";
	char want[32];
	size_t n = 6;
	struct error err = { 0 };

	(void)state;
	says(runc, dump, 6);
	relay_pass(&relay);
	comes(criu, dump, 6);
	assert_int_equal(relay_folders(&relay, "/", "/", &err), 0);
	says(runc, request, 6);
	assert_int_equal(relay_pass(&relay), RELAY_NOTHING);
	memcpy(want, request, n);
	assert_in_range(relay.images_fd, 1, 127);
	assert_in_range(relay.work_fd, 1, 127);
	memcpy(want + n, "\x12\x09\x08_\x48\x02\x60\x01\x88\x01_", 11);
	want[n + 3] = (char)relay.images_fd;
	want[n + 10] = (char)relay.work_fd;
	comes(criu, want, n + 11);
}

static void without_folders_there_is_no_restore(void **state)
{
	char c;

	(void)state;
	says(runc, "\x08\x02", 2);
	relay_pass(&relay);
	assert_int_equal(recv(criu, &c, 1, MSG_DONTWAIT), 0);
}

static void damaged_messages_are_not_read(void **state)
{
	static const char *const bad[] = {
		"\x08", "\x08\x80", "\x2a\x05\x0a", "\x0b\x01", "\x09\x01\x02", "\x0d\x01", "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x10\x01",
		"\x08\x06\x2a\x02\x0a\x09",
	};
	struct criu_rpc m;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(criu_rpc_read(bad[i], strlen(bad[i]), &m), -EBADMSG);
}

/* As the program `criu` does it: its socket given away, another one in its place. */
static void who_joins_gets_the_monitors_socket(void **state)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "" };
	socklen_t len = sizeof(a);
	int listening = socket(AF_UNIX, SOCK_SEQPACKET, 0), mine = socket(AF_UNIX, SOCK_SEQPACKET, 0), own[2], theirs;
	struct ucred peer = { 0 };
	char c;

	(void)state;
	assert_int_equal(bind(listening, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path)), 0);
	assert_int_equal(listen(listening, 1), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(connect(mine, (struct sockaddr *)&a, len), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, own), 0);
	assert_int_equal(pass_fd_send(mine, own[1]), 0);
	close(own[1]);
	relay_accept(&relay, listening);
	theirs = pass_fd_receive(mine);
	assert_true(theirs >= 0);
	len = sizeof(peer);
	assert_int_equal(getsockopt(theirs, SOL_SOCKET, SO_PEERCRED, &peer, &len), 0);
	assert_int_equal(peer.pid, getpid());
	/* The one before is over. */
	assert_int_equal(recv(criu, &c, 1, MSG_DONTWAIT), 0);
	says(own[0], "\x08\x0a", 2);
	relay_pass(&relay);
	comes(theirs, "\x08\x0a", 2);
	close(theirs);
	close(own[0]);
	close(mine);
	close(listening);
}

static void a_packet_without_a_socket_joins_nothing(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	says(pair[0], "f", 1);
	assert_int_equal(pass_fd_receive(pair[1]), -EBADMSG);
	close(pair[0]);
	assert_int_equal(pass_fd_receive(pair[1]), -ECONNRESET);
	close(pair[1]);
}

/* As many fds as there is room for and one more, all of them the same end of a pipe; who asks gets no more than he has room for, and none is left open. */
static void no_more_fds_come_than_there_is_room_for(void **state)
{
	(void)state;
	for (int max = 1; max <= PASS_FDS_MAX; max++) {
		union {
			struct cmsghdr head;
			char space[CMSG_SPACE((PASS_FDS_MAX + 1) * sizeof(int))];
		} control = { .head = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN((size_t)(max + 1) * sizeof(int)) } };
		struct iovec iov = { "f", 1 };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_SPACE((size_t)(max + 1) * sizeof(int)) };
		int pair[2], ends[2], given[PASS_FDS_MAX + 1], fds[PASS_FDS_MAX + 1];
		ssize_t len;
		char c;

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
		assert_int_equal(pipe(ends), 0);
		for (int i = 0; i <= PASS_FDS_MAX; i++) {
			given[i] = ends[1];
			fds[i] = -1;
		}
		memcpy(CMSG_DATA(&control.head), given, (size_t)(max + 1) * sizeof(int));
		assert_int_equal(sendmsg(pair[0], &m, 0), 1);
		close(ends[1]);
		assert_int_equal(pass_fds_receive(pair[1], &c, 1, 0, fds, max, &len), max);
		assert_int_equal(len, 1);
		assert_int_equal(fds[max], -1);
		for (int i = 0; i < max; i++)
			assert_int_equal(close(fds[i]), 0);
		/* Nobody else has it. */
		assert_int_equal(read(ends[0], &c, 1), 0);
		close(ends[0]);
		close(pair[0]);
		close(pair[1]);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_is_said_is_passed_on),
		T(criu_waits_at_the_barrier),
		T(a_word_too_many_ends_both),
		T(both_hear_of_the_end_of_one),
		T(a_last_word_arrives),
		T(a_restore_is_sent_to_our_folders),
		T(without_folders_there_is_no_restore),
		T(damaged_messages_are_not_read),
		T(who_joins_gets_the_monitors_socket),
		T(a_packet_without_a_socket_joins_nothing),
		T(no_more_fds_come_than_there_is_room_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
