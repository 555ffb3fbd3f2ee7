/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tracking of real processes that know nothing of it: whatever they do while rounds go on, after the last round, with them stopped, the page store must hold
 * every page that a dump may want, byte for byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/reason.h"
#include "rounds_rig.h"
#include "transfer/inject.h"

/* Processes are not stopped, asked, or registered with anything (test_transfer_soft_dirty.c has what is special of it). */
static bool bits;

static int find_out(void **state)
{
	(void)state;
	bits = kernel_has_only_bits();
	print_message("tracked by %s\n", bits ? "soft-dirty bits" : "write protection");
	return 0;
}

/* Of the last round: some tens of ticks, each of which writes one page; all of it would be 16384.  Soft-dirty bits gather: those of all rounds. */
static uint64_t little(void)
{
	return 2500 + (bits ? (uint64_t)shared->ticks : 0);
}

static void quiet_is_small(void **state)
{
	struct transfer t;
	uint64_t last;
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(quiet);
	wait_ticks(1);
	assert_true(move(&t, pid, 4, &last) > BIG / PAGE);
	assert_true(last < little());
	end(pid);
	transfer_free(&t);
}

#define WILD (4 * MIB)

/* One byte at random, for ever. */
static void *write_wildly(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)&seed | 1;
	uint8_t *p = arg;

	for (;;)
		p[rng(&seed) % WILD]++;
	return NULL;
}

static void *map_wildly(void *arg)
{
	uint64_t seed = 77;
	uint8_t *held[32] = { 0 };
	size_t len[32] = { 0 };

	for (;;) {
		unsigned k = (unsigned)(rng(&seed) % 32), how = (unsigned)(rng(&seed) % 6);

		if (!held[k]) {
			len[k] = (1 + rng(&seed) % 64) * PAGE;
			held[k] = anonymous(len[k]);
			memset(held[k], (int)rng(&seed), len[k]);
		} else if (how == 0) {
			munmap(held[k], len[k]);
			held[k] = NULL;
		} else if (how == 1) {
			size_t more = len[k] + (1 + rng(&seed) % 16) * PAGE;

			held[k] = mremap(held[k], len[k], more, MREMAP_MAYMOVE);
			len[k] = more;
		} else if (how == 2) {
			/* To another place, or over another of ours. */
			void *to = anonymous(len[k]);

			held[k] = mremap(held[k], len[k], len[k], MREMAP_MAYMOVE | MREMAP_FIXED, to);
		} else if (how == 3) {
			madvise(held[k], len[k] / 2 / PAGE * PAGE, MADV_DONTNEED);
		} else if (how == 4) {
			mprotect(held[k], PAGE, PROT_READ);
			mprotect(held[k], PAGE, PROT_READ | PROT_WRITE);
			held[k][len[k] - 1]++;
		} else {
			memset(held[k], (int)rng(&seed), len[k]);
		}
		if (held[k] == MAP_FAILED)
			_exit(8);
	}
	return arg;
}

/* The kernel writes: read(2) into memory, and time into a structure. */
static void *read_wildly(void *arg)
{
	int random_fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC), p[2];
	uint8_t *buf = anonymous(4 * MIB);
	uint64_t seed = 5;

	if (pipe(p) < 0)
		_exit(7);
	for (;;) {
		uint64_t at = rng(&seed) % (4 * MIB - 70000);
		ssize_t n = read(random_fd, buf + at, 1 + rng(&seed) % 5000);

		if (n < 0 || write(p[1], &seed, 8) != 8 || read(p[0], buf + rng(&seed) % (4 * MIB - 8), 8) != 8)
			_exit(6);
		clock_gettime(CLOCK_MONOTONIC, (struct timespec *)(buf + (rng(&seed) % (4 * MIB - 16) & ~7ul)));
	}
	return arg;
}

