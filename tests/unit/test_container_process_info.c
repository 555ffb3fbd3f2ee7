/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "container/process_info.h"
#include "container/process_rules.h"
#include "migration/reason.h"
#include "../process_check.h"

static void files_are_judged_by_their_links(void **state)
{
	static const struct {
		const char *link;
		int reason;
	} cases[] = {
		{ "anon_inode:[io_uring]", REASON_IOUringInUse },
		{ "anon_inode:[eventpoll]", REASON_NONE },
		{ "anon_inode:[eventfd]", REASON_NONE },
		{ "anon_inode:inotify", REASON_NONE },
		{ "anon_inode:[perf_event]", REASON_UnsupportedFile },
		{ "anon_inode:[userfaultfd]", REASON_UnsupportedFile },
		{ "anon_inode:kvm-vcpu:0", REASON_DeviceInUse },
		{ "anon_inode:something new", REASON_UnsupportedFile },
		{ "anon_inode:bpf-map", REASON_NONE },
		{ "anon_inode:bpf-prog", REASON_UnsupportedFile },
		{ "/secretmem (deleted)", REASON_UnsupportedFile },
		{ "/memfd:x (deleted)", REASON_NONE },
		{ "/var/lib/data", REASON_NONE },
		{ "pipe:[123]", REASON_NONE },
		{ "pidfd:[7]", REASON_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct process_rule *r = process_rule_for_file(cases[i].link);

		assert_int_equal(r ? r->reason : REASON_NONE, cases[i].reason);
		assert_true(!r || r->advice[0]);
	}
}

static void mappings_are_judged_by_their_path(void **state)
{
	static const struct {
		const char *line;
		int reason;
	} cases[] = {
		{ "7f00-7f01 rw-s 00000000 00:0e 5 anon_inode:[io_uring]\n", REASON_IOUringInUse },
		{ "7fff-8000 --xp 00000000 00:00 0                          [uprobes]\n", REASON_UnsupportedFile },
		{ "7f00-7f01 rw-s 00000000 00:05 9                          /dev/nvidia0\n", REASON_DeviceInUse },
		{ "7f00-7f01 rw-s 00000000 00:01 9                          /dev/zero (deleted)\n", REASON_NONE },
		{ "7f00-7f01 rw-s 00000000 00:18 9                          /dev/shm/segment\n", REASON_NONE },
		{ "7f00-7f01 rw-s 00000000 00:01 9                          /SYSV00000000 (deleted)\n", REASON_NONE },
		{ "7f00-7f01 rw-p 00000000 00:00 0 \n", REASON_NONE },
		{ "7f00-7f01 r-xp 00000000 08:01 77                         /opt/a name with blanks\n", REASON_NONE },
		{ "garbage", REASON_NONE },
		{ "", REASON_NONE },
	};
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct process_rule *r;
		const char *path;

		snprintf(line, sizeof(line), "%s", cases[i].line);
		path = process_maps_path(line);
		r = path ? process_rule_for_mapping(path) : NULL;
		assert_int_equal(r ? r->reason : REASON_NONE, cases[i].reason);
	}
	snprintf(line, sizeof(line), "7f00-7f01 r-xp 00000000 08:01 77    /opt/a name\n");
	assert_string_equal(process_maps_path(line), "/opt/a name");
}

static void devices_are_judged_by_their_numbers(void **state)
{
	(void)state;
	assert_null(process_rule_for_device(S_IFCHR, makedev(1, 3)));
	assert_null(process_rule_for_device(S_IFCHR, makedev(10, 200)));
	assert_null(process_rule_for_device(S_IFCHR, makedev(136, 7)));
	assert_null(process_rule_for_device(S_IFREG, 0));
	assert_int_equal(process_rule_for_device(S_IFCHR, makedev(10, 232))->reason, REASON_DeviceInUse);       /* kvm */
	assert_int_equal(process_rule_for_device(S_IFCHR, makedev(195, 0))->reason, REASON_DeviceInUse);        /* nvidia */
	assert_int_equal(process_rule_for_device(S_IFBLK, makedev(8, 0))->reason, REASON_DeviceInUse);
	assert_int_equal(process_rule_for_device(S_IFBLK, makedev(1, 0))->reason, REASON_DeviceInUse);
}

