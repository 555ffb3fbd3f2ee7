/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ROUNDS_RIG_H
#define TESTS_ROUNDS_RIG_H

/* Real processes that know nothing of it are sent in rounds and stopped, and every page that a dump may want is compared with what was sent. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "stream_pair.h"
#include "transfer/mappings.h"
#include "transfer/pagemap.h"
#include "transfer/pages.h"

#define PAGE 4096ul
#define MIB (1ul << 20)

/* What a program under test and the test share. */
struct shared {
	atomic_long ticks, errors, signals;
	atomic_int ready;
};

static struct shared *shared;

static inline void fresh_shared(void)
{
	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memset(shared, 0, sizeof(*shared));
}

/* A group of its own, ended with the test. */
static inline pid_t start(void (*program)(void))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		/* What a test that failed has left open of others is not its own. */
		close_range(3, ~0u, 0);
		program();
		_exit(0);
	}
	setpgid(pid, pid);
	return pid;
}

static inline void end(pid_t pid)
{
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static inline void wait_ticks(long more)
{
	long want = shared->ticks + more;
	int64_t deadline = clock_mono_us() + 60000000;

	while (shared->ticks < want && clock_mono_us() < deadline)
		usleep(1000);
	assert_true(shared->ticks >= want);
}

/* --- the two sides of a transfer --- */

struct transfer {
	struct wire *w[2];
	struct page_store *store;
	pthread_t receiver;
	int result;
	struct pages_known *known;
	struct track_set *set;
	struct pages_stats stats;
	uint64_t found, found_end;      /* pages of memory that the last round told of, and where the last run of a process ended */
	uint64_t tell_at;               /* a page: when it has come .. */
	int tell_fd;                    /* .. this eventfd is told; 0: none */
};

static inline void *receive_main(void *arg)
{
	struct transfer *t = arg;
	struct wire_frame f;
	struct error err = { 0 };

	while ((t->result = wire_receive(t->w[1], 0, &f, &err)) == 0 && f.type != WIRE_ALL_SENT) {
		struct wire_pages p;

		if (t->tell_fd && wire_pages_unpack(&f, &p, &err) == 0 && p.address == t->tell_at)
			eventfd_write(t->tell_fd, 1);
		if ((t->result = page_store_put(t->store, &f, &err)) < 0)
			break;
	}
	if (t->result < 0)
		fprintf(stderr, "receiver: %s\n", err.message);
	return NULL;
}

static inline void transfer_begin(struct transfer *t)
{
	cleanup_close int dir = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct error err = { 0 };

	*t = (struct transfer){ 0 };
	wire_pair(t->w, 60000000);
	assert_int_equal(page_store_new(dir, 8ull << 30, &t->store, &err), 0);
	assert_int_equal(pages_known_new(&t->known, &err), 0);
	assert_int_equal(track_set_new(&t->set, &err), 0);
	assert_int_equal(pthread_create(&t->receiver, NULL, receive_main, t), 0);
}

static inline void transfer_free(struct transfer *t)
{
	wire_free(t->w[0]);
	wire_free(t->w[1]);
	page_store_free(t->store);
	pages_known_free(t->known);
	track_set_free(t->set);
}

/* The processes of a group, the pid in the images being the pid. */
static inline int group_pids(pid_t group, pid_t *pids, int max)
{
	cleanup_closedir DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		cleanup_buf struct buf b = BUF_INIT(4096);
		char path[64], state;
		int pgrp;

		path_format(path, sizeof(path), "/proc/%d/stat", pid);
		if (pid > 0 && file_read(AT_FDCWD, path, &b, NULL) == 0 && strrchr(b.data, ')') &&
		    sscanf(strrchr(b.data, ')') + 1, " %c %*d %d", &state, &pgrp) == 2 && pgrp == group && state != 'Z' && n < max)
			pids[n++] = pid;
	}
	return n;
}

static inline int count_found(void *ctx, uint64_t start, uint64_t end, struct error *err)
{
	struct transfer *t = ctx;

	(void)err;
	assert_true(t->found_end <= start && start < end);
	t->found += (end - start) / PAGE;
	t->found_end = end;
	return 0;
}

static inline void send_round(struct transfer *t, pid_t group, bool running)
{
	pid_t pids[256];
	int n = group_pids(group, pids, 256);

	assert_true(n > 0);
	track_set_round(t->set);
	for (int which = running ? PAGES_ALL : 0; which <= (running ? PAGES_ALL : PAGES_EXECUTABLE); which++)
		for (int i = 0; i < n; i++) {
			struct pages_source from = { .pid = pids[i], .ns_pid = pids[i], .running = running, .known = t->known,
						     .track = track_set_get(t->set, pids[i], running),
						     .found = which == PAGES_NOT_EXECUTABLE ? count_found : NULL, .found_ctx = t };
			struct error err = { 0 };
			int r;

			t->found_end = 0;
			r = pages_send(t->w[0], &from, (enum pages_which)which, &t->stats, &err);

			if (r < 0 && !(running && (r == -ESRCH || r == -ENOENT)))
				fail_msg("pages of %d: %s", pids[i], err.message);
		}
}

/* All of its threads: where much runs, the others can go on for a while when the first one has stopped. */
static inline bool stands(pid_t pid)
{
	char path[64];
	cleanup_closedir DIR *d = NULL;
	struct dirent *e;

	path_format(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		cleanup_buf struct buf b = BUF_INIT(4096);

		path_format(path, sizeof(path), "/proc/%d/task/%.16s/status", pid, e->d_name);
		if (e->d_name[0] != '.' && (file_read(AT_FDCWD, path, &b, NULL) < 0 || !strstr(b.data, "State:\tT")))
			return false;
	}
	return d;
}