/* Private pages of a file: written, dropped, read again. */
static void *file_wildly(void *arg)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	const size_t len = 64 * PAGE;
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	uint64_t seed = 9, sum = 0;

	for (uint64_t i = 0; i < len; i += 8)
		if (write(fd, &i, 8) != 8)
			_exit(4);
	if (p == MAP_FAILED)
		_exit(5);
	for (;;) {
		uint64_t at = rng(&seed) % len;

		switch (rng(&seed) % 8) {
		case 0:
			madvise(p + at / PAGE * PAGE, PAGE, MADV_DONTNEED);
			break;
		case 1:
			sum += p[at];
			break;
		default:
			p[at]++;
		}
	}
	return (void *)(uintptr_t)(sum + (uintptr_t)arg);
}

static void *huge_wildly(void *arg)
{
	uint8_t *p = anonymous(10 * MIB);
	uint64_t seed = 11, sum = 0;

	p = (uint8_t *)(((uintptr_t)p + 2 * MIB - 1) & ~(2 * MIB - 1));
	madvise(p, 8 * MIB, MADV_HUGEPAGE);
	for (;;) {
		if (rng(&seed) % 4096 == 0)
			madvise(p + rng(&seed) % 4 * 2 * MIB, 2 * MIB, MADV_DONTNEED);
		if (rng(&seed) % 16 == 0)
			sum += p[rng(&seed) % (8 * MIB)];
		p[rng(&seed) % (8 * MIB)]++;
	}
	return (void *)(uintptr_t)(sum + (uintptr_t)arg);
}

static void *fork_wildly(void *arg)
{
	uint64_t seed = 13;

	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			uint8_t *p = arg;

			for (int i = 0; i < 1000; i++) {
				p[rng(&seed) % WILD]++;
				usleep(100);
			}
			_exit(0);
		}
		usleep(100000);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return arg;
}

static void wild(void)
{
	static void *(*const jobs[])(void *) = { write_wildly, map_wildly, read_wildly, file_wildly, huge_wildly, fork_wildly };
	uint8_t *p = anonymous(WILD);
	uint8_t *deep = alloca(256 * 1024);
	pthread_t thread;

	memset(p, 3, WILD);
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		pthread_create(&thread, NULL, jobs[i], p);
	for (uint64_t i = 0;; i++) {
		deep[i * 4099 % (256 * 1024)] = (uint8_t)i;
		if (i % 16 == 0)
			free(malloc(1 + i % 300000));
		shared->ticks++;
		usleep(1000);
	}
}

static void wild_is_whole(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct transfer t;
		uint64_t last;
		pid_t pid;

		fresh_shared();
		pid = start(wild);
		wait_ticks(20);
		move(&t, pid, 2 + i * 3, &last);
		end(pid);
		transfer_free(&t);
	}
}

#define PART (4 * MIB)
#define PARTS 3