static void sockets_are_judged_by_family_and_protocol(void **state)
{
	(void)state;
	assert_null(process_rule_for_socket(AF_UNIX, SOCK_STREAM, 0));
	assert_null(process_rule_for_socket(AF_INET6, SOCK_STREAM, IPPROTO_TCP));
	assert_null(process_rule_for_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
	assert_null(process_rule_for_socket(AF_INET, SOCK_RAW, 89));
	assert_null(process_rule_for_socket(AF_NETLINK, SOCK_RAW, 0));
	assert_non_null(strstr(process_rule_for_socket(AF_INET, SOCK_STREAM, 262)->advice, "GODEBUG"));
	assert_non_null(process_rule_for_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP));
	assert_non_null(process_rule_for_socket(AF_VSOCK, SOCK_STREAM, 0));
	assert_non_null(process_rule_for_socket(AF_ALG, SOCK_SEQPACKET, 0));
	assert_non_null(process_rule_for_socket(-1, -1, -1));
}

/* A child that opens something (false: this kernel or user cannot, and error is the errno) and waits. */
struct child {
	pid_t pid;
	bool opened;
	int error;
};

static struct child child_new(bool (*open_it)(void))
{
	struct child c = { 0, false, 0 };
	int p[2];
	int answer = 0;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	c.pid = fork();
	if (c.pid == 0) {
		errno = 0;
		answer = open_it() ? 0 : errno ? errno : -1;
		(void)!write(p[1], &answer, sizeof(answer));
		for (;;)
			pause();
	}
	close(p[1]);
	assert_int_equal(read(p[0], &answer, sizeof(answer)), sizeof(answer));
	close(p[0]);
	c.opened = answer == 0;
	c.error = answer;
	return c;
}

static void child_end(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
}

static bool harmless(void)
{
	sigset_t set;
	int pair[2];

	sigemptyset(&set);
	return eventfd(0, 0) >= 0 && epoll_create1(0) >= 0 && inotify_init1(0) >= 0 && signalfd(-1, &set, 0) >= 0 &&
	       timerfd_create(CLOCK_MONOTONIC, 0) >= 0 && socket(AF_INET, SOCK_STREAM, 0) >= 0 && socket(AF_NETLINK, SOCK_RAW, 0) >= 0 &&
	       socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && open("/dev/zero", O_RDWR) >= 0 && memfd_create("x", 0) >= 0 &&
	       mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

/* What is not of huge pages, however large, and however much it looks like them. */
static bool small_and_transparent(void)
{
	char *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600), fd = memfd_create("anon_hugepage", 0);
	bool ok = p != MAP_FAILED && id >= 0 && shmat(id, NULL, 0) != (void *)-1 && fd >= 0 && ftruncate(fd, 4096) == 0 &&
		  mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED;

	/* A kernel without them has no such advice. */
	madvise(p, 8 << 20, MADV_HUGEPAGE);
	if (ok)
		memset(p, 1, 8 << 20);
	shmctl(id, IPC_RMID, NULL);
	return ok;
}

static void what_criu_knows_is_let_through(void **state)
{
	static bool (*const known[])(void) = { harmless, small_and_transparent };

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct error e = { 0 };
		struct child c = child_new(known[i]);

		assert_true(c.opened);
		if (process_check(c.pid, &e) < 0)
			fail_msg("%s", e.message);
		child_end(&c);
	}
}

static bool open_io_uring(void)
{
	char params[120] = { 0 };

	return syscall(SYS_io_uring_setup, 4, params) >= 0;
}

static bool open_perf(void)
{
	struct perf_event_attr a = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1 };

	return syscall(SYS_perf_event_open, &a, 0, -1, -1, 0) >= 0;
}

static bool open_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */) >= 0;
}

static bool open_alg(void)
{
	return socket(AF_ALG, SOCK_SEQPACKET, 0) >= 0;
}

static bool open_mptcp(void)
{
	return socket(AF_INET, SOCK_STREAM, 262) >= 0;
}

static bool open_mqueue(void)
{
	return mq_open("/pm-test", O_RDWR | O_CREAT, 0600, NULL) != (mqd_t)-1 && mq_unlink("/pm-test") == 0;
}

#ifdef __SANITIZE_ADDRESS__
#define TOO_MUCH (70ull << 40)
#else
#define TOO_MUCH (1ull << 40)
#endif

