/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <stdio.h>

#include "migration/reason.h"
#include "stream_pair.h"

#include "transfer/shared.c"

#define SECOND 1000000LL
#define MIB (1u << 20)
#define CONTAINER 3

/* A page that tells where it belongs. */
static void fill_page(uint8_t *page, uint64_t seed)
{
	uint64_t *w = (uint64_t *)(void *)page;

	for (size_t i = 0; i < PAGE / 8; i++)
		w[i] = (seed + i) * 0x9e3779b97f4a7c15ull + 1;
}

/* --- the other side: a store, and the file that STORED makes --- */

struct receiver {
	struct wire *w;
	struct page_store *store;
	uint8_t *file;
	size_t len, room;
	uint64_t pages_frames, stored_frames;
	int bad, alive;
	pthread_t t;
};

static void append_stored(struct receiver *r, const struct wire_frame *f)
{
	for (uint32_t i = 0; i < f->len / WIRE_STORED_RUN; i++) {
		struct page_store_view view = { .store = r->store, .container = CONTAINER };
		struct error err = { 0 };
		struct wire_pages p;

		if (wire_stored_unpack(f, i, &p, &err) < 0 || r->len + (size_t)p.pages * PAGE > r->room) {
			r->bad++;
			return;
		}
		view.ns_pid = p.ns_pid;
		for (uint32_t k = 0; k < p.pages; k++) {
			const void *page = p.ns_pid ? page_store_lookup(&view, p.address + (uint64_t)k * PAGE) : page_store_zero;

			r->bad += !page;
			memcpy(r->file + r->len, page ? page : page_store_zero, PAGE);
			r->len += PAGE;
		}
	}
}

static void *receive_main(void *arg)
{
	struct receiver *r = arg;
	struct error err = { 0 };
	struct wire_frame f;

	while (wire_receive(r->w, 0, &f, &err) == 0 && f.type != WIRE_ALL_SENT) {
		r->bad += f.container != (f.type == WIRE_ALIVE ? WIRE_NO_CONTAINER : CONTAINER);
		if (f.type == WIRE_STORED) {
			r->stored_frames++;
			append_stored(r, &f);
		} else if (f.type == WIRE_ALIVE) {
			r->alive++;
		} else if (f.type == WIRE_PAGES && page_store_put(r->store, &f, &err) == 0) {
			r->pages_frames++;
		} else {
			r->bad++;
		}
	}
	return NULL;
}

static struct wire *start(struct receiver *r, size_t room)
{
	cleanup_close int dir = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct error err = { 0 };
	struct wire *w[2];

	*r = (struct receiver){ .room = room, .file = malloc(room) };
	assert_int_equal(page_store_new(dir, 1u << 30, &r->store, &err), 0);
	wire_pair(w, 10 * SECOND);
	r->w = w[1];
	assert_int_equal(pthread_create(&r->t, NULL, receive_main, r), 0);
	return w[0];
}

static void finish(struct receiver *r, struct wire *w)
{
	struct error err = { 0 };

	assert_int_equal(wire_send_end(w, &err), 0);
	pthread_join(r->t, NULL);
	assert_int_equal(r->bad, 0);
	wire_free(w);
	wire_free(r->w);
	page_store_free(r->store);
	free(r->file);
}

/* --- a process with all kinds of it --- */

enum { ANONYMOUS, MEMFD, UNMAPPED, SYSV, KINDS };

#define OBJECT (4 * MIB)
#define OBJECT_PAGES (OBJECT / PAGE)
#define USED (OBJECT_PAGES / 2)         /* every second page of an object, each other left as a hole */

struct kinds {
	uint8_t *at[KINDS];             /* in this process */
	pid_t child;
};

static uint8_t *page_of(const struct kinds *k, int kind, uint32_t i)
{
	return k->at[kind] + (size_t)i * 2 * PAGE;
}

