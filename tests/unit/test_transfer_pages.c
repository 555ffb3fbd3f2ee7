/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migration/fill.h"
#include "migration/reason.h"
#include "stream_pair.h"
#include "transfer/mappings.h"
#include "transfer/pagemap.h"
#include "transfer/pages.h"

#define PAGE 4096ul
#define SECOND 1000000LL
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102          /* kernel 6.13 */
#endif

static const char store_dir[] = "/dev/shm";

static struct page_store *new_store(uint64_t max)
{
	cleanup_close int dir = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct page_store *s;
	struct error err = { 0 };

	assert_true(dir >= 0);
	if (page_store_new(dir, max, &s, &err) < 0)
		fail_msg("%s", err.message);
	return s;
}

/* A page that tells where it belongs. */
static void fill_page(void *page, uint64_t seed)
{
	uint64_t *w = page;

	for (size_t i = 0; i < PAGE / 8; i++)
		w[i] = (seed + i) * 0x9e3779b97f4a7c15ull + 1;
}

/* ---- the store ---- */

static int put(struct page_store *s, uint16_t container, pid_t pid, uint64_t address, uint32_t pages, const uint8_t *data,
	       struct error *err)
{
	static uint8_t body[WIRE_BODY_MAX];
	struct wire_pages p = { .ns_pid = pid, .address = address, .pages = pages };
	struct wire_frame f = {
		.type = data ? WIRE_PAGES : WIRE_ZEROS, .container = container, .len = WIRE_PAGES_HEAD, .body = body
	};

	wire_pages_pack(&p, body);
	if (data) {
		memcpy(body + WIRE_PAGES_HEAD, data, pages * PAGE);
		f.len += pages * (uint32_t)PAGE;
	}
	return page_store_put(s, &f, err);
}

/* Random puts in any order, over each other, compared with a plain array at the end and in between. */
#define MODEL_PAGES 4096u

static void check_model(struct page_store *s, uint16_t container, pid_t pid, uint64_t base, const int *model)
{
	struct page_store_view view = { .store = s, .container = container, .ns_pid = pid };
	uint8_t want[PAGE];

	for (uint32_t i = 0; i < MODEL_PAGES; i++) {
		const void *got = page_store_lookup(&view, base + i * PAGE);

		if (model[i] < 0) {
			assert_null(got);
			continue;
		}
		assert_non_null(got);
		memset(want, 0, PAGE);
		if (model[i] > 0)
			fill_page(want, (uint64_t)model[i]);
		assert_memory_equal(got, want, PAGE);
	}
}

static void store_model(void **state)
{
	static const uint64_t bases[] = { 0x1ff000, 0x7f0000000000, (1ull << 56) - MODEL_PAGES * PAGE };
	struct page_store *s = new_store(1ull << 30);
	uint8_t *data = malloc(WIRE_PAGES_MAX * PAGE);
	static int model[3][MODEL_PAGES];
	struct error err = { 0 };
	int next = 1;

	(void)state;
	srandom(7);
	memset(model, 0xff, sizeof(model));
	for (int round = 0; round < 400; round++) {
		uint32_t who = (uint32_t)random() % 3, at = (uint32_t)random() % MODEL_PAGES,
			 n = 1 + (uint32_t)random() % WIRE_PAGES_MAX;
		bool zeros = random() % 4 == 0;

		if (n > MODEL_PAGES - at)
			n = MODEL_PAGES - at;
		for (uint32_t i = 0; i < n; i++) {
			model[who][at + i] = zeros ? 0 : next;
			if (!zeros)
				fill_page(data + i * PAGE, (uint64_t)next++);
		}
		/* The three differ in container, or in pid, never in both. */
		assert_int_equal(put(s, who == 2, who == 1 ? 8 : 7, bases[who] + at * PAGE, n, zeros ? NULL : data, &err), 0);
		if (round % 100 == 99)
			for (uint32_t k = 0; k < 3; k++)
				check_model(s, k == 2, k == 1 ? 8 : 7, bases[k], model[k]);
	}
	page_store_drop(s, 0);
	memset(model[0], 0xff, sizeof(model[0]));
	memset(model[1], 0xff, sizeof(model[1]));
	for (uint32_t k = 0; k < 3; k++)
		check_model(s, k == 2, k == 1 ? 8 : 7, bases[k], model[k]);
	free(data);
	page_store_free(s);
	page_store_free(NULL);
}

