/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that go ahead while a program changes them: whatever it does, after the walk that finds it still both sides are the same in everything.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "migration/reason.h"
#include "stream_pair.h"
#include "transfer/tree.h"
#include "transfer/tree_mapped.h"
#include "tree_compare.h"
#include "tree_place.h"

#define SECOND 1000000LL
#define SETTLE_US 30000                 /* times that old are trusted */

/* --- one migration: the record at one side, the applier at the other, over all walks --- */

struct sides {
	const char *from, *to;
	bool overlay, running, small;
	struct wire *w[2];
	struct tree_record *record;
	struct tree_ahead ahead;
	struct tree_mapped *mapped;
	struct tree_budget budget;
	struct tree_apply *apply;
	int to_fd;
	struct tree_stats stats;        /* of the last walk */
	int64_t cpu_us;
	struct sock_fprog refused;      /* what the sending thread's system calls come to; len 0: what they come to otherwise */
	struct error err;
	int result;
};

static void open_sides_as(struct sides *s, const char *from, bool overlay, const char *to, enum tree_tells tells)
{
	struct error err = { 0 };
	int dir = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	memset(s, 0, sizeof(*s));
	s->from = from;
	s->to = to;
	s->overlay = overlay;
	s->budget = (struct tree_budget){ .max_bytes = 4ull << 30, .max_entries = 1000000, .max_folders = 64 << 20 };
	s->ahead = (struct tree_ahead){ .memory_max = 64 << 20, .entries_max = UINT64_MAX, .bytes_max = UINT64_MAX };
	s->to_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->to_fd >= 0);
	assert_int_equal(tree_record_new(&s->ahead, tells, tells == TREE_TELLS_ALL ? UINT64_MAX : tree_room(dir), &s->record, &err), 0);
	close(dir);
	assert_int_equal(tree_apply_new(s->to_fd, &s->budget, &s->apply, &err), 0);
	wire_pair(s->w, 20 * SECOND);
}

/* The working folder is on tmpfs: as if its times told all. */
static void open_sides(struct sides *s, const char *from, bool overlay, const char *to)
{
	open_sides_as(s, from, overlay, to, TREE_TELLS_ALL);
}

static void close_sides(struct sides *s)
{
	tree_record_free(s->record);
	/* Nothing of it is left, so nothing was counted wrongly. */
	assert_int_equal(s->ahead.memory, 0);
	tree_apply_free(s->apply);
	close(s->to_fd);
	wire_free(s->w[0]);
	wire_free(s->w[1]);
}

static void *send_main(void *arg)
{
	struct sides *s = arg;
	int dir = open(s->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tree_source from = { .wire = s->w[0], .container = 2, .tree = "rootfs", .dir_fd = dir, .overlay = s->overlay, .running = s->running,
				    .record = s->record, .mapped = s->mapped };
	struct timespec cpu;

	if (s->refused.len) {
		assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
		assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &s->refused), 0);
	}
	s->result = tree_send(&from, &s->stats, &s->err);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	s->cpu_us = cpu.tv_sec * SECOND + cpu.tv_nsec / 1000;
	close(dir);
	if (s->result == 0)
		s->result = wire_send(s->w[0], WIRE_CATCH_UP, WIRE_NO_CONTAINER, NULL, 0, "{}", 2, &s->err);
	else
		wire_interrupt(s->w[0]);
	return NULL;
}

static int apply_frame(struct tree_apply *t, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *json = NULL;
	uint64_t offset;
	int r;

	if (f->type == WIRE_DATA) {
		memcpy(&offset, f->body, 8);
		return tree_apply_data(t, offset, f->body + 8, f->len - 8, err);
	}
	if (f->type == WIRE_ALIVE)
		return 0;
	assert_int_equal(f->type, WIRE_FILE);
	r = wire_json(f, &json, err);
	return r == 0 ? tree_apply_file(t, json, err) : r;
}

static void walk(struct sides *s, bool running)
{
	struct wire_frame f = { .type = WIRE_HELLO };
	struct error err = { 0 };
	pthread_t thread;

	s->running = running;
	s->stats = (struct tree_stats){ 0 };
	assert_int_equal(tree_mapped_new(&s->mapped, &err), 0);
	assert_int_equal(tree_mapped_add(s->mapped, getpid(), running, &err), 0);
	assert_int_equal(pthread_create(&thread, NULL, send_main, s), 0);
	while (wire_receive(s->w[1], 0, &f, &err) == 0 && f.type != WIRE_CATCH_UP)
		if (apply_frame(s->apply, &f, &err) < 0)
			fail_msg("%s", err.message);
	pthread_join(thread, NULL);
	if (s->result < 0 || s->err.message[0])
		fail_msg("%s", s->err.message);
	assert_int_equal(f.type, WIRE_CATCH_UP);
	if (tree_apply_settle(s->apply, &err) < 0)
		fail_msg("%s", err.message);
	tree_mapped_free(s->mapped);
}

/* The last walk, and what came of it; how much it sent. */
static void finish(struct sides *s, const char *source, uint64_t entries, uint64_t bytes)
{
	walk(s, false);
	compare_trees(source, s->to);
	if (s->stats.entries > entries || s->stats.bytes > bytes)
		fail_msg("%llu entries and %llu bytes were sent while frozen", (unsigned long long)s->stats.entries, (unsigned long long)s->stats.bytes);
	close_sides(s);
	remove_all(s->from);
	remove_all(s->to);
}