/* Large memory goes from one place to another, where the kernel moves whole page tables.  It is seldom written, and dropped and only read. */
static void moves(void)
{
	uint8_t *all = (uint8_t *)(((uintptr_t)anonymous((PARTS + 1) * PART + 2 * MIB) + 2 * MIB - 1) & ~(2 * MIB - 1)), *spare = all + PARTS * PART;
	uint64_t seed = 17;

	for (size_t i = 0; i < PARTS * PART; i += PAGE)
		memset(all + i, (int)(i / PAGE % 251) + 1, PAGE);
	for (;; usleep(1000)) {
		uint8_t *from = all + rng(&seed) % PARTS * PART, *to = all + rng(&seed) % PARTS * PART, *page = from + rng(&seed) % (PART / PAGE) * PAGE;

		shared->ticks++;
		switch (rng(&seed) % 8) {
		case 0:
			page[rng(&seed) % PAGE]++;
			break;
		case 1:
			madvise(page, PAGE, MADV_DONTNEED);
			shared->errors += *(volatile uint8_t *)page != 0;
			break;
		default:
			/* Two change places, by way of the spare one; or one goes there and comes back. */
			if (mremap(from, PART, PART, MREMAP_MAYMOVE | MREMAP_FIXED, spare) != spare ||
			    (from != to && mremap(to, PART, PART, MREMAP_MAYMOVE | MREMAP_FIXED, from) != from) ||
			    mremap(spare, PART, PART, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
				_exit(11);
		}
	}
}

static void moved_is_whole(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct transfer t;
		uint64_t last;
		pid_t pid;

		fresh_shared();
		pid = start(moves);
		wait_ticks(1);
		move(&t, pid, 2 + i, &last);
		assert_int_equal(shared->errors, 0);
		end(pid);
		transfer_free(&t);
	}
}

/* Another program in the same process. */
static void changes(void)
{
	uint8_t *p = anonymous(8 * MIB);
	char *const argv[] = { "sh", "-c", "while :; do a=$a.; [ ${#a} -gt 20000 ] && a=; done", NULL };

	memset(p, 1, 8 * MIB);
	shared->ready = 1;
	while (shared->ready < 2)
		usleep(1000);
	execv("/bin/sh", argv);
}

static void exec_is_whole(void **state)
{
	struct transfer t;
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(changes);
	while (!shared->ready)
		usleep(1000);
	transfer_begin(&t);
	send_round(&t, pid, true);
	shared->ready = 2;
	usleep(300000);
	send_round(&t, pid, true);
	usleep(50000);
	send_round(&t, pid, true);
	usleep(50000);
	stop_group(pid);
	send_round(&t, pid, false);
	finish(&t);
	assert_true(verify(&t, pid) > 10);
	end(pid);
	transfer_free(&t);
}

/* --- what cannot be tracked goes by digests --- */

static void direct(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	shared->ready = fd >= 0 ? 1 : 2;
	quiet();
}

/* What the kernel tells of an open file then is long. */
static void direct_with_locks(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	for (int i = 0; fd >= 0 && i < 500; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * i, .l_len = 1 };

		if (fcntl(fd, F_SETLK, &l) < 0)
			_exit(4);
	}
	shared->ready = fd >= 0 ? 1 : 2;
	quiet();
}

static void refuse_direct(void (*program)(void))
{
	struct transfer t;
	uint64_t last;
	pid_t pid;

	fresh_shared();
	pid = start(program);
	while (!shared->ready)
		usleep(1000);
	if (shared->ready == 2) {
		print_message("no file system with O_DIRECT at /var/tmp\n");
	} else {
		int all, tracked;
		const char *why;

		wait_ticks(1);
		move(&t, pid, 2, &last);
		track_set_count(t.set, &all, &tracked, &why);
		assert_int_equal(tracked, 0);
		assert_non_null(strstr(why, "direct"));
		transfer_free(&t);
	}
	end(pid);
}

static void direct_is_refused(void **state)
{
	(void)state;
	refuse_direct(direct);
	refuse_direct(direct_with_locks);
}

/* Who has no file descriptor left sees no O_DIRECT either. */
static void files_that_cannot_be_listed(void **state)
{
	struct track *t = NULL;
	struct rlimit limit, none;
	struct error err = { 0 };
	int next;
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(quiet);
	wait_ticks(1);
	assert_int_equal(track_new(pid, &t, &err), 0);
	track_check(t);
	assert_null(track_broken(t));
	next = dup(0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ (rlim_t)next, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	track_check(t);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_non_null(track_broken(t));
	track_free(t);
	/* One that has ended has nothing open. */
	assert_int_equal(track_new(pid, &t, &err), 0);
	end(pid);
	track_check(t);
	assert_null(track_broken(t));
	track_free(t);
}

static void own_userfaultfd(void)
{
	syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	quiet();
}

static void own_userfaultfd_is_refused(void **state)
{
	struct track *t = NULL;
	struct error err = { 0 };
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(own_userfaultfd);
	wait_ticks(1);
	assert_int_equal(track_new(pid, &t, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "userfaultfd"));
	end(pid);
}

/* Whatever it called now would come back to it as a signal. */
static void dispatched(void)
{
	static volatile char selector;

	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) < 0) {
		shared->ready = 2;
		quiet();
	}
	shared->ready = 1;
	selector = SYSCALL_DISPATCH_FILTER_BLOCK;
	for (volatile unsigned i = 0;; i++)
		if (i % 100000 == 0)
			shared->ticks++;
}