static void store_many_processes(void **state)
{
	struct page_store *s = new_store(64u << 20);
	uint8_t page[PAGE];
	struct error err = { 0 };

	(void)state;
	for (pid_t pid = 1; pid <= 3000; pid++) {
		fill_page(page, (uint64_t)pid);
		assert_int_equal(put(s, (uint16_t)(pid % 5), pid, 0x400000, 1, page, &err), 0);
	}
	for (pid_t pid = 1; pid <= 3000; pid++) {
		struct page_store_view view = { .store = s, .container = (uint16_t)(pid % 5), .ns_pid = pid };

		fill_page(page, (uint64_t)pid);
		assert_memory_equal(page_store_lookup(&view, 0x400000), page, PAGE);
		assert_null(page_store_lookup(&view, 0x401000));
		view.container = 6;
		assert_null(page_store_lookup(&view, 0x400000));
	}
	page_store_free(s);
}

static void store_limit(void **state)
{
	struct page_store *s = new_store(1u << 20);
	uint8_t *data = calloc(WIRE_PAGES_MAX, PAGE);
	struct error err = { 0 };
	struct page_store *none = NULL;
	int r = 0, n;

	(void)state;
	for (n = 0; n < 300 && r == 0; n++)
		r = put(s, 0, 1, 0x100000 + (uint64_t)n * PAGE, 1, data, &err);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(err.reason, REASON_NoSpace);
	assert_true(n > 250 && n <= 256);
	/* What is there can still be replaced. */
	assert_int_equal(put(s, 0, 1, 0x100000, 200, data, &err), 0);
	/* Zero pages cost an index, which is bounded as well. */
	for (r = 0, n = 0; n < 2000 && r == 0; n++)
		r = put(s, 0, 1, (uint64_t)n << 30, WIRE_ZEROS_MAX, NULL, &err);
	assert_int_equal(r, -ENOSPC);
	page_store_free(s);
	free(data);
	assert_int_equal(page_store_new(AT_FDCWD, 0, &none, &err), -EINVAL);
	assert_int_equal(page_store_new(AT_FDCWD, UINT64_MAX, &none, &err), -EINVAL);
	assert_int_equal(page_store_new(-1, PAGE, &none, &err), -EBADF);
}

static void store_refuses(void **state)
{
	struct page_store *s = new_store(1u << 20);
	uint8_t body[WIRE_PAGES_HEAD + PAGE] = { 0 };
	struct wire_frame f = { .type = WIRE_PAGES, .len = sizeof(body), .body = body };
	struct wire_pages p = { .ns_pid = 1, .address = 0x1000, .pages = 2 };
	struct error err = { 0 };

	(void)state;
	wire_pages_pack(&p, body);
	assert_int_equal(page_store_put(s, &f, &err), -EPROTO);
	f.len = 3;
	assert_int_equal(page_store_put(s, &f, &err), -EPROTO);
	f.type = WIRE_DATA;
	assert_int_equal(page_store_put(s, &f, &err), -EINVAL);
	page_store_free(s);
}

/* ---- the fill list ---- */

static void expect_runs(int fd, const struct fill_run *want, uint64_t n)
{
	uint64_t pages = 0;
	struct fill_head h;
	struct fill_run r;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(h.magic, FILL_MAGIC);
	assert_int_equal(h.runs, n);
	for (uint64_t i = 0; i < n; i++) {
		assert_int_equal(pread(fd, &r, sizeof(r), (off_t)(sizeof(h) + i * sizeof(r))), sizeof(r));
		assert_int_equal(r.ns_pid, want[i].ns_pid);
		assert_int_equal(r.vaddr, want[i].vaddr);
		assert_int_equal(r.pages, want[i].pages);
		assert_int_equal(r.offset, want[i].offset);
		pages += r.pages;
	}
	assert_int_equal(h.pages, pages);
	assert_int_equal(pread(fd, &r, 1, (off_t)(sizeof(h) + n * sizeof(r))), 0);
	/* And nobody changes it. */
	assert_int_equal(pwrite(fd, &h, 1, 0), -1);
}