static bool reserve_too_much(void)
{
	return mmap(NULL, TOO_MUCH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* 2 MiB of huge pages, which take none as long as nobody touches them. */
static bool map_huge(int flags, int fd)
{
	return mmap(NULL, 2 << 20, PROT_READ, flags | MAP_NORESERVE, fd, 0) != MAP_FAILED;
}

static bool huge_private(void)
{
	return map_huge(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static bool huge_shared(void)
{
	return map_huge(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static bool huge_opened(void)
{
	return memfd_create("huge", MFD_HUGETLB) >= 0;
}

static bool huge_gigabyte(void)
{
	return memfd_create("huge", MFD_HUGETLB | 30u << 26) >= 0;
}

static bool huge_mapped(void)
{
	int fd = memfd_create("huge", MFD_HUGETLB);

	return fd >= 0 && map_huge(MAP_SHARED, fd) && close(fd) == 0;
}

static bool huge_attached(void)
{
	int id = shmget(IPC_PRIVATE, 2 << 20, SHM_HUGETLB | SHM_NORESERVE | IPC_CREAT | 0600);
	bool ok = id >= 0 && shmat(id, NULL, SHM_RDONLY) != (void *)-1;

	shmctl(id, IPC_RMID, NULL);
	return ok;
}

/* Of a file system that only this process sees. */
static bool huge_file(void)
{
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) < 0 || mount("none", "/mnt", "hugetlbfs", 0, NULL) < 0)
		return false;
	fd = open("/mnt/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 && map_huge(MAP_SHARED, fd) && close(fd) == 0;
}

static bool take_lease(void)
{
	char path[] = "/tmp/pm-lease-XXXXXX";
	int fd = mkstemp(path);

	return fd >= 0 && unlink(path) == 0 && fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
}

/* In a network namespace of its own, as a pod's. */
static bool join_group(void)
{
	struct ip_mreqn m = { .imr_ifindex = 1 };
	int fd;

	if (unshare(CLONE_NEWNET) < 0 || (fd = socket(AF_INET, SOCK_DGRAM, 0)) < 0)
		return false;
	inet_pton(AF_INET, "239.1.2.3", &m.imr_multiaddr);
	return setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) == 0;
}

static bool join_group6(void)
{
	struct ipv6_mreq m = { .ipv6mr_interface = 1 };
	int fd;

	if (unshare(CLONE_NEWNET) < 0 || (fd = socket(AF_INET6, SOCK_DGRAM, 0)) < 0)
		return false;
	inet_pton(AF_INET6, "ff02::fb", &m.ipv6mr_multiaddr);
	return setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)) == 0;
}

static bool open_two_kinds(void)
{
	return open_mqueue() && reserve_too_much();
}

static bool open_fuse(void)
{
	return open("/dev/fuse", O_RDWR) >= 0;
}

static bool open_loop(void)
{
	return open("/dev/loop-control", O_RDWR) >= 0;
}

/* What a kernel says that was built without it, or a machine on which it is switched off or not for this user; nothing else excuses that a kind was not tried. */
#define NOT_BUILT ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT, ENOPROTOOPT
#define NOT_ALLOWED EPERM, EACCES
#define NO_DEVICE ENOENT, ENODEV, ENXIO
#define NO_ROOM ENOMEM          /* overcommit_memory 2, ulimit -v */
#define NO_HUGE EINVAL, ENOSYS, ENODEV, ENOENT, ENOMEM, EPERM, EACCES

static void what_criu_does_not_know_is_named(void **state)
{
	static const struct {
		const char *name;
		bool (*open_it)(void);
		int reason;
		const char *says;
		int excuses[8];
	} cases[] = {
		{ "io_uring", open_io_uring, REASON_IOUringInUse, "anon_inode:[io_uring] open (fd ", { NOT_BUILT, NOT_ALLOWED } },
		{ "perf", open_perf, REASON_UnsupportedFile, "stop the profiler", { NOT_BUILT, NOT_ALLOWED } },
		{ "userfaultfd", open_userfaultfd, REASON_UnsupportedFile, "userfaultfd", { NOT_BUILT, NOT_ALLOWED } },
		{ "AF_ALG", open_alg, REASON_UnsupportedFile, "socket of family 38", { NOT_BUILT } },
		{ "MPTCP", open_mptcp, REASON_UnsupportedFile, "multipathtcp=0", { NOT_BUILT } },
		{ "message queue", open_mqueue, REASON_UnsupportedFile, "has the POSIX message queue /pm-test", { NOT_BUILT } },
		{ "lease", take_lease, REASON_UnsupportedFile, "holds a write lease", { 0 } },
		{ "multicast group", join_group, REASON_UnsupportedFile, "joined the multicast group 239.1.2.3;", { NOT_ALLOWED } },
		{ "multicast group of IPv6", join_group6, REASON_UnsupportedFile, "joined the multicast group ff02::fb;", { NOT_BUILT, NOT_ALLOWED } },
		{ "private huge pages", huge_private, REASON_UnsupportedContainer, "has huge pages (hugetlbfs) mapped, /anon_hugepage (deleted)", { NO_HUGE } },
		{ "shared huge pages", huge_shared, REASON_UnsupportedContainer, "has huge pages (hugetlbfs) mapped, /anon_hugepage (deleted)", { NO_HUGE } },
		{ "an open file of huge pages", huge_opened, REASON_UnsupportedContainer, "has huge pages (hugetlbfs), /memfd:huge (deleted), open (fd ", { NO_HUGE } },
		{ "huge pages of 1 GiB", huge_gigabyte, REASON_UnsupportedContainer, "has huge pages (hugetlbfs), /memfd:huge (deleted), open (fd ", { NO_HUGE } },
		{ "a mapped file of huge pages", huge_mapped, REASON_UnsupportedContainer, "has huge pages (hugetlbfs) mapped, /memfd:huge (deleted)", { NO_HUGE } },
		{ "System V huge pages", huge_attached, REASON_UnsupportedContainer, "has huge pages (hugetlbfs) mapped, /SYSV", { NO_HUGE } },
		{ "hugetlbfs", huge_file, REASON_UnsupportedContainer, "has huge pages (hugetlbfs) mapped, /mnt/file", { NO_HUGE } },
		{ "two kinds", open_two_kinds, REASON_UnsupportedFile, "; UnsupportedContainer: process ", { NOT_BUILT, NO_ROOM } },
		{ "address space", reserve_too_much, REASON_UnsupportedContainer, "GiB of address space", { NO_ROOM } },
		{ "fuse", open_fuse, REASON_DeviceInUse, "/dev/fuse", { NO_DEVICE, NOT_ALLOWED } },
		{ "loop-control", open_loop, REASON_DeviceInUse, "/dev/loop-control", { NO_DEVICE, NOT_ALLOWED } },
	};
	char process[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error e = { 0 };
		struct child c = child_new(cases[i].open_it);

		if (c.opened) {
			assert_int_equal(process_check(c.pid, &e), -ENOTSUP);
			if (e.reason != cases[i].reason || !strstr(e.message, cases[i].says))
				fail_msg("%s: %s: %s", cases[i].name, reason_name(e.reason), e.message);
			snprintf(process, sizeof(process), "process %d (test_container_", c.pid);
			assert_int_equal(strncmp(e.message, process, strlen(process)), 0);
		} else {
			bool excused = false;

			for (int k = 0; k < 8 && cases[i].excuses[k]; k++)
				excused |= c.error == cases[i].excuses[k];
			if (!excused)
				fail_msg("%s could not be tried: %s", cases[i].name, strerror(c.error));
			print_message("not tried: %s: %s\n", cases[i].name, strerror(c.error));
		}
		child_end(&c);
	}
}

/* Twice what CRIU does not know, at two descriptors. */
static bool two_of_one_reason(void)
{
	return open_userfaultfd() && open_userfaultfd();
}

/* What a person would else hear of one try after the other. */
static void all_of_one_reason_is_named(void **state)
{
	struct child c = child_new(two_of_one_reason);
	struct obstacles found = { 0 };
	struct error e = { 0 };

	(void)state;
	if (c.opened) {
		assert_int_equal(process_find_obstacles(c.pid, &found, &e), 0);
		assert_int_equal(found.n, 2);
		for (int i = 0; i < 2; i++)
			assert_true(found.items[i].reason == REASON_UnsupportedFile && strstr(found.items[i].text, "[userfaultfd] open (fd "));
	} else {
		print_message("not tried: %s\n", strerror(c.error));
	}
	child_end(&c);
}

static bool traced(void)
{
	pid_t pid = getpid(), tracer = fork();

	if (tracer == 0) {
		/* A traced process that ended is its parent's to reap only when the tracer is gone. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
			_exit(1);
		for (;;)
			pause();
	}
	usleep(100000);
	return waitpid(tracer, NULL, WNOHANG) == 0;
}

/* The namespace is there when its first process is. */
static bool own_pid_namespace_for_children(void)
{
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid > 0;
}

static void stopped_process_is_named(void **state)
{
	pid_t pid = fork();
	struct error e = { 0 };
	siginfo_t i;

	(void)state;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	kill(pid, SIGSTOP);
	assert_int_equal(waitid(P_PID, (id_t)pid, &i, WSTOPPED | WNOWAIT), 0);
	assert_int_equal(process_check(pid, &e), -ENOTSUP);
	assert_int_equal(e.reason, REASON_CheckpointFailed);
	assert_non_null(strstr(e.message, "is stopped by a signal"));
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &i, WEXITED);
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void first_thread_that_ended_is_named(void **state)
{
	pid_t pid = fork();
	struct error e = { 0 };
	siginfo_t i;

	(void)state;
	if (pid == 0) {
		pthread_t t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pthread_create(&t, NULL, wait_for_ever, NULL) == 0)
			syscall(SYS_exit, 0);
		_exit(1);
	}
	assert_true(pid > 0);
	for (int n = 0; n < 500 && process_check(pid, &e) != -ENOTSUP; n++)
		usleep(10000);
	if (!strstr(e.message, "has ended its first thread"))
		fail_msg("%s", e.message);
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &i, WEXITED);
}

static void states_criu_cannot_take_are_named(void **state)
{
	struct error e = { 0 };
	struct child c = child_new(traced);

	(void)state;
	if (c.opened) {
		assert_int_equal(process_check(c.pid, &e), -ENOTSUP);
		assert_non_null(strstr(e.message, "is traced by process"));
	}
	child_end(&c);
	if (geteuid() != 0)
		skip();
	c = child_new(own_pid_namespace_for_children);
	assert_true(c.opened);
	assert_int_equal(process_check(c.pid, &e), -ENOTSUP);
	assert_non_null(strstr(e.message, "pid namespace"));
	child_end(&c);
}

static int parents_end[2];

/* What a container's process is to a process outside: another pid namespace, one connection. */
static pid_t child_in_pid_namespace(bool connected)
{
	char answer = 0;
	int p[2];
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0);
	if (pid == 0) {
		int own[2];

		if (!connected) {
			close(parents_end[0]);
			close(parents_end[1]);
			(void)!socketpair(AF_UNIX, SOCK_STREAM, 0, own);
		}
		(void)!write(p[1], "x", 1);
		for (;;)
			pause();
	}
	close(p[1]);
	(void)!read(p[0], &answer, 1);
	close(p[0]);
	return pid;
}

static void unix_sockets_to_the_outside_are_named(void **state)
{
	struct error e = { 0 };
	pid_t pid, inner = 0;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, parents_end), 0);
	pid = child_in_pid_namespace(true);
	assert_true(pid > 0);
	assert_int_equal(process_ns_pid(pid, &inner, &e), 0);
	assert_int_equal(inner, 1);
	assert_int_equal(process_check(pid, &e), -ENOTSUP);
	assert_int_equal(e.reason, REASON_ExternalUnixSocket);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	pid = child_in_pid_namespace(false);
	if (process_check(pid, &e) < 0)
		fail_msg("%s", e.message);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(parents_end[0]);
	close(parents_end[1]);
}