static void begin(struct sides *s)
{
	make_folder("src", 0755);
	make_folder("dst", 0700);
	open_sides(s, "src", false, "dst");
}

static void begin_tmpfs(struct sides *s)
{
	make_folder("src", 0755);
	make_folder("dst", 0700);
	open_sides_as(s, "src", false, "dst", TREE_TELLS_ATTRIBUTES);
}

/* Both are a tmpfs of this size. */
static void begin_small(struct sides *s, const char *size)
{
	make_folder("src", 0755);
	make_folder("dst", 0700);
	if (mount("tmpfs", "src", "tmpfs", 0, size) < 0 || mount("tmpfs", "dst", "tmpfs", 0, size) < 0)
		fail_msg("tmpfs: %s", strerror(errno));
	open_sides_as(s, "src", false, "dst", TREE_TELLS_ATTRIBUTES);
	s->small = true;
}

static void end_small(struct sides *s)
{
	close_sides(s);
	assert_int_equal(umount2("src", MNT_DETACH), 0);
	assert_int_equal(umount2("dst", MNT_DETACH), 0);
	remove_all("src");
	remove_all("dst");
}

static void write_at(const char *path, off_t at, const void *data, size_t len)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
}

static void make_large(const char *path, size_t len)
{
	uint32_t *data = malloc(len), x = 2463534242;

	for (size_t i = 0; i < len / 4; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		data[i] = x;
	}
	make_file(path, data, len, 0640);
	free(data);
}

/* src/0 to src/199, each holds its name. */
static void make_many_small(void)
{
	for (int i = 0; i < 200; i++) {
		char path[64];

		path_format(path, sizeof(path), "src/%d", i);
		make_text(path, path);
	}
}

/* --- one thing at a time --- */

static void nothing_changes(void **state)
{
	struct sides s;

	(void)state;
	begin(&s);
	make_many_small();
	make_folder("src/folder", 0711);
	make_large("src/folder/large", 5 << 20);
	assert_int_equal(link("src/7", "src/folder/seven"), 0);
	assert_int_equal(symlink("7", "src/link"), 0);
	assert_int_equal(mkfifo("src/fifo", 0600), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 206);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 0);
	finish(&s, "src", 0, 0);
}

/* --- on tmpfs --- */

static void what_file_systems_tell(void **state)
{
	cleanup_close int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int none = -1;

	(void)state;
	assert_int_equal(tree_tells(here), TREE_TELLS_ATTRIBUTES);
	assert_int_equal(tree_room(here), 1 << 30);
	assert_int_equal(tree_tells(proc), TREE_TELLS_NOTHING);
	assert_true(tree_room(proc) == UINT64_MAX);
	make_folder("none", 0755);
	assert_int_equal(mount("tmpfs", "none", "tmpfs", 0, "size=0"), 0);
	none = open("none", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(tree_room(none) == UINT64_MAX);
	assert_int_equal(umount2("none", MNT_DETACH), 0);
	remove_all("none");
}

static void nothing_changes_on_tmpfs(void **state)
{
	struct sides s;

	(void)state;
	begin_tmpfs(&s);
	make_many_small();
	make_text("src/empty", "");
	make_folder("src/folder", 0711);
	make_large("src/folder/large", 5 << 20);
	assert_int_equal(link("src/7", "src/folder/seven"), 0);
	assert_int_equal(symlink("7", "src/link"), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 206);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 0);
	finish(&s, "src", 0, 0);
}

/* By a mapping that was made after the walk and is gone before the next, to a page that was read before: then no fault tells of the write. */
static void write_unseen(const char *path, size_t at, const char *text)
{
	cleanup_close int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat before, after;
	volatile char *p;

	assert_true(fd >= 0 && fstat(fd, &before) == 0);
	p = mmap(NULL, (size_t)before.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	for (size_t i = 0; text[i]; i++) {
		char read_first = p[at + i];

		(void)read_first;
		p[at + i] = text[i];
	}
	assert_int_equal(munmap((void *)(uintptr_t)p, (size_t)before.st_size), 0);
	assert_int_equal(fstat(fd, &after), 0);
	/* That is what it is about. */
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim));
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

static void written_without_a_trace(void **state)
{
	struct sides s;

	(void)state;
	begin_tmpfs(&s);
	make_text("src/small", "0123456789");
	make_text("src/untouched", "0123456789");
	make_large("src/large", 4 << 20);
	assert_int_equal(link("src/large", "src/large too"), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	write_unseen("src/small", 3, "x");
	write_unseen("src/large", 1 << 20, "one");
	walk(&s, true);
	assert_int_equal(s.stats.entries, 2);
	assert_int_equal(s.stats.bytes, 10 + 4096);
	write_unseen("src/small", 4, "y");
	write_unseen("src/large too", 2 << 20, "two");
	write_unseen("src/large", (3 << 20) + 70000, "three");
	finish(&s, "src", 2, 10 + 2 * 4096);
}

static blkcnt_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks;
}