static void fill_list_names_slots(void **state)
{
	static uint8_t data[8 * PAGE];
	static const struct fill_run want[] = {
		{ 7, 4, 0x1fe000, 0 },                  /* over the end of a block, and of an entry */
		{ 7, 2, 0x203000, 4 * PAGE },           /* a hole before it */
		{ 7, 1, 0x205000, 7 * PAGE },           /* came later than its neighbour */
		{ 7, 1, 0x206000, 6 * PAGE },
		{ 9, 1, 0x207000, 8 * PAGE },           /* follows in both, but is of another process */
	};
	struct page_store *s = new_store(1u << 20);
	struct fill_list *l;
	struct error err = { 0 };
	uint8_t page[PAGE], got[PAGE];
	int fd, store;

	(void)state;
	for (size_t i = 0; i < 8; i++)
		fill_page(data + i * PAGE, i);
	assert_int_equal(put(s, 3, 7, 0x1fe000, 4, data, &err), 0);
	assert_int_equal(put(s, 3, 7, 0x202000, 1, NULL, &err), 0);
	assert_int_equal(put(s, 3, 7, 0x203000, 2, data + 4 * PAGE, &err), 0);
	assert_int_equal(put(s, 3, 7, 0x206000, 1, data + 6 * PAGE, &err), 0);
	assert_int_equal(put(s, 3, 7, 0x205000, 1, data + 7 * PAGE, &err), 0);
	assert_int_equal(put(s, 3, 9, 0x207000, 1, data, &err), 0);
	assert_int_equal(fill_list_new(s, 3, false, &l, &err), 0);
	assert_int_equal(fill_list_add(l, 7, 0x1fe000, 2, &err), 0);
	assert_int_equal(fill_list_add(l, 7, 0x200000, 7, &err), 0);
	assert_int_equal(fill_list_add(l, 9, 0x207000, 1, &err), 0);
	assert_int_equal(fill_list_add(l, 7, 0x300000, 1, &err), -EINVAL);
	fd = fill_list_finish(l, &err);
	expect_runs(fd, want, 5);
	fill_list_free(l);
	/* The file is the store's, and outlives it. */
	store = page_store_fd(s, &err);
	page_store_free(s);
	fill_page(page, 7);
	assert_int_equal(pread(store, got, PAGE, (off_t)want[2].offset), PAGE);
	assert_memory_equal(got, page, PAGE);
	close(store);
	close(fd);
}

/* The first place of an empty store, and the only one. */
static void a_single_page_that_comes_later_has_its_place(void **state)
{
	static const struct fill_run want[] = { { 7, 1, 0x1000, FILL_LATER } };
	struct page_store *s = new_store(1u << 20);
	struct error err = { 0 };
	struct fill_list *l;
	struct stat st;
	int fd, store;

	(void)state;
	assert_int_equal(fill_list_new(s, 3, true, &l, &err), 0);
	assert_int_equal(fill_list_add(l, 7, 0x1000, 1, &err), 0);
	fd = fill_list_finish(l, &err);
	expect_runs(fd, want, 1);
	store = page_store_fd(s, &err);
	assert_int_equal(fstat(store, &st), 0);
	assert_int_equal(st.st_size, PAGE);
	close(store);
	close(fd);
	fill_list_free(l);
	page_store_free(s);
}

