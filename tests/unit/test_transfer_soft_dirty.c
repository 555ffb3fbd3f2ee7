/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Soft-dirty bits (kernels before 6.7): what is special of them.  Where the kernel has none, that it is told.  The programs of test_transfer_track.c, threads that write, map and fork wildly among them,
 * go by these bits on such a kernel, too.
 */
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/syscall.h>

#include "rounds_rig.h"
#include "transfer/pages_known.h"
#include "transfer/soft_dirty.h"

#define HUGE (2 * MIB)

/* Whether this kernel has them, and processes are tracked by them. */
static bool bits;

static int find_out(void **state)
{
	(void)state;
	bits = kernel_has_only_bits();
	print_message("%s\n", bits ? "tracked by soft-dirty bits" : "not tracked by soft-dirty bits: only what is the same without them can be seen");
	return 0;
}

static void *aligned(size_t len)
{
	return (void *)(((uintptr_t)anonymous(len + HUGE) + HUGE - 1) & ~(HUGE - 1));
}

/* The test says when (step). */
static void wait_for(int ready)
{
	while (shared->ready < ready)
		usleep(1000);
}

static void step(int ready)
{
	int64_t deadline = clock_mono_us() + 60000000;
	long before = shared->ticks;

	shared->ready = ready;
	while (shared->ticks == before && clock_mono_us() < deadline)
		usleep(1000);
	assert_true(shared->ticks > before);
}

/* Pages without the bit, of those that are there. */
static long count_clean(pid_t pid, const void *start, size_t len)
{
	uint64_t at = (uint64_t)(uintptr_t)start;
	struct pagemap *map = NULL;
	struct page_run run;
	struct error err = { 0 };
	long n = 0;

	assert_int_equal(pagemap_open(pid, false, &map, &err), 0);
	pagemap_files(map, false);
	pagemap_select(map, at, at + len, SELECT_STATES, false);
	while (pagemap_next(map, &run, &err) > 0)
		n += run.written ? 0 : (long)((run.end - run.start) / PAGE);
	pagemap_close(map);
	return n;
}

/* --- whether it can be done --- */

static void kernel_is_asked(void **state)
{
	struct error err = { 0 };
	int r = soft_dirty_check(&err);

	(void)state;
	print_message("%d %s\n", r, err.message);
	if (bits)
		assert_int_equal(r, 0);
	else if (r < 0)
		assert_true(r == -EOPNOTSUPP && strstr(err.message, "soft-dirty"));
}

/* Who may not see where pages are would not see when another has come. */
static void nothing_without_frames(void **state)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	int status = 0;
	pid_t pid;

	(void)state;
	if (!bits)
		skip();
	pid = fork();
	if (pid == 0) {
		struct error err = { 0 };

		if (syscall(SYS_capget, &head, caps) < 0)
			_exit(1);
		caps[0].effective &= ~(1u << CAP_SYS_ADMIN);
		if (syscall(SYS_capset, &head, caps) < 0)
			_exit(2);
		_exit(soft_dirty_check(&err) == -EOPNOTSUPP && strstr(err.message, "CAP_SYS_ADMIN") ? 0 : 3);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static void files_that_tell(void **state)
{
	(void)state;
	assert_true(soft_dirty_file("/proc/7/clear_refs") && soft_dirty_file("/host/proc/7/task/8/pagemap"));
	assert_false(soft_dirty_file("/proc/7/maps") || soft_dirty_file("/data/pagemap.txt") || soft_dirty_file("pagemap") || soft_dirty_file(""));
}

static void collector(void)
{
	if (open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC) < 0 || open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC) < 0)
		_exit(3);
	quiet();
}

/* As Boehm's collector does.  Write protection would not disturb it. */
static void who_uses_them_itself_keeps_them(void **state)
{
	struct transfer t;
	uint64_t last;
	const char *why;
	int all, tracked;
	pid_t pid;

	(void)state;
	fresh_shared();
	pid = start(collector);
	wait_ticks(1);
	move(&t, pid, 2, &last);
	track_set_count(t.set, &all, &tracked, &why);
	if (bits)
		assert_true(tracked == 0 && strstr(why, "clear_refs"));
	else
		assert_true(tracked == 1);
	assert_true(track_set_by_bits(t.set) == false);
	end(pid);
	transfer_free(&t);
}