static void holes_stay_holes(void **state)
{
	cleanup_close int fd = -1;
	struct sides s;
	char *p;

	(void)state;
	begin_tmpfs(&s);
	make_text("src/sparse", "begin");
	assert_int_equal(truncate("src/sparse", 1ll << 30), 0);
	write_at("src/sparse", 500 << 20, "here", 4);
	make_large("src/large", 8 << 20);
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(s.stats.bytes, (8 << 20) + 2 * 4096);
	/* Through a mapping (madvise(2), MADV_REMOVE), and a page of a block that holds others. */
	fd = open("src/large", O_RDWR | O_CLOEXEC);
	p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(madvise(p + (2 << 20), 1 << 20, MADV_REMOVE), 0);
	assert_int_equal(madvise(p + (5 << 20) + 4096, 4096, MADV_REMOVE), 0);
	assert_int_equal(munmap(p, 8 << 20), 0);
	write_unseen("src/sparse", 500 << 20, "gone");
	write_unseen("src/sparse", 700 << 20, "new");
	walk(&s, false);
	compare_trees("src", "dst");
	assert_int_equal(blocks_of("dst/sparse"), 3 * 8);
	assert_int_equal(blocks_of("dst/large"), blocks_of("src/large"));
	finish(&s, "src", 4, (1 << 20) + 4 * 4096);
}

static void files_of_tmpfs_come_and_go(void **state)
{
	struct sides s;

	(void)state;
	begin_tmpfs(&s);
	for (int i = 0; i < 6; i++) {
		char path[32];

		path_format(path, sizeof(path), "src/%d", i);
		make_large(path, 1 << 20);
	}
	make_text("src/small", "small");
	make_text("src/attribute", "1");
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(truncate("src/0", 100001), 0);         /* shorter */
	assert_int_equal(truncate("src/1", 3 << 20), 0);        /* longer, with a hole */
	assert_int_equal(unlink("src/2"), 0);
	assert_int_equal(rename("src/3", "src/4"), 0);          /* replaced */
	make_text("src/new", "new");
	assert_int_equal(truncate("src/5", 0), 0);
	assert_int_equal(truncate("src/small", 0), 0);
	if (set_xattr("src/attribute", "user.x", "y", 1))
		assert_int_equal(chmod("src/attribute", 0600), 0);
	/* The folder, whiteouts of 2 and 3, and each of the others but one; of those a block, and all of what replaces another. */
	finish(&s, "src", 10, (1 << 20) + 2 * 4096 + 3);
}

/* A file goes and another comes for which there was no room beside it; and one becomes shorter, another longer. */
static void there_is_little_room(void **state)
{
	struct sides s;

	(void)state;
	for (int order = 0; order < 2; order++) {
		const char *one = order ? "src/b" : "src/a", *two = order ? "src/a" : "src/b";
		char path[2][32];

		path_format(path[0], 32, "%s/file", one);
		path_format(path[1], 32, "%s/file", two);
		begin_small(&s, "size=8m");
		make_folder(one, 0755);
		make_folder(two, 0755);
		make_large("src/old", 3 << 20);
		make_large(path[0], 4 << 20);
		make_text(path[1], "little");
		usleep(SETTLE_US);
		walk(&s, true);
		assert_int_equal(unlink("src/old"), 0);
		make_large("src/new", 3 << 20);
		walk(&s, true);
		assert_true(s.stats.bytes >= 3 << 20);
		assert_int_equal(truncate(path[0], 5), 0);
		make_large(path[1], 9 << 19);
		walk(&s, false);
		compare_trees("src", "dst");
		end_small(&s);
	}
}

/* A file of so much data, and holes behind it up to size, in a tmpfs of 8 MiB, of which nothing but a page is written between two walks: only that goes. */
static void only_a_page_goes(off_t data, off_t size)
{
	struct sides s;

	begin_small(&s, "size=8m");
	make_large("src/file", (size_t)data);
	assert_int_equal(truncate("src/file", size), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	write_unseen("src/file", 5 << 20, "x");
	walk(&s, true);
	write_unseen("src/file", 4 << 20, "x");
	walk(&s, false);
	assert_int_equal(s.stats.entries, 1);
	assert_int_equal(s.stats.bytes, 4096);
	compare_trees("src", "dst");
	end_small(&s);
}

/* More than half of it: which of the holes could be filled does not matter as long as none was. */
static void holes_that_stay(void **state)
{
	(void)state;
	only_a_page_goes(6 << 20, 64 << 20);
}

/* To the last page. */
static void it_is_full(void **state)
{
	(void)state;
	only_a_page_goes(8 << 20, 8 << 20);
}

/* What is too young is sent again once, though it has not changed. */
static void young_times_are_not_trusted(void **state)
{
	struct sides s;

	(void)state;
	begin(&s);
	make_text("src/young", "1");
	walk(&s, true);
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 2);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 0);
	finish(&s, "src", 0, 0);
}