static void fill_list_misses_a_page(void **state)
{
	static uint8_t data[2 * PAGE];
	struct page_store *s = new_store(1u << 20);
	struct error err = { 0 };
	struct fill_list *l;
	int fd;

	(void)state;
	assert_int_equal(put(s, 3, 7, 0x1000, 2, data, &err), 0);
	assert_int_equal(fill_list_new(s, 3, false, &l, &err), 0);
	assert_int_equal(fill_list_add(l, 7, 0x1000, 3, &err), -ENODATA);
	assert_int_equal(err.reason, REASON_TransferFailed);
	assert_string_equal(err.message, "page 0x3000 of process 7 was not transferred");
	fill_list_free(l);
	/* Of another container nothing is known. */
	assert_int_equal(fill_list_new(s, 4, false, &l, &err), 0);
	assert_int_equal(fill_list_add(l, 7, 0x1000, 1, &err), -ENODATA);
	fd = fill_list_finish(l, &err);
	expect_runs(fd, NULL, 0);
	close(fd);
	fill_list_free(l);
	page_store_free(s);
}

/* ---- a real process ---- */

enum expected { DATA, ZERO, MISSING };

/* Laid out before the fork, so that both sides know the addresses; the child fills it and stops itself. */
static struct layout {
	uint8_t *plain, *holes, *read_only, *zeroed, *file, *none, *shared, *many, *code, *guard, *write_only, *huge, *partial;
} at;

#define PLAIN_PAGES 777ul
#define MANY 3000ul
#define HUGE_BYTES (8ul << 20)