/* --- frames --- */

static void frames_are_noted(void **state)
{
	struct pages_known *k = NULL;
	struct error err = { 0 };

	(void)state;
	assert_int_equal(pages_known_new(&k, &err), 0);
	assert_int_equal(pages_known_noted(k, 1, 0x200000), 0);
	assert_int_equal(pages_known_note(k, 1, 0x200000, 0), 0);
	assert_int_equal(pages_known_note(k, 1, 0x200000, 14), 0);
	assert_int_equal(pages_known_note(k, 2, 0x200000, 17), 0);
	assert_int_equal(pages_known_noted(k, 1, 0x200000), 14);
	assert_int_equal(pages_known_noted(k, 1, 0x201000), 0);
	/* Could not be read. */
	assert_int_equal(pages_known_note(k, 1, 0x200000, 0), 0);
	assert_int_equal(pages_known_noted(k, 1, 0x200000), 0);
	assert_int_equal(pages_known_note(k, 1, 0x3ff000, 18), 0);
	assert_int_equal(pages_known_noted(k, 1, 0x3ff000), 18);
	pages_known_forget_frames(k, 1);
	assert_int_equal(pages_known_noted(k, 1, 0x3ff000), 0);
	assert_int_equal(pages_known_noted(k, 2, 0x200000), 17);
	pages_known_forget(k, 2);
	assert_int_equal(pages_known_noted(k, 2, 0x200000), 0);
	pages_known_free(k);
}

/* --- content that changes without the bit --- */

#define AREA (8 * MIB)

static uint8_t *area[2];

static void fill(uint8_t *p, size_t len, int with)
{
	for (size_t i = 0; i < len; i += PAGE)
		memset(p + i, (int)(i / PAGE * 3 + (unsigned)with) % 251 + 1, PAGE);
}

static void fill_both(bool huge)
{
	for (int i = 0; i < 2; i++) {
		if (huge)
			madvise(area[i], AREA, MADV_HUGEPAGE);
		else
			madvise(area[i], AREA, MADV_NOHUGEPAGE);
		fill(area[i], AREA, 100 * i);
	}
	shared->ticks++;
	wait_for(1);
}

/* Two rounds, then the step, then stopped and compared.  What the program has in area[] is where the test has it: it is mapped before the fork. */
static uint64_t two_rounds_and(void (*program)(void), long *ret_clean)
{
	struct transfer t;
	struct pages_stats before;
	uint64_t last;
	pid_t pid;

	fresh_shared();
	for (int i = 0; i < 2; i++)
		area[i] = aligned(AREA);
	pid = start(program);
	wait_ticks(1);
	transfer_begin(&t);
	send_round(&t, pid, true);
	send_round(&t, pid, true);
	step(1);
	if (ret_clean)
		*ret_clean = count_clean(pid, area[0], AREA);
	stop_group(pid);
	before = t.stats;
	send_round(&t, pid, false);
	finish(&t);
	last = t.stats.pages + t.stats.zero_pages + t.stats.same_pages - before.pages - before.zero_pages - before.same_pages;
	assert_true(verify(&t, pid) > 2 * AREA / PAGE - AREA / PAGE);
	assert_int_equal(track_set_by_bits(t.set), bits);
	end(pid);
	transfer_free(&t);
	for (int i = 0; i < 2; i++)
		munmap(area[i], AREA);
	return last;
}

static void nothing_program(void)
{
	fill_both(false);
	shared->ticks++;
	pause();
}

static void what_is_quiet_is_not_looked_at(void **state)
{
	long clean = 0;
	uint64_t last = two_rounds_and(nothing_program, &clean);

	(void)state;
	print_message("%ld of %lu pages without the bit, %llu in the last round\n", clean, AREA / PAGE, (unsigned long long)last);
	assert_true(last < AREA / PAGE / 2);
	if (bits)
		assert_int_equal(clean, AREA / PAGE);
}