static void same_size_and_time(void **state)
{
	const struct timespec times[2] = { { .tv_sec = 5 }, { .tv_sec = 5 } };
	struct sides s;

	(void)state;
	begin(&s);
	make_text("src/file", "before");
	assert_int_equal(utimensat(AT_FDCWD, "src/file", times, 0), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	write_at("src/file", 0, "behind", 6);
	assert_int_equal(utimensat(AT_FDCWD, "src/file", times, 0), 0);
	finish(&s, "src", 1, 6);
}

static void blocks_of_large_files(void **state)
{
	cleanup_free char *zeros = calloc(1, 1 << 20);
	struct sides s;
	int fd;

	(void)state;
	begin(&s);
	for (int i = 0; i < 6; i++) {
		char path[32];

		path_format(path, sizeof(path), "src/%d", i);
		make_large(path, 8 << 20);
	}
	make_text("src/sparse", "");
	assert_int_equal(truncate("src/sparse", 1ll << 30), 0);
	write_at("src/sparse", 500 << 20, "here", 4);
	usleep(SETTLE_US);
	walk(&s, true);
	write_at("src/0", 3 << 20, "x", 1);                     /* in the middle */
	assert_int_equal(truncate("src/1", 5000001), 0);        /* shorter */
	write_at("src/2", 9 << 20, "y", 1);                     /* longer, with a hole */
	assert_int_equal(truncate("src/3", 1000), 0);           /* shorter and longer again: zeros behind */
	assert_int_equal(truncate("src/3", 8 << 20), 0);
	fd = open("src/4", O_WRONLY | O_CLOEXEC);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 123456), 0);
	close(fd);
	write_at("src/5", 65536 - 1, zeros, 65536 + 2);         /* over three blocks */
	write_at("src/sparse", 500 << 20, "gone", 4);
	walk(&s, true);
	write_at("src/sparse", 700 << 20, "and there", 9);
	assert_int_equal(chmod("src/0", 04711), 0);
	/* A block of each, but for what became a hole: it goes as zeros, 8 MiB of them. */
	assert_true(s.stats.bytes < 9 << 20);
	/* Those of the walk before are young: they are compared, and nothing of them goes. */
	finish(&s, "src", 8, 70000);
}

static void types_change(void **state)
{
	struct sides s;

	(void)state;
	begin(&s);
	make_text("src/file", "becomes a folder");
	make_folder("src/folder", 0755);
	make_text("src/folder/in", "becomes a file");
	make_folder("src/other", 0755);
	make_text("src/other/in", "becomes a link");
	assert_int_equal(symlink("file", "src/link"), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(unlink("src/file"), 0);
		make_folder("src/file", 0700);
		make_text("src/file/in", "x");
		remove_all("src/folder");
		make_text("src/folder", "file");
		remove_all("src/other");
		assert_int_equal(symlink("folder", "src/other"), 0);
		assert_int_equal(unlink("src/link"), 0);
		make_folder("src/link", 0755);
		make_text("src/link/deep", "x");
		usleep(SETTLE_US);
		walk(&s, true);
		/* And back. */
		remove_all("src/file");
		make_text("src/file", "again");
		assert_int_equal(unlink("src/folder"), 0);
		make_folder("src/folder", 0755);
		make_text("src/folder/in", "again");
		assert_int_equal(unlink("src/other"), 0);
		make_folder("src/other", 0700);
		remove_all("src/link");
		assert_int_equal(symlink("file", "src/link"), 0);
		walk(&s, true);
	}
	finish(&s, "src", 100, 100);
}

static void hard_links_come_and_go(void **state)
{
	struct sides s;

	(void)state;
	begin(&s);
	make_text("src/a", "a");
	assert_int_equal(link("src/a", "src/b"), 0);
	make_large("src/large", 1 << 20);
	assert_int_equal(link("src/large", "src/large too"), 0);
	make_text("src/lone", "lone");
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(link("src/lone", "src/lone too"), 0);
	assert_int_equal(unlink("src/a"), 0);
	make_text("src/a", "not b");
	write_at("src/large", 100000, "x", 1);
	walk(&s, true);
	assert_int_equal(link("src/b", "src/c"), 0);
	assert_int_equal(unlink("src/large too"), 0);
	make_large("src/large too", 1 << 20);
	write_at("src/large", 500000, "y", 1);
	walk(&s, true);
	assert_int_equal(unlink("src/lone"), 0);
	write_at("src/large too", 300000, "z", 1);
	finish(&s, "src", 20, 3 << 20);
}

/* Written through a mapping that was there: on tmpfs no time ever tells of it. */
static void mapped_files(void **state)
{
	struct sides s;
	char *small, *large;
	int fd;

	(void)state;
	begin(&s);
	make_text("src/small", "0123456789");
	make_large("src/large", 4 << 20);
	make_text("src/not mapped", "x");
	fd = open("src/small", O_RDWR | O_CLOEXEC);
	small = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	fd = open("src/large", O_RDWR | O_CLOEXEC);
	large = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	assert_true(small != MAP_FAILED && large != MAP_FAILED);
	large[0] = 1;
	usleep(SETTLE_US);
	walk(&s, true);
	small[3] = 'x';
	large[1 << 20] ^= 1;
	/* It may be read only for now, and is not for good. */
	assert_int_equal(mprotect(large, 4 << 20, PROT_READ), 0);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 2);
	assert_int_equal(s.stats.bytes, 10 + 65536);
	assert_int_equal(mprotect(large, 4 << 20, PROT_READ | PROT_WRITE), 0);
	small[4] = 'y';
	large[2 << 20] ^= 1;
	large[3 << 20] ^= 1;
	/* Unmapped before the last look: what was sent while it was mapped is not trusted. */
	assert_int_equal(munmap(small, 10), 0);
	assert_int_equal(munmap(large, 4 << 20), 0);
	finish(&s, "src", 2, 10 + 2 * 65536);
}

/* --- something vanishes between two looks --- */

#define REFUSE(filter_) ((struct sock_fprog){ sizeof(filter_) / sizeof((filter_)[0]), (filter_) })