/* CRIU would end it, and so would we: it is refused, and goes on. */
static void dispatched_is_refused(void **state)
{
	struct error err = { 0 };
	struct track *t = NULL;
	struct track_set *set;
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(dispatched);
	wait_ticks(1);
	if (shared->ready == 1 && !bits) {
		assert_int_equal(track_new(pid, &t, &err), -ENOTSUP);
		assert_int_equal(err.reason, REASON_UnsupportedContainer);
		assert_int_equal(track_set_new(&set, &err), 0);
		assert_int_equal(track_set_refused(set, &err), 0);
		assert_null(track_set_get(set, pid, true));
		err = (struct error){ 0 };
		assert_int_equal(track_set_refused(set, &err), -ENOTSUP);
		assert_non_null(strstr(err.message, "Wine"));
		track_set_free(set);
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
		wait_ticks(5);
	} else {
		print_message("no syscall user dispatch in this kernel, or it does not tell of it\n");
	}
	end(pid);
}

/* A stopped process is left alone, and stays stopped. */
static void stopped_is_refused(void **state)
{
	struct track *t = NULL;
	struct error err = { 0 };
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(quiet);
	wait_ticks(1);
	stop_group(pid);
	assert_int_equal(track_new(pid, &t, &err), bits ? 0 : -EOPNOTSUPP);
	track_free(t);
	stop_group(pid);
	kill(pid, SIGCONT);
	wait_ticks(5);
	assert_int_equal(track_new(pid, &t, &err), 0);
	track_free(t);
	end(pid);
}

/* --- no trace --- */

static int watched_mappings(pid_t pid)
{
	cleanup_buf struct buf b = BUF_INIT(4 * MIB);
	char path[64];
	int n = 0;

	path_format(path, sizeof(path), "/proc/%d/smaps", pid);
	assert_int_equal(file_read(AT_FDCWD, path, &b, NULL), 0);
	for (const char *at = b.data; (at = strstr(at, "VmFlags:")); at++) {
		const char *flag = strstr(at, " uw"), *line = strchr(at, '\n');

		n += flag && flag < line;
	}
	return n;
}

static void tracker_is_killed(void **state)
{
	pid_t pid, tracker;
	long maps[2];

	(void)state;
	fresh_shared();
	pid = start(quiet);
	wait_ticks(10);
	tracker = fork();
	if (tracker == 0) {
		struct transfer t;

		transfer_begin(&t);
		send_round(&t, pid, true);
		shared->ready = 1;
		pause();
	}
	while (!shared->ready)
		usleep(1000);
	maps[0] = watched_mappings(pid);
	kill(tracker, SIGKILL);
	waitpid(tracker, NULL, 0);
	maps[1] = watched_mappings(pid);
	assert_true(bits || maps[0] > 3);
	assert_int_equal(maps[1], 0);
	wait_ticks(20);
	end(pid);
}

/* --- the program does not notice --- */

static void count_signal(int number)
{
	(void)number;
	shared->signals++;
}

static void *sleep_right(void *arg)
{
	for (;;) {
		struct timespec ts = { 0, 3000000 }, left = { 0 };
		int64_t began = clock_mono_us();

		if (nanosleep(&ts, &left) < 0 || clock_mono_us() - began < 3000)
			shared->errors++;
		shared->ticks++;
	}
	return arg;
}

static void *compute(void *arg)
{
	volatile double x = 1;
	uint64_t s = 42, r = 42;

	for (uint64_t i = 0;; i++) {
		x = x * 1.0000001 + 1e-9;
		if (rng(&s) != rng(&r))
			shared->errors++;
		if (x > 1e6)
			x = 1;
	}
	return arg;
}