static uint8_t *map(size_t len, int prot, int flags, int fd)
{
	uint8_t *p = mmap(NULL, len, prot, flags, fd, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void lay_out(void)
{
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS, rw = PROT_READ | PROT_WRITE;
	cleanup_close int fd = memfd_create("file", MFD_CLOEXEC);
	uint8_t content[8 * PAGE];

	memset(content, 'f', sizeof(content));
	assert_int_equal(write(fd, content, sizeof(content)), sizeof(content));
	at.plain = map(PLAIN_PAGES * PAGE, rw, anon, -1);
	at.holes = map(1024 * PAGE, rw, anon, -1);
	at.read_only = map(64 * PAGE, PROT_READ, anon, -1);
	at.zeroed = map(16 * PAGE, rw, anon, -1);
	at.file = map(8 * PAGE, rw, MAP_PRIVATE, fd);
	at.none = map(5 * PAGE, rw, anon, -1);
	at.shared = map(4 * PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1);
	at.many = map(MANY * PAGE, rw, anon, -1);
	at.code = map(6 * PAGE, rw, anon, -1);
	at.guard = map(8 * PAGE, rw, anon, -1);
	at.write_only = map(3 * PAGE, rw, anon, -1);
	at.huge = map(HUGE_BYTES, rw, anon, -1);
	at.partial = map(4 * PAGE, rw, anon, -1);
}

static void fill_range(uint8_t *p, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		fill_page(p + i * PAGE, (uint64_t)(uintptr_t)(p + i * PAGE));
}

static void *idle_thread(void *arg)
{
	volatile uint8_t deep[3 * PAGE];

	fill_page((uint8_t *)(uintptr_t)deep, 5);
	if (write(*(int *)arg, "t", 1) != 1)
		_exit(1);
	for (;;)
		pause();
	return (void *)(uintptr_t)deep[0];
}

static void child_main(int ready)
{
	volatile uint8_t sink = 0;
	pthread_t t;

	fill_range(at.plain, PLAIN_PAGES);
	for (size_t i = 0; i < 1024; i += 3)
		fill_page(at.holes + i * PAGE, (uint64_t)(uintptr_t)(at.holes + i * PAGE));
	for (size_t i = 0; i < 64; i++)
		sink = (uint8_t)(sink + at.read_only[i * PAGE]);
	memset(at.zeroed, 1, 16 * PAGE);
	memset(at.zeroed, 0, 16 * PAGE);
	for (size_t i = 0; i < 8; i++)
		sink = (uint8_t)(sink + at.file[i * PAGE]);
	fill_range(at.file + 2 * PAGE, 1);
	fill_range(at.file + 5 * PAGE, 1);
	fill_range(at.none, 5);
	fill_range(at.shared, 4);
	fill_range(at.many, MANY);
	fill_range(at.code, 6);
	fill_range(at.guard, 8);
	fill_range(at.write_only, 3);
	madvise(at.huge, HUGE_BYTES, MADV_HUGEPAGE);
	fill_range(at.huge, HUGE_BYTES / PAGE);
	/* Zero but for the last byte, and but for the first. */
	memset(at.partial, 0, 4 * PAGE);
	at.partial[PAGE - 1] = 1;
	at.partial[PAGE] = 1;
	if (mprotect(at.none, 5 * PAGE, PROT_NONE) < 0 || mprotect(at.code, 6 * PAGE, PROT_READ | PROT_EXEC) < 0 ||
	    mprotect(at.write_only, 3 * PAGE, PROT_WRITE) < 0)
		_exit(1);
	for (size_t i = 0; i < MANY; i += 2)
		if (mprotect(at.many + i * PAGE, PAGE, PROT_READ) < 0)
			_exit(1);
	if (madvise(at.guard + 2 * PAGE, 3 * PAGE, MADV_GUARD_INSTALL) < 0 &&
	    madvise(at.guard + 2 * PAGE, 3 * PAGE, MADV_DONTNEED) < 0)
		_exit(1);
	if (pthread_create(&t, NULL, idle_thread, &ready) != 0)
		_exit(1);
	for (;;)
		pause();
}

/* A stopped child with all of the above in it. */
static pid_t start_child(void)
{
	int ready[2], status;
	char c;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0)
		child_main(ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	kill(pid, SIGSTOP);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Sends processes as one container each, and ends the stream. */
struct sending {
	struct wire *w;
	pid_t pids[4];
	bool sysv[4];
	int count;
	struct pages_stats stats;
	int result;
	struct error err;
};

struct sending_one {
	struct sending *all;
	int i;
	struct pages_stats stats;
	int result;
	struct error err;
};

static void *send_one(void *arg)
{
	struct sending_one *o = arg;

	struct pages_source from = { .container = (uint16_t)o->i, .pid = o->all->pids[o->i], .ns_pid = 100 + o->i, .sysv = &o->all->sysv[o->i] };

	for (int which = PAGES_NOT_EXECUTABLE; which <= PAGES_EXECUTABLE && o->result == 0; which++)
		o->result = pages_send(o->all->w, &from, (enum pages_which)which, &o->stats, &o->err);
	return NULL;
}

static void *send_processes(void *arg)
{
	struct sending *s = arg;
	struct sending_one ones[4];
	pthread_t threads[4];

	for (int i = 0; i < s->count; i++) {
		ones[i] = (struct sending_one){ .all = s, .i = i };
		pthread_create(&threads[i], NULL, send_one, &ones[i]);
	}
	for (int i = 0; i < s->count; i++) {
		pthread_join(threads[i], NULL);
		s->stats.pages += ones[i].stats.pages;
		s->stats.zero_pages += ones[i].stats.zero_pages;
		s->stats.bytes += ones[i].stats.bytes;
		if (ones[i].result < 0) {
			s->result = ones[i].result;
			s->err = ones[i].err;
		}
	}
	if (s->result == 0)
		s->result = wire_send_end(s->w, &s->err);
	return NULL;
}

static void transfer(struct sending *s, struct page_store *store)
{
	struct error err = { 0 };
	struct wire_frame f;
	struct wire *w[2];
	pthread_t t;

	wire_pair(w, 20 * SECOND);
	s->w = w[0];
	assert_int_equal(pthread_create(&t, NULL, send_processes, s), 0);
	for (;;) {
		if (wire_receive(w[1], 0, &f, &err) < 0)
			fail_msg("%s", err.message);
		if (f.type == WIRE_ALL_SENT)
			break;
		if (page_store_put(store, &f, &err) < 0)
			fail_msg("%s", err.message);
	}
	pthread_join(t, NULL);
	if (s->result < 0)
		fail_msg("%s", s->err.message);
	if (wire_check_end(w[1], &f, &err) < 0)
		fail_msg("%s", err.message);
	wire_free(w[0]);
	wire_free(w[1]);
}

static void expect_at(struct page_store_view *v, const uint8_t *p, enum expected e)
{
	const void *got = page_store_lookup(v, (uint64_t)(uintptr_t)p);
	uint8_t want[PAGE];

	if (e == MISSING) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	if (e == ZERO) {
		assert_ptr_equal(got, page_store_zero);
		return;
	}
	fill_page(want, (uint64_t)(uintptr_t)p);
	assert_memory_equal(got, want, PAGE);
}

static void expect_range(struct page_store_view *v, const uint8_t *p, size_t pages, enum expected e)
{
	for (size_t i = 0; i < pages; i++)
		expect_at(v, p + i * PAGE, e);
}

static void check_layout(struct page_store_view *v)
{
	const uint8_t *partial;

	expect_range(v, at.plain, PLAIN_PAGES, DATA);
	for (size_t i = 0; i < 1024; i++)
		expect_at(v, at.holes + i * PAGE, i % 3 == 0 ? DATA : MISSING);
	expect_range(v, at.read_only, 64, ZERO);
	expect_range(v, at.zeroed, 16, ZERO);
	for (size_t i = 0; i < 8; i++)
		expect_at(v, at.file + i * PAGE, i == 2 || i == 5 ? DATA : MISSING);
	expect_range(v, at.none, 5, DATA);
	expect_range(v, at.shared, 4, MISSING);
	expect_range(v, at.many, MANY, DATA);
	expect_range(v, at.code, 6, DATA);
	for (size_t i = 0; i < 8; i++)
		expect_at(v, at.guard + i * PAGE, i >= 2 && i < 5 ? MISSING : DATA);
	expect_range(v, at.write_only, 3, DATA);
	expect_range(v, at.huge, HUGE_BYTES / PAGE, DATA);
	partial = page_store_lookup(v, (uint64_t)(uintptr_t)at.partial);
	assert_non_null(partial);
	assert_int_equal(partial[PAGE - 1], 1);
	partial = page_store_lookup(v, (uint64_t)(uintptr_t)at.partial + PAGE);
	assert_non_null(partial);
	assert_int_equal(partial[0], 1);
	expect_at(v, at.partial + 2 * PAGE, ZERO);
}

/* Every page of every private mapping of the process, whatever it is, against /proc/PID/mem. */
static uint64_t compare_all(struct page_store_view *v, pid_t pid)
{
	cleanup_close int mem = -1;
	struct pagemap *pagemap;
	struct mappings maps;
	struct mapping m;
	struct error err = { 0 };
	uint64_t pages = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(mem >= 0);
	assert_int_equal(mappings_open(pid, &maps, &err), 0);
	assert_int_equal(pagemap_open(pid, true, &pagemap, &err), 0);
	while (mappings_next(&maps, &m, &err) > 0) {
		struct page_run run;

		pagemap_range(pagemap, m.start, m.end);
		while (pagemap_next(pagemap, &run, &err) > 0)
			for (uint64_t a = run.start; a < run.end; a += PAGE, pages++) {
				const void *got = page_store_lookup(v, a);
				uint8_t want[PAGE];

				assert_int_equal(pread(mem, want, PAGE, (off_t)a), PAGE);
				assert_non_null(got);
				assert_memory_equal(got, want, PAGE);
			}
	}
	pagemap_close(pagemap);
	mappings_close(&maps);
	return pages;
}

static void whole_process(void **state)
{
	struct page_store *store = new_store(1ull << 31);
	struct sending s = { .count = 1 };
	struct page_store_view view = { .store = store, .container = 0, .ns_pid = 100 };
	uint64_t pages;

	(void)state;
	s.pids[0] = start_child();
	transfer(&s, store);
	check_layout(&view);
	pages = compare_all(&view, s.pids[0]);
	assert_int_equal(pages, s.stats.pages + s.stats.zero_pages);
	assert_int_equal(s.stats.bytes, s.stats.pages * PAGE);
	assert_true(s.stats.zero_pages >= 64 + 16 + 2);
	end_child(s.pids[0]);
	page_store_free(store);
}

/* Three processes at once on one stream. */
static void several_processes(void **state)
{
	struct page_store *store = new_store(3ull << 30);
	struct sending s = { .count = 3 };

	(void)state;
	for (int i = 0; i < s.count; i++)
		s.pids[i] = start_child();
	transfer(&s, store);
	for (int i = 0; i < s.count; i++) {
		struct page_store_view view = { .store = store, .container = (uint16_t)i, .ns_pid = 100 + i };

		check_layout(&view);
		compare_all(&view, s.pids[i]);
		page_store_drop(store, (uint16_t)i);
		assert_null(page_store_lookup(&view, (uint64_t)(uintptr_t)at.plain));
		end_child(s.pids[i]);
	}
	page_store_free(store);
}

/* The executable mappings are a pass of their own. */
struct pass {
	struct wire *w;
	pid_t pid;
	enum pages_which which;
};

static void *send_pass(void *arg)
{
	struct pass *p = arg;
	struct pages_stats stats = { 0 };
	struct error err = { 0 };

	if (pages_send(p->w, &(struct pages_source){ .pid = p->pid, .ns_pid = 100 }, p->which, &stats, &err) == 0)
		wire_send_end(p->w, &err);
	return NULL;
}

static void executable_apart(void **state)
{
	pid_t pid = start_child();

	(void)state;
	for (int which = PAGES_NOT_EXECUTABLE; which <= PAGES_EXECUTABLE; which++) {
		struct page_store *store = new_store(1ull << 31);
		struct page_store_view view = { .store = store, .ns_pid = 100 };
		struct pass pass = { .pid = pid, .which = (enum pages_which)which };
		struct wire *w[2];
		struct wire_frame f = { .type = WIRE_HELLO };
		struct error err = { 0 };
		pthread_t t;

		wire_pair(w, 20 * SECOND);
		pass.w = w[0];
		assert_int_equal(pthread_create(&t, NULL, send_pass, &pass), 0);
		while (f.type != WIRE_ALL_SENT) {
			assert_int_equal(wire_receive(w[1], 0, &f, &err), 0);
			if (f.type != WIRE_ALL_SENT)
				assert_int_equal(page_store_put(store, &f, &err), 0);
		}
		pthread_join(t, NULL);
		expect_range(&view, at.code, 6, which == PAGES_EXECUTABLE ? DATA : MISSING);
		expect_range(&view, at.plain, PLAIN_PAGES, which == PAGES_EXECUTABLE ? MISSING : DATA);
		wire_free(w[0]);
		wire_free(w[1]);
		page_store_free(store);
	}
	end_child(pid);
}

/* By the way, since all mappings are gone through: for reading alone, too, and whatever else a process shares. */
static void who_has_system_v_memory_is_known(void **state)
{
	struct page_store *store = new_store(1ull << 31);
	struct sending s = { .count = 3 };
	int id = shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
	void *segment;

	(void)state;
	assert_true(id >= 0);
	s.pids[0] = start_child();
	for (int i = 1; i < 3; i++) {
		segment = shmat(id, NULL, i == 1 ? 0 : SHM_RDONLY);
		assert_ptr_not_equal(segment, (void *)-1);
		s.pids[i] = start_child();
		assert_int_equal(shmdt(segment), 0);
	}
	shmctl(id, IPC_RMID, NULL);
	transfer(&s, store);
	assert_false(s.sysv[0]);
	assert_true(s.sysv[1]);
	assert_true(s.sysv[2]);
	for (int i = 0; i < 3; i++)
		end_child(s.pids[i]);
	page_store_free(store);
}

/* The map of before kernel 6.7 must find the same pages. */
static void both_page_maps(void **state)
{
	struct {
		uint8_t *start;
		size_t pages;
	} ranges[] = { { at.plain, PLAIN_PAGES }, { at.holes, 1024 }, { at.read_only, 64 }, { at.zeroed, 16 }, { at.file, 8 },
		       { at.none, 5 },            { at.shared, 4 },   { at.many, MANY },    { at.code, 6 },    { at.guard, 8 },
		       { at.huge, HUGE_BYTES / PAGE } };
	pid_t pid = start_child();
	struct pagemap *maps[2];
	struct error err = { 0 };

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(pagemap_open(pid, i == 0, &maps[i], &err), 0);
	for (size_t k = 0; k < sizeof(ranges) / sizeof(ranges[0]); k++) {
		uint8_t *seen[2];

		for (int i = 0; i < 2; i++) {
			uint64_t start = (uint64_t)(uintptr_t)ranges[k].start;
			struct page_run run;

			seen[i] = calloc(1, ranges[k].pages);
			pagemap_range(maps[i], start, start + ranges[k].pages * PAGE);
			while (pagemap_next(maps[i], &run, &err) > 0)
				for (uint64_t a = run.start; a < run.end; a += PAGE)
					seen[i][(a - start) / PAGE]++;
		}
		assert_memory_equal(seen[0], seen[1], ranges[k].pages);
		free(seen[0]);
		free(seen[1]);
	}
	print_message("PAGEMAP_SCAN: %s\n", pagemap_by_scan(maps[0]) ? "used" : "not in this kernel");
	assert_false(pagemap_by_scan(maps[1]));
	pagemap_close(maps[0]);
	pagemap_close(maps[1]);
	end_child(pid);
}

static void gone_process(void **state)
{
	struct pages_stats stats = { 0 };
	struct error err = { 0 };
	struct wire *w[2];
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	wire_pair(w, 5 * SECOND);
	waitpid(pid, NULL, 0);
	assert_int_equal(pages_send(w[0], &(struct pages_source){ .pid = pid, .ns_pid = 1 }, PAGES_NOT_EXECUTABLE, &stats, &err), -ESRCH);
	assert_int_equal(stats.pages, 0);
	wire_free(w[0]);
	wire_free(w[1]);
}

static double cpu_seconds(const struct rusage *r)
{
	return (double)(r->ru_utime.tv_sec + r->ru_stime.tv_sec) + (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1e6;
}

/* Not asserted: what the whole way gives here, sender and receiver sharing the machine. */
static void throughput(void **state)
{
#ifdef __SANITIZE_ADDRESS__
	const size_t size = 64ul << 20;
#else
	const size_t size = 512ul << 20;
#endif
	struct page_store *store = new_store(1ull << 31);
	struct sending s = { .count = 1 };
	uint8_t *p = map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	struct rusage before, after;
	int64_t start;
	int status;
	double seconds, cpu;

	(void)state;
	s.pids[0] = fork();
	if (s.pids[0] == 0) {
		for (size_t i = 0; i < size; i += PAGE)
			fill_page(p + i, i);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(s.pids[0], &status, WUNTRACED), s.pids[0]);
	getrusage(RUSAGE_SELF, &before);
	start = clock_mono_us();
	transfer(&s, store);
	seconds = (double)(clock_mono_us() - start) / 1e6;
	getrusage(RUSAGE_SELF, &after);
	/* Wall time says little on a busy machine: both ends together took so much CPU time. */
	cpu = cpu_seconds(&after) - cpu_seconds(&before);
	print_message("pages -> wire -> TLS -> loopback -> store: %.0f MB in %.3f s, %.0f MB/s; %.3f s of CPU, %.0f MB/s per "
		      "core and end\n",
		      (double)s.stats.bytes / 1e6, seconds, (double)s.stats.bytes / 1e6 / seconds, cpu,
		      (double)s.stats.bytes / 1e6 / (cpu / 2));
	assert_true(s.stats.bytes >= size);
	end_child(s.pids[0]);
	munmap(p, size);
	page_store_free(store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_model),     cmocka_unit_test(store_many_processes), cmocka_unit_test(store_limit),
		cmocka_unit_test(store_refuses),   cmocka_unit_test(whole_process),        cmocka_unit_test(several_processes),
		cmocka_unit_test(executable_apart), cmocka_unit_test(who_has_system_v_memory_is_known), cmocka_unit_test(both_page_maps),      cmocka_unit_test(gone_process),
		cmocka_unit_test(throughput),      cmocka_unit_test(fill_list_names_slots), cmocka_unit_test(a_single_page_that_comes_later_has_its_place), cmocka_unit_test(fill_list_misses_a_page),
	};

	signal(SIGPIPE, SIG_IGN);
	lay_out();
	return cmocka_run_group_tests_name("transfer_pages", tests, NULL, NULL);
}