/* An attribute goes between the list and the look: nothing was sent, so what the other side has is what it had. */
static void an_attribute_goes(void **state)
{
	struct sock_filter no_attribute[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getxattr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENODATA),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	char *zeros = calloc(1, 300 << 10);
	struct sides s;

	(void)state;
	begin(&s);
	make_large("src/file", 100 << 10);
	usleep(SETTLE_US);
	walk(&s, true);
	write_at("src/file", 0, zeros, 300 << 10);
	free(zeros);
	if (set_xattr("src/file", "user.x", "y", 1)) {
		s.refused = REFUSE(no_attribute);
		walk(&s, true);
		assert_int_equal(s.stats.entries, 0);
		s.refused.len = 0;
		assert_int_equal(removexattr("src/file", "user.x"), 0);
	}
	finish(&s, "src", 1, 300 << 10);
}

/* The content goes after the entry was sent: the other side has a file where it had none, which has to go when there is none again. */
static void the_content_goes(void **state)
{
	struct sock_filter no_content[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 1, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENODATA),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sides s;

	(void)state;
	make_folder("src", 0755);
	make_folder("dst", 0755);
	make_text("dst/file", "of the image");
	make_folder("want", 0755);
	open_sides(&s, "src", true, "dst");
	assert_int_equal(mknod("src/file", S_IFCHR, 0), 0);
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(access("dst/file", F_OK), -1);
	assert_int_equal(unlink("src/file"), 0);
	make_text("src/file", "content");
	s.refused = REFUSE(no_content);
	walk(&s, true);
	s.refused.len = 0;
	assert_int_equal(access("dst/file", F_OK), 0);
	assert_int_equal(unlink("src/file"), 0);
	assert_int_equal(mknod("src/file", S_IFCHR, 0), 0);
	set_time("src", 1000, 0);
	set_time("want", 1000, 0);
	finish(&s, "want", 2, 0);
	remove_all("want");
}

/* Open with O_DIRECT, whatever else there is to tell of it. */
static void direct_files(void **state)
{
	struct rlimit limit, little;
	struct tree_mapped *m;
	struct error err = { 0 };
	struct stat st;
	int fd, next;

	(void)state;
	make_text("direct", "0123456789");
	assert_int_equal(stat("direct", &st), 0);
	fd = open("direct", O_WRONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0) {
		print_message("no O_DIRECT here: %s\n", strerror(errno));
		return;
	}
	for (int i = 0; i < 500; i++) {
		struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2 * i, .l_len = 1 };

		assert_int_equal(fcntl(fd, F_SETLK, &l), 0);
	}
	assert_int_equal(tree_mapped_new(&m, &err), 0);
	assert_int_equal(tree_mapped_add(m, getpid(), true, &err), 0);
	assert_true(tree_mapped_has(m, false, "another name", &st));
	tree_mapped_free(m);
	/* One file descriptor is left: enough for a list of mappings, not for two folders. */
	next = dup(0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	little = (struct rlimit){ (rlim_t)next + 1, limit.rlim_max };
	assert_int_equal(tree_mapped_new(&m, &err), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &little), 0);
	assert_int_equal(tree_mapped_add(m, getpid(), false, &err), 0);
	assert_int_equal(tree_mapped_add(m, getpid(), true, &err), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	tree_mapped_free(m);
	close(fd);
	assert_int_equal(unlink("direct"), 0);
}