/* Main sits in one interruptible call after the other, with signals coming in. */
static void calls(void)
{
	struct sigaction sa = { .sa_handler = count_signal, .sa_flags = SA_RESTART };
	sigset_t none, usr1;
	pthread_t thread;
	int p[2];

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	signal(SIGTRAP, SIG_IGN);
	if (pipe(p) < 0)
		_exit(1);
	/* The others must not take the signals. */
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	pthread_create(&thread, NULL, sleep_right, NULL);
	pthread_create(&thread, NULL, compute, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&none);
	for (unsigned i = 0;; i++) {
		struct timespec ts = { 0, 2000000 };
		struct pollfd f = { p[0], POLLIN, 0 };
		int64_t began = clock_mono_us();
		int r = 0;

		switch (i % 4) {
		case 0:                 /* USR1 blocked: it must not be cut short by anything */
			r = nanosleep(&ts, NULL);
			if (r < 0 || clock_mono_us() - began < 2000)
				shared->errors++;
			break;
		case 1:                 /* ends by the time, or by USR1 */
			r = ppoll(&f, 1, &ts, &none);
			if ((r < 0 && errno != EINTR) || r > 0)
				shared->errors++;
			break;
		case 2:
			syscall(SYS_futex, &shared->ready, 0 /* WAIT */, 0, &ts, NULL, 0);
			break;
		default:
			r = sigtimedwait(&usr1, NULL, &ts);
			if (r == SIGUSR1)
				shared->signals++;
			/* EINTR by any stop, as by SIGSTOP and SIGCONT: one of the few such calls (signal(7)). */
			else if (errno != EAGAIN && errno != EINTR)
				shared->errors++;
		}
		if (signal(SIGTRAP, SIG_IGN) != SIG_IGN)
			shared->errors++;
		shared->ticks++;
	}
}

static void program_does_not_notice(void **state)
{
	int64_t worst = 0, deadline;
	long sent = 0, ticks;
	struct error err = { 0 };
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(calls);
	wait_ticks(10);
	for (int i = 0; i < 200; i++) {
		int64_t stopped;
		int fd;

		/* Standard signals do not queue: one at a time. */
		if (shared->signals == sent) {
			kill(pid, SIGUSR1);
			sent++;
		}
		if (inject_userfaultfd(pid, &fd, &stopped, &err) < 0)
			fail_msg("%s", err.message);
		close(fd);
		worst = stopped > worst ? stopped : worst;
	}
	deadline = clock_mono_us() + 5000000;
	while (shared->signals < sent && clock_mono_us() < deadline)
		usleep(1000);
	ticks = shared->ticks;
	wait_ticks(50);
	print_message("200 stops, the longest %lld us; %ld signals, %ld ticks, %ld errors\n", (long long)worst, sent, ticks, (long)shared->errors);
	assert_int_equal(shared->signals, sent);
	assert_int_equal(shared->errors, 0);
	end(pid);
}

static void sleeps(void)
{
	struct timespec t = { 1000000, 0 };

	syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &t, &t);
	_exit(4);
}

/* Waits until the process is in the system call of this number. */
static void assert_calls(pid_t pid, int number)
{
	char path[64], want[16];

	path_format(path, sizeof(path), "/proc/%d/syscall", pid);
	path_format(want, sizeof(want), "%d ", number);
	for (int i = 0; i < 500; i++) {
		cleanup_buf struct buf b = BUF_INIT(4096);

		if (file_read(AT_FDCWD, path, &b, NULL) == 0 && !strncmp(b.data, want, strlen(want)))
			return;
		usleep(10000);
	}
	fail_msg("process %d is not in system call %d", pid, number);
}