/* The kernel's page of zeros comes without the bit. */
static void drop_and_read(bool huge)
{
	fill_both(huge);
	madvise(area[0], AREA, MADV_DONTNEED);
	for (size_t i = 0; i < AREA; i += PAGE)
		shared->errors += *(volatile uint8_t *)(area[0] + i) != 0;
	shared->ticks++;
	pause();
}

static void small_zeros(void)
{
	drop_and_read(false);
}

static void huge_zeros(void)
{
	drop_and_read(true);
}

static void pages_of_zeros(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		long clean = 0;

		two_rounds_and(i ? huge_zeros : small_zeros, &clean);
		assert_int_equal(shared->errors, 0);
		print_message("%s pages of zeros: %ld of %lu without the bit\n", i ? "huge" : "small", clean, AREA / PAGE);
	}
}

/* Over the other one, as whole page tables; nothing is written. */
static void change_places(bool huge)
{
	uint8_t *spare = aligned(AREA);

	fill_both(huge);
	if (mremap(area[0], AREA, AREA, MREMAP_MAYMOVE | MREMAP_FIXED, spare) != spare || mremap(area[1], AREA, AREA, MREMAP_MAYMOVE | MREMAP_FIXED, area[0]) != area[0] ||
	    mremap(spare, AREA, AREA, MREMAP_MAYMOVE | MREMAP_FIXED, area[1]) != area[1])
		_exit(4);
	shared->ticks++;
	pause();
}

static void change_small(void)
{
	change_places(false);
}

static void change_huge(void)
{
	change_places(true);
}

static void page_tables_that_move(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		long clean = 0;

		two_rounds_and(i ? change_huge : change_small, &clean);
		print_message("moved, %s pages: %ld of %lu without the bit\n", i ? "huge" : "small", clean, AREA / PAGE);
	}
}