/* Many processes that have the same files mapped many times: what one more of them has is not kept again. */
static void many_map_the_same(void **state)
{
	const size_t pieces = 8000;
	struct tree_mapped *m;
	struct error err = { 0 };
	struct stat st;
	char *p;
	int fd;

	(void)state;
	make_text("mapped", "x");
	assert_int_equal(stat("mapped", &st), 0);
	fd = open("mapped", O_RDWR | O_CLOEXEC);
	p = mmap(NULL, pieces * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(fd >= 0 && p != MAP_FAILED);
	/* The same page in each place, so that none becomes one with the next. */
	for (size_t i = 0; i < pieces; i++)
		assert_true(mmap(p + i * 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
	close(fd);
	assert_int_equal(tree_mapped_new(&m, &err), 0);
	for (int i = 0; i < 140; i++)
		if (tree_mapped_add(m, getpid(), false, &err) < 0)
			fail_msg("%d: %s", i, err.message);
	assert_true(tree_mapped_has(m, false, "another name", &st));
	st.st_ino += 1000000;
	assert_true(tree_mapped_has(m, false, "mapped", &st));
	assert_false(tree_mapped_has(m, false, "another name", &st));
	tree_mapped_free(m);
	munmap(p, pieces * 4096);
	assert_int_equal(unlink("mapped"), 0);
}

/* Open for reading alone, it can never be written to. */
static void mapped_to_read(void **state)
{
	struct sides s;
	char *p;
	int fd;

	(void)state;
	begin(&s);
	make_large("src/large", 1 << 20);
	fd = open("src/large", O_RDONLY | O_CLOEXEC);
	p = mmap(NULL, 1 << 20, PROT_READ, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	close(fd);
	usleep(SETTLE_US);
	walk(&s, true);
	finish(&s, "src", 0, 0);
	munmap(p, 1 << 20);
}

/* What no longer fits into the record, or is beyond what may be sent twice, is left for the last walk. */
static void bounds(void **state)
{
	struct sides s;

	(void)state;
	for (int which = 0; which < 3; which++) {
		begin(&s);
		for (int i = 0; i < 300; i++) {
			char path[64];

			if (i % 100 == 0)
				path_format(path, sizeof(path), "src/%d", i / 100), make_folder(path, 0755);
			path_format(path, sizeof(path), "src/%d/%d", i / 100, i);
			make_text(path, path);
		}
		make_large("src/large", 4 << 20);
		s.ahead.memory_max = which == 0 ? 5000 : UINT64_MAX;
		s.ahead.entries_max = which == 1 ? 50 : UINT64_MAX;
		s.ahead.bytes_max = which == 2 ? 1 << 20 : UINT64_MAX;
		usleep(SETTLE_US);
		walk(&s, true);
		assert_true(s.stats.entries <= (which == 2 ? 304 : 60));
		walk(&s, true);
		finish(&s, "src", 305, 5 << 20);
	}
}

static void folders_keep_their_times(void **state)
{
	struct sides s;

	(void)state;
	begin(&s);
	make_folder("src/a", 0755);
	make_folder("src/a/b", 0755);
	make_large("src/a/b/large", 1 << 20);
	make_text("src/a/b/file", "x");
	set_time("src/a/b", 11, 1);
	set_time("src/a", 22, 2);
	set_time("src", 33, 3);
	usleep(SETTLE_US);
	walk(&s, true);
	/* Neither changes the folder it is in, here; replacing it there does. */
	write_at("src/a/b/large", 1000, "x", 1);
	write_at("src/a/b/file", 0, "y", 1);
	finish(&s, "src", 2, 70000);
}

/* --- overlay --- */

static void mount_overlay(const char *name)
{
	static const char *const parts[] = { "", "/upper", "/work", "/merged" };
	char options[512], path[4][64];

	for (int i = 0; i < 4; i++) {
		path_format(path[i], sizeof(path[i]), "%s%s", name, parts[i]);
		make_folder(path[i], 0755);
	}
	path_format(options, sizeof(options), "lowerdir=image,upperdir=%s,workdir=%s", path[1], path[2]);
	if (mount("overlay", path[3], "overlay", 0, options) < 0)
		fail_msg("overlay: %s", strerror(errno));
}

static void remove_overlay(const char *name)
{
	char path[64];

	path_format(path, sizeof(path), "%s/merged", name);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	remove_all(name);
}

static void make_image(void)
{
	make_folder("image", 0755);
	for (int i = 0; i < 6; i++) {
		char path[64];

		path_format(path, sizeof(path), "image/%c", 'a' + i);
		if (i % 2)
			make_large(path, 300000 + (size_t)i);
		else
			make_folder(path, 0755);
		for (int k = 0; k < 6 && i % 2 == 0; k++) {
			path_format(path, sizeof(path), "image/%c/%c", 'a' + i, 'a' + k);
			make_text(path, "of the image");
		}
	}
}

static void begin_overlay(struct sides *s)
{
	make_image();
	mount_overlay("one");
	mount_overlay("two");
	open_sides(s, "one/upper", true, "two/merged");
}

static void remove_overlays(void)
{
	remove_overlay("one");
	remove_overlay("two");
	remove_all("image");
}

static void finish_overlay(struct sides *s)
{
	walk(s, false);
	compare_trees("one/merged", "two/merged");
	close_sides(s);
	remove_overlays();
}

static void opaque_folders(void **state)
{
	struct sides s;

	(void)state;
	begin_overlay(&s);
	remove_all("one/merged/a");
	make_folder("one/merged/a", 0700);
	make_text("one/merged/a/kept", "x");
	make_text("one/merged/a/new", "x");
	usleep(SETTLE_US);
	walk(&s, true);
	assert_int_equal(s.stats.entries, 4);
	/* The same folder: it is not emptied again. */
	make_text("one/merged/a/more", "x");
	walk(&s, true);
	assert_true(s.stats.entries <= 3);
	/* Another one. */
	remove_all("one/merged/a");
	make_folder("one/merged/a", 0711);
	make_text("one/merged/a/new", "y");
	remove_all("one/merged/c");
	walk(&s, true);
	make_folder("one/merged/c", 0711);
	make_text("one/merged/c/b", "not the image's");
	assert_int_equal(unlink("one/merged/b"), 0);
	finish_overlay(&s);
}

/* --- anything --- */

struct mapping {
	char *at;
	size_t len;
};

struct changes {
	const char *root;
	unsigned seed;
	bool maps;                      /* files may be mapped, and are until the end */
	bool unseen;                    /* they are mapped for a moment only, and written to */
	struct mapping mapped[4];
	int n_mapped;
	atomic_bool stop;
};

static unsigned dice(struct changes *c, unsigned n)
{
	return (unsigned)rand_r(&c->seed) % n;
}

static void any_path(struct changes *c, char *out, size_t size)
{
	unsigned depth = 1 + dice(c, 3);

	path_format(out, size, "%s", c->root);
	for (unsigned i = 0; i < depth; i++)
		path_format(out + strlen(out), size - strlen(out), "/%c", 'a' + (int)dice(c, 6));
}

static void write_any(struct changes *c, const char *path)
{
	static const size_t sizes[] = { 0, 1, 5000, 300000, 1000000 };
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
	static const char text[] = "something that is written";
	size_t size = sizes[dice(c, 5)];

	for (size_t at = 0; fd >= 0 && at < size; at += 4096)
		if (pwrite(fd, text + dice(c, 5), 20, (off_t)at) < 0)
			return;
}

static void write_briefly(struct changes *c, int fd, size_t size)
{
	char *p = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (p == MAP_FAILED)
		return;
	if (dice(c, 4))
		p[dice(c, (unsigned)size)] = (char)dice(c, 256);
	else if (size > 100000)
		madvise(p + 16384, 65536 + 4096 * dice(c, 3), MADV_REMOVE);
	munmap(p, size);
}

static void change_file(struct changes *c, const char *path)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000 + (time_t)dice(c, 3) } };
	cleanup_close int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	switch (dice(c, 5)) {
	case 0:
		assert_true(pwrite(fd, "changed", 7, (off_t)dice(c, (unsigned)st.st_size + 1)) > 0 || errno == ENOSPC);
		break;
	case 1:
		assert_int_equal(ftruncate(fd, (off_t)dice(c, 600000)), 0);
		break;
	case 2:
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)dice(c, 300000), 1 + (off_t)dice(c, 200000));
		break;
	case 3:
		assert_true(pwrite(fd, "k", 1, 0) == 1 || errno == ENOSPC);
		futimens(fd, times);
		break;
	default:
		if (c->unseen)
			write_briefly(c, fd, (size_t)st.st_size);
		if (!c->maps || c->n_mapped == 4 || st.st_size < 8192)
			return;
		c->mapped[c->n_mapped] = (struct mapping){ mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 8192 };
		assert_true(c->mapped[c->n_mapped].at != MAP_FAILED);
		c->n_mapped++;
	}
}