/* Not as restart_syscall(2), of which CRIU does not know what it was. */
static void sleep_goes_on_by_its_name(void **state)
{
	struct error err = { 0 };
	int64_t stopped;
	pid_t pid;
	int fd;

	(void)state;
	fresh_shared();
	pid = start(sleeps);
	assert_calls(pid, SYS_clock_nanosleep);
	if (inject_userfaultfd(pid, &fd, &stopped, &err) < 0)
		fail_msg("%s", err.message);
	close(fd);
	assert_calls(pid, SYS_clock_nanosleep);
	end(pid);
}

static uint64_t looked_at(const struct transfer *t)
{
	return t->stats.pages + t->stats.zero_pages + t->stats.same_pages;
}

static _Alignas(4096) uint8_t left_alone[2 * 4096];

static uint64_t count_written(struct transfer *t, pid_t pid)
{
	struct pages_source from = { .pid = pid, .track = track_set_get(t->set, pid, false) };
	struct error err = { 0 };
	uint64_t n = 0;

	assert_int_equal(pages_count_written(&from, &n, &err), 0);
	return n;
}

/* Else what was sent of it before would be taken for what is there. */
static void what_could_not_be_read_counts_as_written(void **state)
{
	struct transfer t;
	uint64_t n, before;
	pid_t pid;

	(void)state;
	fresh_shared();
	memset(left_alone, 7, sizeof(left_alone));
	pid = start(quiet);
	wait_ticks(1);
	transfer_begin(&t);
	send_round(&t, pid, true);
	stop_group(pid);
	n = count_written(&t, pid);
	if (bits)                       /* what was not read is not noted then (pages_known_note) */
		goto out;
	track_forget(track_set_get(t.set, pid, false), (uint64_t)(uintptr_t)left_alone);
	assert_int_equal(count_written(&t, pid), n + 1);
	assert_null(track_broken(track_set_get(t.set, pid, false)));
	before = looked_at(&t);
	send_round(&t, pid, false);
	assert_int_equal(looked_at(&t) - before, n + 1);
out:
	if (bits)
		send_round(&t, pid, false);
	finish(&t);
	verify(&t, pid);
	end(pid);
	transfer_free(&t);
}

/* The process whose number it was has ended, and the number is another one's. */
static void who_has_the_number_by_now_is_not_sent(void **state)
{
	pid_t gone = fork(), pid;
	struct error err = { 0 };
	struct transfer t;
	int ended, own;

	(void)state;
	if (gone == 0)
		_exit(0);
	ended = (int)syscall(SYS_pidfd_open, gone, 0);
	waitpid(gone, NULL, 0);
	fresh_shared();
	pid = start(quiet);
	wait_ticks(1);
	own = (int)syscall(SYS_pidfd_open, pid, 0);
	assert_true(ended > 0 && own > 0);
	transfer_begin(&t);
	{
		struct pages_source from = { .pid = pid, .ns_pid = pid, .running = true, .known = t.known, .pidfd = ended };

		assert_int_equal(pages_send(t.w[0], &from, PAGES_ALL, &t.stats, &err), -ESRCH);
		assert_int_equal(looked_at(&t), 0);
		from.pidfd = own;
		assert_int_equal(pages_send(t.w[0], &from, PAGES_ALL, &t.stats, &err), 0);
		/* Nor was anything noted as sent. */
		assert_int_equal(t.stats.same_pages, 0);
		assert_true(t.stats.pages > BIG / PAGE);
	}
	finish(&t);
	end(pid);
	close(ended);
	close(own);
	transfer_free(&t);
}

#define STRIPES 8192ul                  /* pages, more than the stream holds on the way */

/*
 * It ends in the midst of being sent (as the test has it, when some of it has come), and the next process of its number has the same in the same place: what was
 * about to be sent was not.
 */