static int master = -1;

static bool terminal_with_master_outside(void)
{
	char name[64];
	int slave;

	if (ptsname_r(master, name, sizeof(name)))
		return false;
	slave = open(name, O_RDWR | O_NOCTTY);
	close(master);
	return slave >= 0;
}

static bool terminal_pair(void)
{
	char name[64];
	int m = posix_openpt(O_RDWR | O_NOCTTY);

	return m >= 0 && grantpt(m) == 0 && unlockpt(m) == 0 && ptsname_r(m, name, sizeof(name)) == 0 && open(name, O_RDWR | O_NOCTTY) >= 0;
}

/* In one pid namespace the other end counts as inside, wherever it is; a pair of one's own always does. */
static void terminals_of_one_s_own_are_let_through(void **state)
{
	struct error e = { 0 };
	struct child c;

	(void)state;
	c = child_new(terminal_pair);
	if (c.opened && process_check(c.pid, &e) < 0)
		fail_msg("%s", e.message);
	child_end(&c);
	master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		skip();
	c = child_new(terminal_with_master_outside);
	if (c.opened && process_check(c.pid, &e) < 0)
		fail_msg("%s", e.message);
	close(master);
	/* The master is gone: nobody of this namespace holds it. */
	if (c.opened) {
		assert_int_equal(process_check(c.pid, &e), -ENOTSUP);
		assert_int_equal(e.reason, REASON_TerminalAttached);
	}
	child_end(&c);
}