static void change_attributes(struct changes *c, const char *path)
{
	char value = (char)dice(c, 4);
	struct stat st;

	if (lstat(path, &st) < 0 || S_ISLNK(st.st_mode))
		return;
	switch (dice(c, 3)) {
	case 0:
		chmod(path, 0700 | dice(c, 64) | (dice(c, 4) == 0 ? S_ISUID : 0));
		break;
	case 1:
		if (lchown(path, dice(c, 3), dice(c, 3)) < 0)
			return;
		break;
	default:
		setxattr(path, "user.x", &value, 1, 0);
	}
}

static void make_any(struct changes *c, const char *path)
{
	switch (dice(c, 4)) {
	case 0:
		mkfifo(path, 0600);
		break;
	case 1:
		if (symlink("a", path) < 0)
			return;
		break;
	default:
		mkdir(path, 0755);
	}
}

/* None of them need succeed. */
static void change_once(struct changes *c)
{
	char path[256], other[256];
	struct stat st;

	any_path(c, path, sizeof(path));
	any_path(c, other, sizeof(other));
	switch (dice(c, 12)) {
	case 0:
	case 1:
		write_any(c, path);
		break;
	case 2:
	case 3:
	case 4:
		change_file(c, path);
		break;
	case 5:
		change_attributes(c, path);
		break;
	case 6:
	case 7:
		make_any(c, path);
		break;
	case 8:
		rename(path, other);
		break;
	case 9:
		renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE);
		break;
	case 10:
		/* Several names of a symbolic link become several links. */
		if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || link(path, other) < 0)
			return;
		break;
	default:
		if (dice(c, 2))
			unlink(path);
		else
			tree_remove(AT_FDCWD, path, NULL);
	}
	for (int i = 0; i < c->n_mapped; i++)
		if (dice(c, 8) == 0)
			c->mapped[i].at[dice(c, 4096)] = (char)dice(c, 256);
}

static void unmap_all(struct changes *c)
{
	for (; c->n_mapped; c->n_mapped--)
		munmap(c->mapped[c->n_mapped - 1].at, c->mapped[c->n_mapped - 1].len);
}

static void end_any(struct sides *s, struct changes *c)
{
	walk(s, false);
	compare_trees(c->root, s->to);
	unmap_all(c);
	if (s->small) {
		end_small(s);
		return;
	}
	close_sides(s);
	if (s->overlay) {
		remove_overlays();
	} else {
		remove_all("src");
		remove_all("dst");
	}
}

enum where { PLAIN_FOLDER, OVERLAY, TMPFS, SMALL_TMPFS };

static void begin_any(struct sides *s, enum where where)
{
	if (where == OVERLAY)
		begin_overlay(s);
	else if (where == TMPFS)
		begin_tmpfs(s);
	else if (where == SMALL_TMPFS)
		begin_small(s, "size=3m");
	else
		begin(s);
}

static void anything_between_walks(enum where where, unsigned seeds)
{
	static struct changes c;
	struct sides s;

	for (unsigned seed = 1; seed <= seeds; seed++) {
		begin_any(&s, where);
		/* Without room a write through a mapping is a signal. */
		c = (struct changes){ .root = where == OVERLAY ? "one/merged" : "src", .seed = seed, .maps = where != SMALL_TMPFS, .unseen = where == TMPFS };
		for (int i = 0; i < 60; i++)
			change_once(&c);
		for (int n = 0; n < 4; n++) {
			if (dice(&c, 3))
				usleep(SETTLE_US);
			walk(&s, true);
			for (unsigned i = dice(&c, 40); i > 0; i--)
				change_once(&c);
		}
		end_any(&s, &c);
	}
}