static void the_next_of_its_number_is_sent_whole(void **state)
{
	char *stripes = anonymous(STRIPES * PAGE);
	struct error err = { 0 };
	struct transfer t;
	pid_t pid;

	(void)state;
	fresh_shared();
	/* Every second page is zero: each goes by itself. */
	for (unsigned long i = 0; i < STRIPES; i++)
		stripes[i * PAGE] = i % 2 == 0;
	pid = start(quiet);
	wait_ticks(1);
	transfer_begin(&t);
	t.tell_at = (uint64_t)(uintptr_t)stripes + 2 * PAGE;
	t.tell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	{
		struct pages_source from = { .pid = pid, .ns_pid = pid, .running = true, .known = t.known, .pidfd = t.tell_fd };

		assert_int_equal(pages_send(t.w[0], &from, PAGES_ALL, &t.stats, &err), -ESRCH);
	}
	stop_group(pid);
	send_round(&t, pid, false);
	finish(&t);
	assert_true(verify(&t, pid) > STRIPES);
	close(t.tell_fd);
	end(pid);
	transfer_free(&t);
	munmap(stripes, STRIPES * PAGE);
}

/* A filter that kills for userfaultfd, close and pidfd_getfd cannot be asked; the process lives on with it. */
static void filtered(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(f) / sizeof(f[0]), f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(3);
	quiet();
}

static void seccomp_is_no_obstacle(void **state)
{
	struct transfer t;
	uint64_t last;
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(filtered);
	wait_ticks(1);
	move(&t, pid, 3, &last);
	assert_true(last < little());
	kill(-pid, SIGCONT);
	wait_ticks(5);
	end(pid);
	transfer_free(&t);
}

/* --- when we are filtered ourselves --- */

struct attempt {
	struct sock_filter *filter;
	unsigned short len;
	pid_t pid;
	int result;
	struct error err;
};

/* In a thread: a filter is for ever. */
static void *try_filtered(void *arg)
{
	struct attempt *a = arg;
	struct sock_fprog program = { a->len, a->filter };
	struct track *t = NULL;

	a->result = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : track_new(a->pid, &t, &a->err);
	track_free(t);
	return NULL;
}

static int track_filtered(struct sock_filter *filter, size_t len, pid_t pid)
{
	struct attempt a = { .filter = filter, .len = (unsigned short)len, .pid = pid };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, try_filtered, &a), 0);
	pthread_join(thread, NULL);
	print_message("%d %s\n", a.result, a.err.message);
	return a.result;
}

/* Who has a filter may suspend nobody's: a program that would be ended for the call is not made to do it. */
static void filters_that_cannot_be_suspended(void **state)
{
	struct sock_filter all[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(filtered);
	wait_ticks(1);
	assert_int_equal(track_filtered(all, 1, pid), bits ? 0 : -EOPNOTSUPP);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	wait_ticks(5);
	end(pid);
	pid = start(quiet);
	wait_ticks(5);
	assert_int_equal(track_filtered(all, 1, pid), 0);
	wait_ticks(5);
	end(pid);
}

/* A kernel that cannot watch (whether it has soft-dirty bits or not), and a ptrace(2) that nobody may come to. */
static void nobody_is_stopped_for_nothing(void **state)
{
	struct sock_filter old[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(quiet);
	wait_ticks(1);
	assert_int_equal(track_filtered(old, sizeof(old) / sizeof(old[0]), pid), bits ? 0 : -EOPNOTSUPP);
	end(pid);
}

int main(void)
{
#define T(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		T(quiet_is_small), T(wild_is_whole), T(moved_is_whole), T(exec_is_whole), T(direct_is_refused), T(files_that_cannot_be_listed), T(own_userfaultfd_is_refused), T(dispatched_is_refused), T(stopped_is_refused),
		T(tracker_is_killed), T(program_does_not_notice), T(sleep_goes_on_by_its_name), T(seccomp_is_no_obstacle),
		T(what_could_not_be_read_counts_as_written), T(who_has_the_number_by_now_is_not_sent), T(the_next_of_its_number_is_sent_whole),
		T(filters_that_cannot_be_suspended), T(nobody_is_stopped_for_nothing),
	};

	return cmocka_run_group_tests(tests, find_out, NULL);
}