static inline bool all_stand(const pid_t *pids, int n)
{
	for (int i = 0; i < n; i++)
		if (!stands(pids[i]))
			return false;
	return true;
}

/* One that is forked while its parent is about to stop is found by the second look. */
static inline void stop_group(pid_t group)
{
	int64_t deadline = clock_mono_us() + 10000000;
	int n = 0, before = -1;
	pid_t pids[256];

	while (n != before) {
		before = n;
		kill(-group, SIGSTOP);
		usleep(2000);
		n = group_pids(group, pids, 256);
		if (!all_stand(pids, n))
			before = -1;
		assert_true(clock_mono_us() < deadline);
	}
}

/* --- the verifier --- */

static inline bool read_page(pid_t pid, uint64_t address, uint8_t *out)
{
	char path[64];
	cleanup_close int fd = -1;

	path_format(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return pread(fd, out, PAGE, (off_t)address) == (ssize_t)PAGE;
}

static inline void verify_run(struct transfer *t, pid_t pid, const struct page_run *run, struct page_store_view *view, uint64_t *pages)
{
	uint8_t now[PAGE];

	for (uint64_t at = run->start; at < run->end; at += PAGE) {
		const void *sent = page_store_lookup(view, at);

		if (!read_page(pid, at, now))
			continue;
		if (!sent)
			fail_msg("process %d page %llx%s%s was never sent; it begins %02x%02x", pid, (unsigned long long)at, run->swapped ? " (swapped)" : "",
				 run->zero ? " (zero page)" : "", now[0], now[1]);
		if (memcmp(sent, now, PAGE))
			fail_msg("process %d page %llx is not what was sent", pid, (unsigned long long)at);
		++*pages;
	}
	(void)t;
}

/* Everything that CRIU would dump, as SELECT_ALL of the page map says. */
static inline uint64_t verify(struct transfer *t, pid_t group)
{
	pid_t pids[256];
	int n = group_pids(group, pids, 256);
	uint64_t pages = 0, found = 0;

	for (int i = 0; i < n; i++) {
		struct page_store_view view = { .store = t->store, .container = 0, .ns_pid = pids[i] };
		struct pagemap *map = NULL;
		struct error err = { 0 };
		struct mappings maps;
		struct mapping m;

		assert_int_equal(mappings_open(pids[i], &maps, &err), 0);
		assert_int_equal(pagemap_open(pids[i], true, &map, &err), 0);
		while (mappings_next(&maps, &m, &err) > 0) {
			struct page_run run;

			pagemap_files(map, m.file);
			pagemap_range(map, m.start, m.end);
			while (pagemap_next(map, &run, &err) > 0) {
				verify_run(t, pids[i], &run, &view, &pages);
				found += m.file || m.executable || run.zero ? 0 : (run.end - run.start) / PAGE;
			}
		}
		pagemap_close(map);
		mappings_close(&maps);
	}
	assert_int_equal(t->found, found);
	return pages;
}

static inline void finish(struct transfer *t)
{
	struct error err = { 0 };

	assert_int_equal(wire_send_end(t->w[0], &err), 0);
	pthread_join(t->receiver, NULL);
	assert_int_equal(t->result, 0);
}

/* Rounds while it runs, the last one stopped; *ret_last: pages looked at and sent in the last one. */
static inline uint64_t move(struct transfer *t, pid_t group, int rounds, uint64_t *ret_last)
{
	struct pages_stats before;
	uint64_t pages;
	int all, tracked;
	const char *why;

	transfer_begin(t);
	for (int i = 0; i < rounds; i++) {
		send_round(t, group, true);
		wait_ticks(20);
	}
	stop_group(group);
	before = t->stats;
	send_round(t, group, false);
	finish(t);
	*ret_last = t->stats.pages + t->stats.zero_pages + t->stats.same_pages - before.pages - before.zero_pages - before.same_pages;
	track_set_count(t->set, &all, &tracked, &why);
	pages = verify(t, group);
	print_message("%d of %d processes tracked%s%s, %llu pages verified, %llu in the last round, longest stop %lld us\n", tracked, all,
		      why ? ": " : "", why ? why : "", (unsigned long long)pages, (unsigned long long)*ret_last,
		      (long long)track_set_stopped_us(t->set));
	return pages;
}

/* --- programs --- */

static inline void idle(void)
{
	pause();
}

/* How this kernel tells what was written: by soft-dirty bits (before 6.7), not by write protection. */
static inline bool kernel_has_only_bits(void)
{
	struct track *t = NULL;
	pid_t pid = start(idle);
	bool bits = track_new(pid, &t, NULL) == 0 && track_by_bits(t);

	track_free(t);
	end(pid);
	return bits;
}

static inline uint64_t rng(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static inline void *anonymous(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(9);
	return p;
}

#define BIG (64 * MIB)

/* Little is written, much is there. */
static inline void quiet(void)
{
	uint8_t *p = anonymous(BIG);

	for (size_t i = 0; i < BIG; i += PAGE)
		memset(p + i, (int)(i / PAGE % 255) + 1, PAGE);
	for (uint64_t i = 0;; i++) {
		p[i * 7 * PAGE % BIG]++;
		shared->ticks++;
		usleep(1000);
	}
}

#endif