static void anything(void **state)
{
	(void)state;
	anything_between_walks(PLAIN_FOLDER, 60);
}

static void anything_in_an_overlay(void **state)
{
	(void)state;
	anything_between_walks(OVERLAY, 40);
}

static void anything_on_tmpfs(void **state)
{
	(void)state;
	anything_between_walks(TMPFS, 60);
}

static void anything_on_a_small_tmpfs(void **state)
{
	(void)state;
	anything_between_walks(SMALL_TMPFS, 60);
}

static void *change_main(void *arg)
{
	struct changes *c = arg;

	while (!c->stop)
		change_once(c);
	return NULL;
}

/* The program does not wait for the walks. */
static void anything_during_walks(void **state)
{
	static struct changes c;
	struct sides s;
	pthread_t t;

	(void)state;
	for (unsigned seed = 1; seed <= 20; seed++) {
		enum where where = seed % (getenv("TEST_PLACE") ? TMPFS : SMALL_TMPFS + 1);

		begin_any(&s, where);
		c = (struct changes){ .root = where == OVERLAY ? "one/merged" : "src", .seed = seed, .unseen = where == TMPFS };
		for (int i = 0; i < 200; i++)
			change_once(&c);
		assert_int_equal(pthread_create(&t, NULL, change_main, &c), 0);
		for (int n = 0; n < 4; n++)
			walk(&s, true);
		c.stop = true;
		pthread_join(t, NULL);
		end_any(&s, &c);
	}
}

/* Not asserted: what a folder costs in which nothing has changed. */
static void many_are_the_same(bool compared)
{
	struct sides s;

	if (compared)
		begin_tmpfs(&s);
	else
		begin(&s);
	for (int i = 0; i < 20000; i++) {
		char path[64];

		if (i % 200 == 0)
			path_format(path, sizeof(path), "src/%d", i / 200), make_folder(path, 0755);
		path_format(path, sizeof(path), "src/%d/%d", i / 200, i);
		make_text(path, "x");
	}
	usleep(SETTLE_US);
	walk(&s, true);
	walk(&s, false);
	print_message("20000 files that are the same%s: %lld us, of which %lld on a processor\n", compared ? ", compared" : "", (long long)s.stats.micros, (long long)s.cpu_us);
	assert_int_equal(s.stats.entries, 0);
	close_sides(&s);
	remove_all("src");
	remove_all("dst");
}

static void many_that_are_the_same(void **state)
{
	(void)state;
	many_are_the_same(false);
	if (!getenv("TEST_PLACE"))
		many_are_the_same(true);
}

#define COMPARED_MIB 256

/* Not asserted: how fast a file is compared of which nothing has changed. */
static void a_large_one_that_is_the_same(void **state)
{
	struct sides s;

	(void)state;
	begin_tmpfs(&s);
	make_large("src/large", (size_t)COMPARED_MIB << 20);
	usleep(SETTLE_US);
	walk(&s, true);
	walk(&s, false);
	print_message("%d MiB that are the same: %lld us, %lld MB/s of processor time\n", COMPARED_MIB, (long long)s.stats.micros,
		      ((long long)COMPARED_MIB << 20) / (s.cpu_us + 1));
	assert_int_equal(s.stats.entries, 0);
	close_sides(&s);
	remove_all("src");
	remove_all("dst");
}

/* In the folder of TEST_PLACE only what is not about tmpfs is tested. */
int main(void)
{
	const struct CMUnitTest anywhere[] = {
		cmocka_unit_test(nothing_changes),
		cmocka_unit_test(young_times_are_not_trusted),
		cmocka_unit_test(same_size_and_time),
		cmocka_unit_test(blocks_of_large_files),
		cmocka_unit_test(types_change),
		cmocka_unit_test(hard_links_come_and_go),
		cmocka_unit_test(mapped_files),
		cmocka_unit_test(mapped_to_read),
		cmocka_unit_test(an_attribute_goes),
		cmocka_unit_test(the_content_goes),
		cmocka_unit_test(direct_files),
		cmocka_unit_test(many_map_the_same),
		cmocka_unit_test(bounds),
		cmocka_unit_test(folders_keep_their_times),
		cmocka_unit_test(opaque_folders),
		cmocka_unit_test(anything),
		cmocka_unit_test(anything_in_an_overlay),
		cmocka_unit_test(anything_during_walks),
		cmocka_unit_test(many_that_are_the_same),
	};
	const struct CMUnitTest on_tmpfs[] = {
		cmocka_unit_test(what_file_systems_tell),
		cmocka_unit_test(nothing_changes_on_tmpfs),
		cmocka_unit_test(written_without_a_trace),
		cmocka_unit_test(holes_stay_holes),
		cmocka_unit_test(files_of_tmpfs_come_and_go),
		cmocka_unit_test(there_is_little_room),
		cmocka_unit_test(holes_that_stay),
		cmocka_unit_test(it_is_full),
		cmocka_unit_test(anything_on_tmpfs),
		cmocka_unit_test(anything_on_a_small_tmpfs),
		cmocka_unit_test(a_large_one_that_is_the_same),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	failed = cmocka_run_group_tests_name("transfer_tree_ahead", anywhere, set_up, tear_down);
	if (!getenv("TEST_PLACE"))
		failed += cmocka_run_group_tests_name("transfer_tree_ahead on tmpfs", on_tmpfs, set_up, tear_down);
	return failed;
}