static void descent(void **state)
{
	int p[2];
	pid_t child, grandchild = 0;

	(void)state;
	assert_int_equal(pipe(p), 0);
	child = fork();
	if (child == 0) {
		grandchild = fork();
		if (grandchild == 0) {
			pause();
			_exit(0);
		}
		_exit(write(p[1], &grandchild, sizeof(grandchild)) == sizeof(grandchild) && pause());
	}
	assert_int_equal(read(p[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	assert_true(process_descends(child, child));
	assert_true(process_descends(grandchild, child));
	assert_true(process_descends(grandchild, getpid()));
	assert_false(process_descends(child, grandchild));
	assert_false(process_descends(getpid(), child));
	assert_false(process_descends(1, child));
	kill(grandchild, SIGKILL);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	/* One that is gone is in nobody's way. */
	assert_true(process_descends(child, getpid()));
	close(p[0]);
	close(p[1]);
}

static void numbers_and_missing_processes(void **state)
{
	struct error e = { 0 };
	pid_t ns_pid = 0;

	(void)state;
	assert_int_equal(process_ns_pid(getpid(), &ns_pid, &e), 0);
	assert_true(ns_pid > 0);
	assert_int_equal(process_ns_pid(1 << 30, &ns_pid, &e), -ENOENT);
	assert_int_equal(process_check(1 << 30, &e), -ENOENT);
}

/* A process of one thread, to which two signals wait: one that was sent to it, one to its thread. */
static pid_t start_with_signals(void)
{
	int ready[2];
	sigset_t both;
	char c;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		sigemptyset(&both);
		sigaddset(&both, SIGTERM);
		sigaddset(&both, SIGRTMIN + 3);
		sigprocmask(SIG_BLOCK, &both, NULL);
		kill(getpid(), SIGTERM);
		raise(SIGRTMIN + 3);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void signals_that_wait(void **state)
{
	struct error e = { 0 };
	pid_t pid = start_with_signals();
	uint64_t mask = 0;

	(void)state;
	assert_int_equal(process_pending_signals(pid, &mask, &e), 0);
	assert_int_equal(mask, UINT64_C(1) << (SIGTERM - 1) | UINT64_C(1) << (SIGRTMIN + 3 - 1));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(process_pending_signals(getpid(), &mask, &e), 0);
	assert_int_equal(mask, 0);
	assert_int_equal(process_pending_signals(1 << 30, &mask, &e), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_judged_by_their_links),
		cmocka_unit_test(mappings_are_judged_by_their_path),
		cmocka_unit_test(devices_are_judged_by_their_numbers),
		cmocka_unit_test(sockets_are_judged_by_family_and_protocol),
		cmocka_unit_test(what_criu_knows_is_let_through),
		cmocka_unit_test(what_criu_does_not_know_is_named),
		cmocka_unit_test(states_criu_cannot_take_are_named),
		cmocka_unit_test(first_thread_that_ended_is_named),
		cmocka_unit_test(all_of_one_reason_is_named),
		cmocka_unit_test(stopped_process_is_named),
		cmocka_unit_test(unix_sockets_to_the_outside_are_named),
		cmocka_unit_test(terminals_of_one_s_own_are_let_through),
		cmocka_unit_test(descent),
		cmocka_unit_test(numbers_and_missing_processes),
		cmocka_unit_test(signals_that_wait),
	};

	return cmocka_run_group_tests_name("container process info", tests, NULL, NULL);
}