/* The child holds all of it; the parent does, too, to change it.  A memfd that is mapped nowhere in the child is known by its fd alone. */
static void make_kinds(struct kinds *k)
{
	int mapped = memfd_create("mapped", MFD_CLOEXEC), unmapped = memfd_create("unmapped", MFD_CLOEXEC), id = shmget(IPC_PRIVATE, OBJECT, 0600);

	assert_true(mapped >= 0 && unmapped >= 0 && id >= 0);
	assert_int_equal(ftruncate(mapped, OBJECT), 0);
	assert_int_equal(ftruncate(unmapped, OBJECT), 0);
	k->at[ANONYMOUS] = mmap(NULL, OBJECT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	k->at[MEMFD] = mmap(NULL, OBJECT, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
	k->at[UNMAPPED] = mmap(NULL, OBJECT, PROT_READ | PROT_WRITE, MAP_SHARED, unmapped, 0);
	k->at[SYSV] = shmat(id, NULL, 0);
	assert_int_equal(shmctl(id, IPC_RMID, NULL), 0);
	close(mapped);
	for (int i = 0; i < KINDS; i++)
		for (uint32_t p = 0; p < USED; p++)
			fill_page(page_of(k, i, p), (uint64_t)i * 1000000 + p * 1000 + 1);
	k->child = fork();
	if (k->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		munmap(k->at[UNMAPPED], OBJECT);
		for (;;)
			pause();
	}
	assert_true(k->child > 0);
	close(unmapped);
}

static void free_kinds(struct kinds *k)
{
	kill(k->child, SIGKILL);
	waitpid(k->child, NULL, 0);
	munmap(k->at[ANONYMOUS], OBJECT);
	munmap(k->at[MEMFD], OBJECT);
	munmap(k->at[UNMAPPED], OBJECT);
	shmdt(k->at[SYSV]);
}

static uint64_t pass(struct shared *s, struct wire *w, const struct kinds *k)
{
	cleanup_close int fd = (int)syscall(SYS_pidfd_open, k->child, 0);
	const struct pages_source from = { .container = CONTAINER, .pid = k->child, .pidfd = fd };
	struct pages_stats stats = { 0 };
	struct error err = { 0 };

	assert_true(fd > 0);
	shared_begin(s);
	/* As of two processes that share it: the second brings nothing. */
	for (int i = 0; i < 2; i++)
		if (shared_send(s, w, &from, &stats, &err) < 0)
			fail_msg("%s", err.message);
	assert_int_equal(stats.bytes, stats.pages * PAGE);
	return stats.pages;
}

/* As CRIU writes it: the pages that are there, object after object, in an order that is its own; and some of nobody's. */
static int write_file(const struct kinds *k, uint64_t *ret_size)
{
	static const int order[] = { SYSV, ANONYMOUS, UNMAPPED, MEMFD };
	int fd = memfd_create("pages", MFD_CLOEXEC);
	uint8_t other[PAGE] = { 0 };
	off_t at = 0;

	for (int i = 0; i < KINDS; i++)
		for (uint32_t p = 0; p < USED; p++, at += PAGE)
			assert_int_equal(pwrite(fd, page_of(k, order[i], p), PAGE, at), PAGE);
	for (int i = 0; i < 40; i++, at += PAGE) {
		if (i >= 20)
			fill_page(other, 77000000 + (uint64_t)i * 1000);
		assert_int_equal(pwrite(fd, other, PAGE, at), PAGE);
	}
	*ret_size = (uint64_t)at;
	return fd;
}

static void check_file(struct shared *s, struct wire *w, struct receiver *r, int fd, uint64_t size, struct pages_stats *stats)
{
	const struct pages_source from = { .container = CONTAINER };
	cleanup_free uint8_t *want = malloc(size);
	struct error err = { 0 };

	if (shared_send_file(s, w, &from, fd, size, stats, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(wire_send_end(w, &err), 0);
	pthread_join(r->t, NULL);
	assert_int_equal(r->bad, 0);
	assert_int_equal(pread(fd, want, size, 0), size);
	assert_int_equal(r->len, size);
	assert_memory_equal(r->file, want, size);
	wire_free(w);
	wire_free(r->w);
	page_store_free(r->store);
	free(r->file);
}

static void goes_ahead(void **state)
{
	struct receiver r;
	struct kinds k;
	struct shared *s;
	struct error err = { 0 };
	struct pages_stats stats = { 0 };
	struct wire *w = start(&r, 64 * MIB);
	cleanup_close int fd = -1;
	uint64_t size;

	(void)state;
	make_kinds(&k);
	assert_int_equal(shared_new(&s, &err), 0);
	assert_int_equal(pass(s, w, &k), KINDS * USED);
	assert_int_equal(pass(s, w, &k), 0);
	/* What has changed goes again; what has become zero does not, nor what was there all the time. */
	for (uint32_t p = 0; p < 100; p++)
		fill_page(page_of(&k, (int)p % KINDS, p * 3), 50000000 + p * 1000);
	memset(page_of(&k, MEMFD, 400), 0, PAGE);
	assert_int_equal(pass(s, w, &k), 100);
	/* A pass in which nothing goes for so long that the other side could take the stream for lost. */
	shared_begin(s);
	s->sent_us -= 6 * SECOND;
	assert_int_equal(shared_send(s, w, &(struct pages_source){ .container = CONTAINER, .pid = k.child }, &stats, &err), 0);
	assert_int_equal(stats.pages, 0);
	assert_int_equal(shared_end(s, &err), 0);
	/* Frozen; 30 have changed since, two of them are swapped with each other. */
	for (uint32_t p = 0; p < 28; p++)
		fill_page(page_of(&k, ANONYMOUS, 200 + p * 5), 60000000 + p * 1000);
	fill_page(page_of(&k, SYSV, 410), (uint64_t)SYSV * 1000000 + 411 * 1000 + 1);
	fill_page(page_of(&k, SYSV, 411), (uint64_t)SYSV * 1000000 + 410 * 1000 + 1);
	fd = write_file(&k, &size);
	check_file(s, w, &r, fd, size, &stats);
	assert_int_equal(r.alive, 1);
	assert_int_equal(stats.pages, 28 + 20);
	assert_int_equal(stats.same_pages, KINDS * USED - 28 - 1);
	free_kinds(&k);
	shared_free(s);
}

/* Nothing went ahead: all of it goes with the file, through a place that is used again and again. */
static void goes_with_the_file(void **state)
{
	const uint64_t pages = WIRE_STORED_PAGES_MAX * 3 + 77;
	cleanup_close int fd = memfd_create("pages", MFD_CLOEXEC);
	struct pages_stats stats = { 0 };
	uint8_t page[PAGE];
	struct receiver r;
	struct wire *w = start(&r, 64 * MIB);

	(void)state;
	for (uint64_t i = 0; i < pages; i++) {
		fill_page(page, i * 1000);
		if (i % 1000 < 300)
			memset(page, 0, PAGE);
		assert_int_equal(pwrite(fd, page, PAGE, (off_t)(i * PAGE)), PAGE);
	}
	check_file(NULL, w, &r, fd, pages * PAGE, &stats);
	assert_int_equal(stats.same_pages, 0);
	assert_int_equal(r.stored_frames, 4);
	assert_true(stats.pages > pages / 2 && stats.pages < pages);
}

/* A file that is not as long as its head has said. */
static void file_of_another_size(void **state)
{
	const struct pages_source from = { .container = CONTAINER };
	cleanup_close int fd = memfd_create("pages", MFD_CLOEXEC);
	struct pages_stats stats = { 0 };
	struct error err = { 0 };
	struct receiver r;
	struct wire *w = start(&r, MIB);

	(void)state;
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_int_equal(shared_send_file(NULL, w, &from, fd, 5 * PAGE, &stats, &err), -EIO);
	assert_int_equal(shared_send_file(NULL, w, &from, fd, 3 * PAGE, &stats, &err), -EIO);
	finish(&r, w);
}

/* Files with a name, and what is no memory, are none of it; the last page may be part of one. */
static void what_it_is(void **state)
{
	cleanup_close int odd = memfd_create("odd", MFD_CLOEXEC), named = open("/dev/shm/pm-test-shared", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	const struct pages_source from = { .container = CONTAINER, .pid = getpid() };
	struct page_store_view view = { .container = CONTAINER, .ns_pid = WIRE_SHARED_FIRST + 1 };
	struct pages_stats stats = { 0 };
	struct error err = { 0 };
	uint8_t page[2 * PAGE];
	struct receiver r;
	struct shared *s;
	struct wire *w = start(&r, MIB);
	void *map;

	(void)state;
	fill_page(page, 1);
	fill_page(page + PAGE, 2);
	assert_int_equal(pwrite(odd, page, PAGE + 100, 0), PAGE + 100);
	assert_int_equal(pwrite(named, page, sizeof(page), 0), sizeof(page));
	map = mmap(NULL, sizeof(page), PROT_READ, MAP_SHARED, named, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(shared_new(&s, &err), 0);
	shared_begin(s);
	assert_int_equal(shared_send(s, w, &from, &stats, &err), 0);
	assert_int_equal(stats.pages, 2);
	assert_int_equal(s->n, 1);
	munmap(map, sizeof(page));
	unlink("/dev/shm/pm-test-shared");
	memset(page + PAGE + 100, 0, PAGE - 100);
	assert_int_equal(wire_send_end(w, &err), 0);
	pthread_join(r.t, NULL);
	assert_int_equal(r.bad, 0);
	view.store = r.store;
	for (int i = 0; i < 2; i++)
		assert_memory_equal(page_store_lookup(&view, (uint64_t)i * PAGE), page + (size_t)i * PAGE, PAGE);
	wire_free(w);
	wire_free(r.w);
	page_store_free(r.store);
	free(r.file);
	shared_free(s);
}

/* What has ended, or whose number another one has, is not looked at; what is too much is left out, and no error. */
static void left_out(void **state)
{
	const struct stat large = { .st_ino = 1, .st_blocks = SHARED_AHEAD_MAX / 512 - 8 }, page = { .st_ino = 2, .st_blocks = 8 }, more = { .st_ino = 3, .st_blocks = 1 };
	struct pages_source from = { .container = CONTAINER };
	struct pages_stats stats = { 0 };
	struct error err = { 0 };
	struct receiver r;
	struct kinds k;
	struct shared *s;
	struct wire *w = start(&r, MIB);
	int fd;

	(void)state;
	make_kinds(&k);
	fd = (int)syscall(SYS_pidfd_open, k.child, 0);
	kill(k.child, SIGKILL);
	waitpid(k.child, NULL, 0);
	assert_int_equal(shared_new(&s, &err), 0);
	from.pid = k.child;
	shared_begin(s);
	assert_int_equal(shared_send(s, w, &from, &stats, &err), 0);
	/* As if this process had the number now. */
	from.pid = getpid();
	from.pidfd = fd;
	assert_int_equal(shared_send(s, w, &from, &stats, &err), -ESRCH);
	assert_int_equal(stats.pages, 0);
	close(fd);
	shared_free(s);

	assert_int_equal(shared_new(&s, &err), 0);
	assert_non_null(object_of(s, &large, false));
	assert_non_null(object_of(s, &page, false));
	assert_null(object_of(s, &more, false));
	assert_int_equal(s->n, 2);
	assert_ptr_equal(object_of(s, &page, false), &s->objects[1]);
	shared_free(s);
	assert_int_equal(shared_new(&s, &err), 0);
	for (ino_t i = 1; i <= SHARED_OBJECTS_MAX; i++)
		assert_non_null(object_of(s, &(struct stat){ .st_ino = i, .st_blocks = 8 }, false));
	assert_null(object_of(s, &(struct stat){ .st_ino = SHARED_OBJECTS_MAX + 1, .st_blocks = 8 }, false));
	assert_non_null(object_of(s, &(struct stat){ .st_ino = 7, .st_blocks = 8 }, false));
	/* The number of a System V segment is its id. */
	s->n = 1;
	assert_ptr_equal(object_of(s, &(struct stat){ .st_ino = 1, .st_blocks = 8 }, true), &s->objects[1]);
	assert_ptr_equal(object_of(s, &(struct stat){ .st_ino = 1, .st_blocks = 8 }, false), &s->objects[0]);
	shared_free(s);
	shared_free(NULL);
	finish(&r, w);
	free_kinds(&k);
}

/* What was known when the index was made, and is not any more, is not found; what came later may be missed, but for where it is looked for first. */
static void found_by_content(void **state)
{
	struct pages_known *k;
	struct error err = { 0 };
	uint64_t address = 0;
	uint8_t a[PAGE], b[PAGE];
	pid_t number = 0;
	bool same;

	(void)state;
	fill_page(a, 1);
	fill_page(b, 2);
	assert_int_equal(pages_known_new(&k, &err), 0);
	assert_false(pages_known_find(k, a, &number, &address));
	assert_int_equal(pages_known_index(k), 0);
	assert_false(pages_known_find(k, a, &number, &address));
	assert_int_equal(pages_known_same(k, 7, 0x5000, a, &same), 0);
	assert_int_equal(pages_known_same(k, 8, 0x7ff000, a, &same), 0);
	assert_int_equal(pages_known_index(k), 0);
	assert_true(pages_known_find(k, a, &number, &address));
	assert_true((number == 7 && address == 0x5000) || (number == 8 && address == 0x7ff000));
	number = 8;
	address = 0x7ff000;
	assert_true(pages_known_find(k, a, &number, &address));
	assert_int_equal(number, 8);
	/* Both places hold another page now. */
	assert_int_equal(pages_known_same(k, 7, 0x5000, b, &same), 0);
	assert_int_equal(pages_known_same(k, 8, 0x7ff000, b, &same), 0);
	assert_false(pages_known_find(k, a, &number, &address));
	assert_true(pages_known_find(k, b, &number, &address));
	/* Without that place it may be found or missed, as the digests, which are others in each run, fall in the old index; with a new one it is found. */
	number = 0;
	assert_int_equal(pages_known_index(k), 0);
	assert_true(pages_known_find(k, b, &number, &address));
	/* The table grows: an index of places in it is of no use any more. */
	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(pages_known_same(k, 9, i << 21, b, &same), 0);
	number = 0;
	assert_false(pages_known_find(k, b, &number, &address));
	pages_known_free(k);
}

/* --- the runs of STORED --- */

static void runs_are_checked(void **state)
{
	static const struct {
		struct wire_pages p;
		int result;
	} cases[] = {
		{ { .ns_pid = 0, .pages = 1 }, 0 },
		{ { .ns_pid = 0, .pages = WIRE_STORED_PAGES_MAX }, 0 },
		{ { .ns_pid = 0, .pages = 1, .address = PAGE }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST, .pages = 1, .address = PAGE }, 0 },
		{ { .ns_pid = INT32_MAX, .pages = 1, .address = WIRE_ADDRESS_MAX - PAGE }, 0 },
		{ { .ns_pid = 1, .pages = 1 }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST - 1, .pages = 1 }, -EPROTO },
		{ { .ns_pid = -1, .pages = 1 }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST, .pages = 0 }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST, .pages = WIRE_STORED_PAGES_MAX + 1 }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST, .pages = 1, .address = 1 }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST, .pages = 2, .address = WIRE_ADDRESS_MAX - PAGE }, -EPROTO },
		{ { .ns_pid = WIRE_SHARED_FIRST, .pages = 1, .address = UINT64_MAX - PAGE + 1 }, -EPROTO },
	};
	uint8_t body[2 * WIRE_STORED_RUN];
	struct wire_frame f = { .type = WIRE_STORED, .len = sizeof(body), .body = body };
	struct wire_pages p;
	struct error err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wire_stored_pack(&cases[i].p, body + WIRE_STORED_RUN);
		err = (struct error){ 0 };
		if (wire_stored_unpack(&f, 1, &p, &err) != cases[i].result)
			fail_msg("case %zu: %s", i, err.message);
		if (cases[i].result == 0)
			assert_memory_equal(&p, &cases[i].p, sizeof(p));
		else
			assert_int_equal(err.reason, REASON_ProtocolError);
	}
	assert_int_equal(wire_stored_unpack(&f, 2, &p, &err), -EPROTO);
	f.len--;
	assert_int_equal(wire_stored_unpack(&f, 0, &p, &err), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_ahead), cmocka_unit_test(goes_with_the_file), cmocka_unit_test(file_of_another_size),
		cmocka_unit_test(what_it_is), cmocka_unit_test(left_out), cmocka_unit_test(found_by_content), cmocka_unit_test(runs_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