/* mmap, mprotect and mremap side by side: mappings that are new (and so count as written) merge with old ones. */
static void merging(void)
{
	uint8_t *p = area[0];

	fill_both(false);
	munmap(p + AREA / 2, AREA / 2);
	if (mmap(p + AREA / 2, AREA / 2, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(4);
	shared->errors += *(volatile uint8_t *)(p + AREA / 2) != 0;
	mprotect(p + AREA / 2, AREA / 2, PROT_READ | PROT_WRITE);
	fill(p + AREA / 2 + MIB, MIB, 33);
	mprotect(p, PAGE, PROT_READ);
	mprotect(p, PAGE, PROT_READ | PROT_WRITE);
	p[5]++;
	madvise(p + MIB, MIB, MADV_FREE);
	p[MIB + 7]++;
	shared->ticks++;
	pause();
}

static void mappings_that_merge(void **state)
{
	(void)state;
	two_rounds_and(merging, NULL);
	assert_int_equal(shared->errors, 0);
}

/* A large page that is written once counts whole; and so when it is split. */
static void one_byte(void)
{
	fill_both(true);
	area[0][HUGE + 1234]++;
	area[0][2 * HUGE + 1234]++;
	madvise(area[0] + 2 * HUGE, PAGE, MADV_DONTNEED);
	shared->ticks++;
	pause();
}

static void huge_pages(void **state)
{
	long clean = 0;
	uint64_t last = two_rounds_and(one_byte, &clean);

	(void)state;
	print_message("%ld of %lu pages without the bit, %llu in the last round\n", clean, AREA / PAGE, (unsigned long long)last);
}

/* --- KSM: what it merges is without the bit, whatever was written before --- */

#define KSM "/sys/kernel/mm/ksm/"

static long ksm(const char *name, long set)
{
	cleanup_buf struct buf b = BUF_INIT(64);
	char path[64], text[16];
	cleanup_close int fd = -1;

	path_format(path, sizeof(path), KSM "%s", name);
	if (set < 0)
		return file_read(AT_FDCWD, path, &b, NULL) < 0 ? -1 : strtol(b.data, NULL, 10);
	path_format(text, sizeof(text), "%ld", set);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return write(fd, text, strlen(text)) > 0 ? 0 : -1;
}

static void merged(void)
{
	int64_t deadline;

	fill_both(false);
	for (int i = 0; i < 2; i++)
		memset(area[i], 77, AREA);
	for (int i = 0; i < 2; i++)
		madvise(area[i], AREA, MADV_MERGEABLE);
	ksm("pages_to_scan", 20000);
	ksm("run", 1);
	for (deadline = clock_mono_us() + 20000000; ksm("pages_sharing", -1) < (long)(AREA / PAGE) && clock_mono_us() < deadline;)
		usleep(20000);
	shared->signals = ksm("pages_sharing", -1);
	ksm("run", 0);
	shared->ticks++;
	pause();
}

static void what_ksm_merges(void **state)
{
	long run = ksm("run", -1), scan = ksm("pages_to_scan", -1), clean = 0;

	(void)state;
	if (!bits || run != 0)          /* a setting of the whole machine: where the bits are, in the virtual machine, it does no harm */
		skip();
	two_rounds_and(merged, &clean);
	print_message("%ld pages merged, %ld of %lu without the bit\n", (long)shared->signals, clean, AREA / PAGE);
	ksm("run", 2);
	ksm("run", run);
	ksm("pages_to_scan", scan);
}

/* --- other processes --- */

static int borrowed(void *arg)
{
	(void)arg;
	for (;;)
		usleep(10000);
	return 0;
}

/* As posix_spawn(3) and Go do it for a moment: the other process has the same memory, and the same bits. */
static void borrows(void)
{
	uint8_t *stack = anonymous(64 * PAGE);

	fill(area[0], AREA, 1);
	shared->ticks++;
	wait_for(1);
	if (clone(borrowed, stack + 64 * PAGE, CLONE_VM | SIGCHLD, NULL) < 0)
		_exit(5);
	for (uint64_t i = 0;; i++) {
		area[0][i * 7 * PAGE % AREA]++;
		shared->ticks++;
		usleep(200);
	}
}

static void memory_of_two_is_cleared_once(void **state)
{
	struct transfer t;
	const char *why;
	int all, tracked;
	pid_t pid;

	(void)state;
	fresh_shared();
	area[0] = aligned(AREA);
	pid = start(borrows);
	wait_ticks(1);
	transfer_begin(&t);
	send_round(&t, pid, true);
	step(1);
	for (int i = 0; i < 3; i++) {
		wait_ticks(20);
		send_round(&t, pid, true);
	}
	track_set_count(t.set, &all, &tracked, &why);
	print_message("%d of %d tracked: %s\n", tracked, all, why ? why : "");
	assert_int_equal(all, 2);
	if (bits)
		assert_true(tracked == 1 && strstr(why, "shares its memory"));
	stop_group(pid);
	send_round(&t, pid, false);
	finish(&t);
	assert_true(verify(&t, pid) > AREA / PAGE);
	end(pid);
	transfer_free(&t);
	munmap(area[0], AREA);
}

/* Its child begins with the bits as they are. */
static void forks(void)
{
	fill_both(false);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		area[0][PAGE]++;
	} else {
		area[1][PAGE]++;
	}
	shared->ticks++;
	for (uint64_t i = 0;; i++, usleep(500)) {
		area[i % 2][i * 5 * PAGE % AREA]++;
		shared->ticks++;
	}
}

static void children_begin_anew(void **state)
{
	const char *why;
	int all, tracked;
	struct transfer t;
	uint64_t last;
	pid_t pid;

	(void)state;
	fresh_shared();
	for (int i = 0; i < 2; i++)
		area[i] = aligned(AREA);
	pid = start(forks);
	wait_ticks(1);
	shared->ready = 1;
	wait_ticks(5);
	move(&t, pid, 3, &last);
	track_set_count(t.set, &all, &tracked, &why);
	assert_true(all == 2 && tracked == 2);
	end(pid);
	transfer_free(&t);
	/* One that comes later. */
	fresh_shared();
	pid = start(forks);
	wait_ticks(1);
	transfer_begin(&t);
	send_round(&t, pid, true);
	shared->ready = 1;
	wait_ticks(5);
	send_round(&t, pid, true);
	wait_ticks(5);
	stop_group(pid);
	send_round(&t, pid, false);
	finish(&t);
	assert_true(verify(&t, pid) > 4 * AREA / PAGE - 10);
	end(pid);
	transfer_free(&t);
	for (int i = 0; i < 2; i++)
		munmap(area[i], AREA);
}

static void another_program(void)
{
	char *const argv[] = { "sh", "-c", "while :; do a=$a.; [ ${#a} -gt 20000 ] && a=; done", NULL };

	fill_both(false);
	execv("/bin/sh", argv);
}

/* Tracked as what it was, it would be looked at whole for ever. */
static void after_exec_it_begins_anew(void **state)
{
	struct track *was;
	struct transfer t;
	pid_t pid;

	(void)state;
	if (!bits)
		skip();
	fresh_shared();
	for (int i = 0; i < 2; i++)
		area[i] = aligned(AREA);
	pid = start(another_program);
	wait_ticks(1);
	transfer_begin(&t);
	send_round(&t, pid, true);
	was = track_set_get(t.set, pid, false);
	assert_true(was && !track_broken(was));
	shared->ready = 1;
	usleep(500000);
	assert_ptr_equal(track_set_get(t.set, pid, false), was);
	assert_string_equal(track_broken(was), "it has become another program");
	send_round(&t, pid, true);
	assert_null(track_broken(track_set_get(t.set, pid, false)));
	usleep(100000);
	send_round(&t, pid, true);
	usleep(100000);
	stop_group(pid);
	send_round(&t, pid, false);
	finish(&t);
	assert_true(verify(&t, pid) > 10);
	end(pid);
	was = track_set_get(t.set, pid, false);
	assert_true(was && track_broken(was));
	transfer_free(&t);
	for (int i = 0; i < 2; i++)
		munmap(area[i], AREA);
}

static void writes_when_told(void)
{
	fill_both(false);
	for (int i = 1;; i++) {
		wait_for(i);
		for (int k = 0; k < 16; k++)
			area[0][(i * 16 + k) * (int)PAGE] ^= 1;
		shared->ticks++;
	}
}

/* What was written before would pass for unwritten: what has been seen with its bit, and has none now, gives it away. */
static void bits_that_another_clears(void **state)
{
	cleanup_close int fd = -1;
	struct transfer t;
	const char *why;
	int all, tracked;
	char path[64];
	pid_t pid;

	(void)state;
	fresh_shared();
	for (int i = 0; i < 2; i++)
		area[i] = aligned(AREA);
	pid = start(writes_when_told);
	wait_ticks(1);
	transfer_begin(&t);
	send_round(&t, pid, true);
	step(1);
	send_round(&t, pid, true);
	step(2);
	path_format(path, sizeof(path), "/proc/%d/clear_refs", pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "4", 1), 1);
	stop_group(pid);
	send_round(&t, pid, false);
	finish(&t);
	assert_true(verify(&t, pid) > 2 * AREA / PAGE);
	track_set_count(t.set, &all, &tracked, &why);
	if (bits)
		assert_true(tracked == 0 && strstr(why, "somebody else"));
	else
		assert_int_equal(tracked, 1);
	end(pid);
	transfer_free(&t);
	for (int i = 0; i < 2; i++)
		munmap(area[i], AREA);
}

int main(void)
{
#define T(name) cmocka_unit_test(name)
	const struct CMUnitTest tests[] = {
		T(kernel_is_asked), T(nothing_without_frames), T(files_that_tell), T(who_uses_them_itself_keeps_them), T(frames_are_noted), T(what_is_quiet_is_not_looked_at),
		T(pages_of_zeros), T(page_tables_that_move), T(mappings_that_merge), T(huge_pages), T(what_ksm_merges), T(memory_of_two_is_cleared_once), T(children_begin_anew),
		T(after_exec_it_begins_anew), T(bits_that_another_clears),
	};

	return cmocka_run_group_tests(tests, find_out, NULL);
}
