/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "runtime/fill.h"
#include "runtime/fill_pending.h"
#include "runtime/fill_run.h"

/*
 * CRIU's side of lazy-pages.socket is played by real processes with real userfaultfds: each task is a child with memory that was mapped (and
 * not touched) before the fork, so that the test knows its addresses.
 */
#define PAGE 4096ul
#define TASK_PAGES 600u
#define READ_ONLY_FROM 400u             /* a second mapping begins in the middle of runs */
#define TASKS 3
#define FINISHED 0x52535446
#define EVENTS (UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE)

struct world {
	char dir[64];
	struct filler filler;
	int criu;                       /* CRIU's end of the connection */
	uint8_t *memory;                /* of each task */
	size_t pages;
	int store;
	int source;                     /* pages come later: where they are until then; -1 */
	int agent, later;               /* both ends of the socket for them */
	struct fill_run runs[4096];
	uint32_t n;
	pid_t tasks[TASKS];
	int talk[TASKS];
};

/* A page that tells where it belongs. */
static void fill_page(void *page, uint64_t pid, uint64_t number)
{
	uint64_t *w = page;

	for (size_t i = 0; i < PAGE / 8; i++)
		w[i] = (pid << 40 | number << 16 | i) * 0x9e3779b97f4a7c15ull + 1;
}

static void map_memory(struct world *w, size_t pages)
{
	w->pages = pages;
	w->memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(w->memory != MAP_FAILED);
	madvise(w->memory, pages * PAGE, MADV_NOHUGEPAGE);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/test-fill-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->filler = (struct filler)FILLER_NONE;
	w->criu = -1;
	w->store = memfd_create("store", MFD_CLOEXEC);
	w->source = w->agent = w->later = -1;
	for (int i = 0; i < TASKS; i++)
		w->talk[i] = -1;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < TASKS; i++) {
		if (w->tasks[i]) {
			kill(w->tasks[i], SIGKILL);
			waitpid(w->tasks[i], NULL, 0);
		}
		if (w->talk[i] >= 0)
			close(w->talk[i]);
	}
	filler_stop(&w->filler);
	if (w->criu >= 0)
		close(w->criu);
	if (w->memory)
		munmap(w->memory, w->pages * PAGE);
	close(w->store);
	if (w->source >= 0)
		close(w->source);
	if (w->agent >= 0)
		close(w->agent);
	tree_remove(AT_FDCWD, w->dir, NULL);
	free(w);
	return 0;
}

/* ---- a task ---- */

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = EVENTS };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 ? fd : -1;
}

static int send_task(int criu, int pid, int uffd)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &uffd, sizeof(int));
	return send(criu, &pid, sizeof(pid), 0) == sizeof(pid) && sendmsg(criu, &m, 0) == 1 ? 0 : -errno;
}

static int register_all(const struct world *w, int uffd)
{
	struct uffdio_register r = { .range = { (uintptr_t)w->memory, w->pages * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	return ioctl(uffd, UFFDIO_REGISTER, &r) < 0 ? -errno : 0;
}

/* What page `number` of task pid must hold in the end: nothing (zeros), or what the list says. */
static bool listed(const struct world *w, uint32_t pid, uint64_t number)
{
	uint64_t at = (uintptr_t)w->memory + number * PAGE;

	for (uint32_t i = 0; i < w->n; i++)
		if (w->runs[i].ns_pid == pid && at >= w->runs[i].vaddr && at < w->runs[i].vaddr + w->runs[i].pages * PAGE)
			return true;
	return false;
}

/* Pages that are wrong. */
static int compare(const struct world *w, uint32_t pid, uint64_t but)
{
	uint8_t want[PAGE];
	int bad = 0;

	for (uint64_t i = 0; i < w->pages; i++) {
		memset(want, 0, PAGE);
		if (listed(w, pid, i))
			fill_page(want, pid, i);
		bad += i != but && memcmp(w->memory + i * PAGE, want, PAGE);
	}
	return bad;
}

static int fork_in_task(void)
{
	int st = 1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, &st, 0);
	return st;
}

static uint64_t written_page(const struct world *w, uint32_t pid)
{
	uint64_t i = 0;

	while (i < w->pages && listed(w, pid, i))
		i++;
	return i;
}

static int live(const struct world *w);

/* One letter, one answer. */
static int obey(const struct world *w, uint32_t pid, char what, int *uffd)
{
	volatile uint8_t *page;

	switch (what) {
	case 's':                       /* as setup_uffd() */
		*uffd = open_uffd();
		return *uffd < 0 ? -errno : send_task(w->criu, (int)pid, *uffd);
	case 'r':                       /* as the restorer */
		if (register_all(w, *uffd) < 0)
			return -errno;
		close(*uffd);
		return 0;
	case 't':                       /* a page that is to come */
		page = w->memory + (w->runs[0].vaddr - (uintptr_t)w->memory);
		return page[0] + page[PAGE - 1] ? 0 : 1;
	case 'w':                       /* a page CRIU brings itself */
		memset(w->memory + written_page(w, pid) * PAGE, 0x5a, PAGE);
		return 0;
	case 'W':
		return w->memory[written_page(w, pid) * PAGE + 7] == 0x5a ? 0 : 1;
	case 'z':
		return w->memory[written_page(w, pid) * PAGE];
	case 'd':
		return madvise(w->memory, PAGE, MADV_DONTNEED);
	case 'f':
		return fork_in_task();
	case 'l':
		return live(w);
	case 'c':
		return compare(w, pid, UINT64_MAX);
	default:
		return compare(w, pid, written_page(w, pid));
	}
}

static void __attribute__((noreturn)) task_main(const struct world *w, uint32_t pid, int talk)
{
	int uffd = -1;
	char what;

	alarm(60);
	if (w->pages > READ_ONLY_FROM && w->pages == TASK_PAGES)
		mprotect(w->memory + READ_ONLY_FROM * PAGE, (TASK_PAGES - READ_ONLY_FROM) * PAGE, PROT_READ);
	while (read(talk, &what, 1) == 1) {
		int r = obey(w, pid, what, &uffd);

		if (write(talk, &r, sizeof(r)) != sizeof(r))
			_exit(1);
	}
	_exit(0);
}

static void start_task(struct world *w, int i)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	w->tasks[i] = fork();
	if (w->tasks[i] == 0) {
		close(pair[0]);
		for (int k = 0; k < i; k++)
			close(w->talk[k]);
		task_main(w, (uint32_t)i + 1, pair[1]);
	}
	close(pair[1]);
	w->talk[i] = pair[0];
}

static void order(const struct world *w, int i, char what)
{
	assert_int_equal(write(w->talk[i], &what, 1), 1);
}

static int answer(const struct world *w, int i)
{
	struct pollfd p = { w->talk[i], POLLIN, 0 };
	int r = -1;

	if (poll(&p, 1, 20000) != 1 || read(w->talk[i], &r, sizeof(r)) != sizeof(r))
		return -1000;
	return r;
}

static int ask(const struct world *w, int i, char what)
{
	order(w, i, what);
	return answer(w, i);
}

static bool is_silent(const struct world *w, int i)
{
	struct pollfd p = { w->talk[i], POLLIN, 0 };

	return poll(&p, 1, 50) == 0;
}

/* ---- the list ---- */

static void add_run(struct world *w, uint32_t pid, uint64_t first, uint32_t pages, uint64_t slot)
{
	uint8_t page[PAGE];

	for (uint32_t i = 0; i < pages; i++) {
		fill_page(page, pid, first + i);
		assert_int_equal(pwrite(w->store, page, PAGE, (off_t)((slot + i) * PAGE)), PAGE);
	}
	w->runs[w->n++] = (struct fill_run){ pid, pages, (uintptr_t)w->memory + first * PAGE, slot * PAGE };
}

static int make_list(const struct fill_run *runs, uint32_t n)
{
	struct fill_head h = { FILL_MAGIC, n, 0 };
	int fd = memfd_create("list", MFD_CLOEXEC);

	for (uint32_t i = 0; i < n; i++)
		h.pages += runs[i].pages;
	assert_int_equal(write_full(fd, &h, sizeof(h)), 0);
	assert_int_equal(write_full(fd, runs, n * sizeof(*runs)), 0);
	return fd;
}

/* Runs of all lengths with holes between them, in the store the other way round; the first page of all is one. */
static void make_runs(struct world *w)
{
	uint64_t slot = TASKS * TASK_PAGES;

	srandom(3);
	for (uint32_t pid = 1; pid <= TASKS; pid++)
		for (uint64_t at = 0; at < TASK_PAGES;) {
			uint32_t len = 1 + (uint32_t)random() % (pid == 2 ? 3 : 300);

			if (len > TASK_PAGES - at)
				len = (uint32_t)(TASK_PAGES - at);
			slot -= len;
			add_run(w, pid, at, len, slot);
			at += len + 1 + (uint64_t)random() % 3;
		}
}

/* ---- the filler ---- */

static void start(struct world *w)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct error err = { 0 };

	if (filler_start(w->dir, &w->filler, &err) < 0)
		fail_msg("%s", err.message);
	/* CRIU's own name for it, seen from its work folder; the address is cut off after the name, not after 108 bytes. */
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/lazy-pages.socket", w->dir);
	w->criu = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(w->criu, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a.sun_path))), 0);
}

static void give(struct world *w)
{
	cleanup_close int list = make_list(w->runs, w->n);
	struct error err = { 0 };

	if (filler_give(&w->filler, list, w->store, w->later, &err) < 0)
		fail_msg("%s", err.message);
	if (w->later >= 0)
		close(take_fd(&w->later));
}

/* Until it is ready (or done), has failed or gone, or some seconds have passed without. */
static int hear_until(struct world *w, const bool *what, struct error *err)
{
	int64_t end = clock_mono_us() + 10000000;
	int r = 0;

	while (r >= 0 && !*what && !w->filler.gone && clock_mono_us() < end) {
		struct pollfd p[] = { { w->filler.fd, POLLIN, 0 }, { w->filler.pidfd, POLLIN, 0 } };

		poll(p, 2, 100);
		r = filler_hear(&w->filler, err);
	}
	return r < 0 ? r : *what;
}

static int hear(struct world *w, struct error *err)
{
	return hear_until(w, &w->filler.done, err);
}

static bool nothing_said(struct world *w)
{
	struct pollfd p = { w->filler.fd, POLLIN, 0 };

	return poll(&p, 1, 50) == 0;
}

static void wait_end(struct world *w)
{
	int st = -1;

	assert_int_equal(waitpid(w->filler.pid, &st, 0), w->filler.pid);
	assert_int_equal(st, 0);
	w->filler.pid = 0;
}

/* False: no userfaultfd here. */
static bool can(void)
{
	int fd = open_uffd();

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static void start_tasks(struct world *w)
{
	map_memory(w, TASK_PAGES);
	make_runs(w);
	start(w);
	for (int i = 0; i < TASKS; i++)
		start_task(w, i);
}

/* ---- the tests ---- */

static void all_memory_is_in_place(void **state)
{
	struct world *w = *state;
	const int zombie = -77, finished = FINISHED;
	struct error err = { 0 };
	uint64_t pages = 0;

	if (!can())
		skip();
	start_tasks(w);
	/* The first task has a fault before there is a list; the others have no registered memory. */
	for (int i = 0; i < TASKS; i++)
		assert_int_equal(ask(w, i, 's'), 0);
	assert_int_equal(send(w->criu, &zombie, sizeof(zombie), 0), sizeof(zombie));
	assert_int_equal(ask(w, 0, 'r'), 0);
	order(w, 0, 't');
	assert_true(is_silent(w, 0));
	give(w);
	assert_int_equal(answer(w, 0), 0);
	assert_true(nothing_said(w));
	assert_int_equal(ask(w, 1, 'r'), 0);
	assert_int_equal(ask(w, 2, 'r'), 0);
	/* Into a hole, as CRIU's preadv does for pages it has itself. */
	assert_int_equal(ask(w, 1, 'w'), 0);
	assert_int_equal(ask(w, 2, 'z'), 0);
	assert_true(nothing_said(w));
	filler_barrier(&w->filler);
	assert_int_equal(hear_until(w, &w->filler.ready, &err), 1);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	assert_int_equal(hear(w, &err), 1);
	for (uint32_t i = 0; i < w->n; i++)
		pages += w->runs[i].pages;
	assert_int_equal(w->filler.pages, pages);
	assert_int_equal(ask(w, 0, 'c'), 0);
	assert_int_equal(ask(w, 1, 'C'), 0);
	assert_int_equal(ask(w, 1, 'W'), 0);
	assert_int_equal(ask(w, 2, 'c'), 0);
	assert_true(w->filler.ready);
	/* Nobody listens to events any more. */
	assert_int_equal(ask(w, 0, 'f'), 0);
	assert_int_equal(ask(w, 0, 'd'), 0);
	/* It stays for CRIU, which takes its end for a failure. */
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	usleep(50000);
	assert_int_equal(kill(w->filler.pid, 0), 0);
	assert_int_equal(waitpid(w->filler.pid, NULL, WNOHANG), 0);
	assert_int_equal(send(w->criu, &finished, sizeof(finished), MSG_NOSIGNAL), sizeof(finished));
	wait_end(w);
	assert_int_equal(filler_hear(&w->filler, &err), 0);
	assert_int_equal(w->filler.fd, -1);
}

static void no_pages_are_fine(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	map_memory(w, TASK_PAGES);
	start(w);
	start_task(w, 0);
	give(w);
	assert_int_equal(ask(w, 0, 's'), 0);
	assert_int_equal(ask(w, 0, 'r'), 0);
	filler_barrier(&w->filler);
	assert_int_equal(hear_until(w, &w->filler.ready, &err), 1);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	assert_int_equal(hear(w, &err), 1);
	assert_int_equal(w->filler.pages, 0);
	assert_int_equal(ask(w, 0, 'c'), 0);
}

/* A page that is not registered when CRIU stands at the barrier; the tasks then still come to their end. */
static void memory_that_never_comes(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	start_tasks(w);
	w->runs[w->n++] = (struct fill_run){ TASKS, 1, (uintptr_t)w->memory + (w->pages + 100000) * PAGE, 0 };
	give(w);
	for (int i = 0; i < TASKS; i++) {
		assert_int_equal(ask(w, i, 's'), 0);
		assert_int_equal(ask(w, i, 'r'), 0);
	}
	assert_true(nothing_said(w));
	filler_barrier(&w->filler);
	assert_true(hear(w, &err) < 0);
	assert_non_null(strstr(err.message, "of process 3: CRIU has no mapping there"));
	assert_int_equal(ask(w, 0, 'w'), 0);
}

static void task_that_never_comes(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	start_tasks(w);
	give(w);
	for (int i = 0; i < TASKS - 1; i++) {
		assert_int_equal(ask(w, i, 's'), 0);
		assert_int_equal(ask(w, i, 'r'), 0);
	}
	filler_barrier(&w->filler);
	assert_true(hear(w, &err) < 0);
	assert_string_equal(err.message, "CRIU restored no process 3");
}

static void criu_goes_away(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	start_tasks(w);
	give(w);
	assert_int_equal(ask(w, 0, 's'), 0);
	close(take_fd(&w->criu));
	for (int i = 0; i < TASKS; i++) {
		kill(w->tasks[i], SIGKILL);
		waitpid(w->tasks[i], NULL, 0);
		w->tasks[i] = 0;
	}
	/* Its own end tells more. */
	assert_int_equal(hear(w, &err), 0);
	assert_true(w->filler.gone);
	wait_end(w);
}

/* It maps the application's memory. */
static void leaves_no_core(void **state)
{
	cleanup_buf struct buf limits = BUF_INIT(65536);
	int64_t deadline = clock_mono_us() + 10000000;
	struct world *w = *state;
	char path[64];
	const char *core;

	map_memory(w, TASK_PAGES);
	start(w);
	/* It has its name when it has done what it does first. */
	for (bool there = false; !there;) {
		cleanup_buf struct buf name = BUF_INIT(64);

		snprintf(path, sizeof(path), "/proc/%d/comm", w->filler.pid);
		assert_int_equal(file_read(AT_FDCWD, path, &name, NULL), 0);
		there = !strcmp(name.data, "pm-filler\n");
		assert_true(clock_mono_us() < deadline);
	}
	snprintf(path, sizeof(path), "/proc/%d/limits", w->filler.pid);
	assert_int_equal(file_read(AT_FDCWD, path, &limits, NULL), 0);
	core = strstr(limits.data, "Max core file size");
	assert_non_null(core);
	assert_true(strtoul(core + strlen("Max core file size"), NULL, 10) <= 1);
}

static void filler_is_killed(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	map_memory(w, TASK_PAGES);
	start(w);
	kill(w->filler.pid, SIGKILL);
	assert_true(hear(w, &err) < 0);
	assert_int_equal(w->filler.fd, -1);
}

/* What the program drops before it came is zero. */
static void changes_are_followed(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	start_tasks(w);
	give(w);
	for (int i = 0; i < TASKS; i++) {
		assert_int_equal(ask(w, i, 's'), 0);
		assert_int_equal(ask(w, i, 'r'), 0);
	}
	assert_int_equal(ask(w, 0, 'd'), 0);
	filler_barrier(&w->filler);
	assert_int_equal(hear_until(w, &w->filler.ready, &err), 1);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	assert_int_equal(hear(w, &err), 1);
	/* The first page, which was listed. */
	assert_int_equal(ask(w, 0, 'c'), 1);
	assert_int_equal(ask(w, 1, 'c'), 0);
}

static void store_is_cut_off(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	start_tasks(w);
	give(w);
	/* The list was checked against the whole store by the time a task is there. */
	assert_int_equal(ask(w, 0, 's'), 0);
	usleep(50000);
	assert_int_equal(ftruncate(w->store, 0), 0);
	for (int i = 0; i < TASKS; i++) {
		if (i)
			assert_int_equal(ask(w, i, 's'), 0);
		assert_int_equal(ask(w, i, 'r'), 0);
	}
	filler_barrier(&w->filler);
	assert_true(hear(w, &err) < 0);
	assert_non_null(strstr(err.message, "cannot be read from the page store"));
	assert_int_equal(ask(w, 0, 'w'), 0);
}

static void another_language(void **state)
{
	struct world *w = *state;
	const int word = 0x7fffffff;
	struct error err = { 0 };

	start(w);
	assert_int_equal(send(w->criu, &word, sizeof(word), 0), sizeof(word));
	assert_true(hear(w, &err) < 0);
	assert_non_null(strstr(err.message, "another language"));
}

static void damaged_lists(void **state)
{
	const struct fill_run good[] = { { 1, 2, 0x10000, 0x1000 }, { 1, 1, 0x12000, 0 }, { 7, 1, 0x10000, 0x3000 } };
	const struct {
		int run;
		struct fill_run with;
	} bad[] = {
		{ 0, { 0, 2, 0x10000, 0x1000 } },               /* no process */
		{ 2, { FILL_PID_MAX + 1, 1, 0x10000, 0x3000 } },
		{ 0, { 1, 0, 0x10000, 0x1000 } },               /* empty */
		{ 0, { 1, 3, 0x10000, 0x1000 } },               /* overlaps the next */
		{ 0, { 1, 2, 0x10001, 0x1000 } },               /* not aligned */
		{ 0, { 1, 2, 0x10000, 0x1002 } },               /* the lowest bit is FILL_LATER */
		{ 0, { 1, 2, 0x20000, 0x1000 } },               /* out of order */
		{ 0, { 8, 2, 0x10000, 0x1000 } },
		{ 2, { 7, 1, 0x10000, 0x4000 } },               /* beyond the store */
		{ 2, { 7, 2, 0x10000, 0x3000 } },
		{ 2, { 7, 1, 0x10000, UINT64_MAX - 0xfff } },
		{ 2, { 7, UINT32_MAX, 0x10000, 0 } },
		{ 2, { 7, 1, FILL_VADDR_END, 0 } },
		{ 2, { 7, 1, UINT64_MAX - 0xfff, 0 } },
	};
	struct world *w = *state;
	struct fill_runs l;
	struct error err;
	struct fill_head h;
	uint32_t first = 0;
	int fd = make_list(good, 3);

	assert_int_equal(ftruncate(w->store, 0x4000), 0);
	assert_int_equal(fill_runs_load(fd, w->store, &l, &err), 0);
	assert_int_equal(fill_runs_of(&l, 1, &first), 2);
	assert_int_equal(first, 0);
	assert_int_equal(fill_runs_of(&l, 7, &first), 1);
	assert_int_equal(first, 2);
	assert_int_equal(fill_runs_of(&l, 8, &first), 0);
	fill_runs_free(&l);
	assert_int_equal(ftruncate(fd, sizeof(h) + sizeof(good) - 1), 0);
	assert_int_equal(fill_runs_load(fd, w->store, &l, &err), -EBADMSG);
	assert_int_equal(ftruncate(fd, sizeof(h) - 1), 0);
	assert_int_equal(fill_runs_load(fd, w->store, &l, &err), -EBADMSG);
	close(fd);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fill_run runs[3];

		memcpy(runs, good, sizeof(runs));
		runs[bad[i].run] = bad[i].with;
		fd = make_list(runs, 3);
		if (fill_runs_load(fd, w->store, &l, &err) != -EBADMSG)
			fail_msg("list %zu is taken", i);
		close(fd);
	}
	for (int i = 0; i < 3; i++) {
		h = (struct fill_head){ FILL_MAGIC + (i == 0), 3 + (i == 1), 4 + (i == 2) };
		fd = make_list(good, 3);
		assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
		assert_int_equal(fill_runs_load(fd, w->store, &l, &err), -EBADMSG);
		close(fd);
	}
	assert_int_equal(fill_runs_load(w->criu, w->store, &l, &err), -EBADF);
}

static void damaged_list_is_told(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	map_memory(w, TASK_PAGES);
	add_run(w, 1, 0, 1, 0);
	w->runs[0].offset = 1ull << 40;
	start(w);
	give(w);
	assert_true(hear(w, &err) < 0);
	assert_non_null(strstr(err.message, "a page is not in the store"));
}

/* ---- what is lacking, against a plain array ---- */

#define MODEL 300u

static void check_pending(const struct fill_pending *p, const uint32_t *model)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < MODEL; i++) {
		const struct fill_seg *s = pending_find(p, (i + 1) * PAGE + 123);

		assert_int_equal(s ? s->offset + (i + 1) * PAGE - s->vaddr : 0, model[i] * PAGE);
		sum += model[i] != 0;
	}
	assert_int_equal(p->pages, sum);
}

static void pending_model(void **state)
{
	(void)state;
	srandom(11);
	for (int round = 0; round < 200; round++) {
		struct fill_pending p = { 0 }, q;
		struct fill_run runs[MODEL];
		struct fill_runs l = { .runs = runs };
		uint32_t model[MODEL] = { 0 };

		for (uint32_t at = 0, slot = 1; at < MODEL;) {
			uint32_t n = 1 + (uint32_t)random() % 20;

			n = n > MODEL - at ? MODEL - at : n;
			runs[l.n++] = (struct fill_run){ 7, n, (at + 1) * PAGE, slot * PAGE };
			for (uint32_t i = 0; i < n; i++)
				model[at + i] = slot++;
			at += n + (uint32_t)random() % 4;
		}
		assert_int_equal(pending_load(&p, &l, 7), 0);
		for (int i = 0; i < 60; i++) {
			uint32_t a = (uint32_t)random() % MODEL, n = 1 + (uint32_t)random() % 40, b = (uint32_t)random() % MODEL;

			n = n > MODEL - a ? MODEL - a : n;
			n = n > MODEL - b ? MODEL - b : n;
			if (random() % 3 == 0 && (a + n <= b || b + n <= a)) {
				assert_int_equal(pending_move(&p, (a + 1) * PAGE, (b + 1) * PAGE, n * PAGE), 0);
				memcpy(model + b, model + a, n * sizeof(*model));
				memset(model + a, 0, n * sizeof(*model));
			} else if (random() % 3 == 0 && p.pages) {
				uint64_t first = p.segs[p.first].vaddr / PAGE - 1;

				pending_advance(&p, 1);
				model[first] = 0;
			} else {
				assert_int_equal(pending_cut(&p, (a + 1) * PAGE, (a + n + 1) * PAGE), 0);
				memset(model + a, 0, n * sizeof(*model));
			}
			check_pending(&p, model);
		}
		assert_int_equal(pending_clone(&p, &q), 0);
		check_pending(&q, model);
		pending_free(&p);
		pending_free(&q);
	}
}

/* ---- a program that runs while its memory is filled ---- */

#define BUSY_PAGES 65536u               /* 256 MiB */
#define BLOCK 16u
#define HALVES 2

struct half {
	pthread_barrier_t *all_made;
	const struct world *w;
	uint8_t *memory, *aside;
	uint32_t first;                 /* number of its first page */
	uint32_t pages;
	uint32_t *content;              /* 0: zeros; number + 1 of a page of the list; or a page of its own, from OWN on */
	uint32_t next;
	uint64_t seed;
	bool forks;
	int bad, ops;
};

#define OWN 0x80000000u

static uint32_t any(struct half *h, uint32_t n)
{
	h->seed ^= h->seed << 13;
	h->seed ^= h->seed >> 7;
	h->seed ^= h->seed << 17;
	return (uint32_t)(h->seed % n);
}

static bool is_right(const struct half *h, uint32_t i)
{
	uint32_t c = h->content[i];
	uint8_t want[PAGE] = { 0 };

	if (c)
		fill_page(want, c >= OWN ? 99 : 1, c >= OWN ? c : c - 1);
	return memcmp(h->memory + i * PAGE, want, PAGE) == 0;
}

static void check_pages(struct half *h, uint32_t i, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++)
		h->bad += !is_right(h, i + k);
}

static void fork_and_check(struct half *h)
{
	int st = 1;
	pid_t pid = fork();

	if (pid == 0) {
		h->bad = 0;
		for (int i = 0; i < 40; i++)
			check_pages(h, any(h, h->pages / BLOCK) * BLOCK, BLOCK);
		/* A child of a child, and changes of its own. */
		madvise(h->memory, BLOCK * PAGE, MADV_DONTNEED);
		memset(h->content, 0, BLOCK * sizeof(*h->content));
		check_pages(h, 0, 2 * BLOCK);
		_exit(h->bad ? 1 : 0);
	}
	waitpid(pid, &st, 0);
	h->bad += st != 0;
}

/* Moved aside, zeros in its place, and from there over another block. */
static void move_block(struct half *h, uint32_t a, uint32_t b)
{
	const size_t len = BLOCK * PAGE;
	uint8_t *from = h->memory + a * PAGE, *to = h->memory + b * PAGE;

	if (a == b || mremap(from, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, h->aside) == MAP_FAILED)
		return;
	if (mmap(from, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != from ||
	    mremap(h->aside, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		_exit(9);
	memcpy(h->content + b, h->content + a, BLOCK * sizeof(*h->content));
	memset(h->content + a, 0, BLOCK * sizeof(*h->content));
	mmap(h->aside, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void one_op(struct half *h)
{
	uint32_t block = any(h, h->pages / BLOCK) * BLOCK, page = any(h, h->pages);

	h->ops++;
	switch (any(h, h->forks ? 20 : 19)) {
	case 0:
	case 1:
		madvise(h->memory + block * PAGE, BLOCK * PAGE, MADV_DONTNEED);
		memset(h->content + block, 0, BLOCK * sizeof(*h->content));
		break;
	case 2:
	case 3:
		mmap(h->memory + block * PAGE, BLOCK * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		memset(h->content + block, 0, BLOCK * sizeof(*h->content));
		break;
	case 4:
	case 5:
		move_block(h, block, any(h, h->pages / BLOCK) * BLOCK);
		break;
	case 6:
	case 7:
	case 8:
		check_pages(h, page, 1);
		h->content[page] = OWN | h->next++;
		fill_page(h->memory + page * PAGE, 99, h->content[page]);
		break;
	case 19:
		fork_and_check(h);
		break;
	default:
		check_pages(h, page, 1);
	}
}

static void *half_main(void *arg)
{
	struct half *h = arg;
	int64_t end;

	/* For the time between two calls a block that is moved leaves a hole, in which the memory of a thread that is only being made would have its place, to be mapped over then. */
	pthread_barrier_wait(h->all_made);
	end = clock_mono_us() + 1500000;
	while (clock_mono_us() < end)
		one_op(h);
	check_pages(h, 0, h->pages);
	return NULL;
}

/* Returns how many pages (or children) were wrong. */
static int live(const struct world *w)
{
	struct half half[HALVES] = { 0 };
	pthread_t thread[HALVES];
	pthread_barrier_t all_made;
	int bad = 0;

	pthread_barrier_init(&all_made, NULL, HALVES);
	for (uint32_t i = 0; i < HALVES; i++) {
		struct half *h = &half[i];

		h->w = w;
		h->all_made = &all_made;
		h->pages = BUSY_PAGES / HALVES;
		h->first = i * h->pages;
		h->memory = w->memory + h->first * PAGE;
		h->aside = mmap(NULL, BLOCK * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		h->content = calloc(h->pages, sizeof(*h->content));
		h->seed = 1234567 + i;
		h->forks = i == 0;
		for (uint32_t k = 0; k < h->pages; k++)
			h->content[k] = listed(w, 1, h->first + k) ? h->first + k + 1 : 0;
		pthread_create(&thread[i], NULL, half_main, h);
	}
	for (uint32_t i = 0; i < HALVES; i++) {
		pthread_join(thread[i], NULL);
		bad += half[i].bad;
		fprintf(stderr, "half %u: %d operations, %d wrong\n", i, half[i].ops, half[i].bad);
	}
	return bad;
}

static void program_runs_while_it_is_filled(void **state)
{
	const int finished = FINISHED;
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	map_memory(w, BUSY_PAGES);
	for (uint32_t at = 0; at < BUSY_PAGES; at += 64)
		add_run(w, 1, at, 63, at);
	start(w);
	start_task(w, 0);
	give(w);
	assert_int_equal(ask(w, 0, 's'), 0);
	assert_int_equal(ask(w, 0, 'r'), 0);
	filler_barrier(&w->filler);
	assert_int_equal(hear_until(w, &w->filler.ready, &err), 1);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	assert_int_equal(ask(w, 0, 'l'), 0);
	if (hear(w, &err) != 1)
		fail_msg("%s", err.message);
	print_message("%llu pages, %lld us copying\n", (unsigned long long)w->filler.pages, (long long)w->filler.micros);
	assert_int_equal(send(w->criu, &finished, sizeof(finished), MSG_NOSIGNAL), sizeof(finished));
	wait_end(w);
}

/* Nobody reads zeros for pages that are missing: who needs one waits, and is not let go by the filler's death. */
static void program_waits_when_the_filler_dies(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	map_memory(w, BUSY_PAGES);
	for (uint32_t at = 0; at < BUSY_PAGES; at += 64)
		add_run(w, 1, at, 63, at);
	start(w);
	start_task(w, 0);
	give(w);
	assert_int_equal(ask(w, 0, 's'), 0);
	assert_int_equal(ask(w, 0, 'r'), 0);
	filler_barrier(&w->filler);
	assert_int_equal(hear_until(w, &w->filler.ready, &err), 1);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	kill(w->filler.pid, SIGKILL);
	assert_true(hear(w, &err) < 0);
	/* All of it: some pages must be missing still. */
	order(w, 0, 'c');
	usleep(300000);
	assert_true(is_silent(w, 0));
}

/* ---- pages that come later ---- */

/* The store has room for them and does not hold them, but for every fifth run; the one at its beginning is away. */
static void keep_away(struct world *w)
{
	int pair[2];

	w->source = w->store;
	w->store = memfd_create("later", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->store, lseek(w->source, 0, SEEK_END)), 0);
	for (uint32_t i = 0; i < w->n; i++) {
		struct fill_run *r = &w->runs[i];

		if (i % 5 != 4)
			r->offset |= FILL_LATER;
		for (uint32_t k = 0; i % 5 == 4 && k < r->pages; k++) {
			uint8_t page[PAGE];

			assert_int_equal(pread(w->source, page, PAGE, (off_t)(r->offset + k * PAGE)), PAGE);
			assert_int_equal(pwrite(w->store, page, PAGE, (off_t)(r->offset + k * PAGE)), PAGE);
		}
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	w->agent = pair[0];
	w->later = pair[1];
}

/* The agent: brings what is asked for, piece by piece, not at once. */
static void *bring(void *arg)
{
	struct world *w = arg;
	struct fill_packet p;
	unsigned turn = 0;

	while (recv(w->agent, &p, sizeof(p), 0) == (ssize_t)sizeof(p)) {
		while (p.pages) {
			struct fill_packet part = { .offset = p.offset, .pages = p.pages < 7 ? p.pages : 7 };
			uint8_t page[PAGE];

			if (turn++ % 16 == 0)
				usleep(300);
			for (uint32_t i = 0; i < part.pages; i++)
				if (pread(w->source, page, PAGE, (off_t)(part.offset + i * PAGE)) != PAGE ||
				    pwrite(w->store, page, PAGE, (off_t)(part.offset + i * PAGE)) != PAGE)
					return NULL;
			send(w->agent, &part, sizeof(part), MSG_NOSIGNAL);
			p.offset += part.pages * PAGE;
			p.pages -= part.pages;
		}
	}
	return NULL;
}

static void start_busy(struct world *w)
{
	struct error err = { 0 };

	map_memory(w, BUSY_PAGES);
	for (uint32_t at = 0; at < BUSY_PAGES; at += 64)
		add_run(w, 1, at, 63, at);
	keep_away(w);
	start(w);
	start_task(w, 0);
	give(w);
	assert_int_equal(ask(w, 0, 's'), 0);
	assert_int_equal(ask(w, 0, 'r'), 0);
	filler_barrier(&w->filler);
	if (hear_until(w, &w->filler.ready, &err) != 1)
		fail_msg("%s", err.message);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
}

static void program_runs_while_its_memory_comes(void **state)
{
	const int finished = FINISHED;
	struct world *w = *state;
	struct error err = { 0 };
	pthread_t thread;

	if (!can())
		skip();
	start_busy(w);
	assert_int_equal(pthread_create(&thread, NULL, bring, w), 0);
	assert_int_equal(ask(w, 0, 'l'), 0);
	if (hear(w, &err) != 1)
		fail_msg("%s", err.message);
	/* The task has inherited the other end, and lives until its alarm. */
	shutdown(w->agent, SHUT_RDWR);
	pthread_join(thread, NULL);
	assert_int_equal(send(w->criu, &finished, sizeof(finished), MSG_NOSIGNAL), sizeof(finished));
	wait_end(w);
}

/* Nobody brings the rest: that is told, and whoever needs it waits. */
static void memory_that_stays_away(void **state)
{
	struct world *w = *state;
	struct error err = { 0 };

	if (!can())
		skip();
	start_busy(w);
	order(w, 0, 'c');
	usleep(100000);
	/* The task has inherited it. */
	shutdown(w->agent, SHUT_RDWR);
	assert_true(hear(w, &err) < 0);
	assert_non_null(strstr(err.message, "still at the source"));
	usleep(300000);
	assert_true(is_silent(w, 0));
}

/* A monitor that loses the program's memory, and is killed before it has ended the program. */
static void __attribute__((noreturn)) be_monitor(struct world *w, int out)
{
	struct error err = { 0 };
	pid_t told[2];

	start_busy(w);
	told[0] = w->filler.pid;
	told[1] = w->tasks[0];
	shutdown(w->agent, SHUT_RDWR);
	if (hear(w, &err) < 0 && write(out, told, sizeof(told)) == sizeof(told))
		raise(SIGKILL);
	_exit(1);
}

static bool ends(pid_t pid, int ms)
{
	for (; ms > 0 && waitpid(pid, NULL, WNOHANG) == 0; ms -= 10)
		usleep(10000);
	return ms > 0;
}

/* As long as the program is there somebody must hold its userfaultfd, or it would read zeros; when it has ended nobody may hold its memory. */
static void filler_outlives_its_monitor(void **state)
{
	struct world *w = *state;
	pid_t monitor, told[2] = { 0 };
	int p[2];

	if (!can())
		skip();
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	monitor = fork();
	if (monitor == 0)
		be_monitor(w, p[1]);
	close(p[1]);
	assert_int_equal(read(p[0], told, sizeof(told)), sizeof(told));
	close(p[0]);
	assert_int_equal(waitpid(monitor, NULL, 0), monitor);
	assert_false(ends(told[0], 1500));
	assert_int_equal(kill(told[1], SIGKILL), 0);
	assert_int_equal(waitpid(told[1], NULL, 0), told[1]);
	assert_true(ends(told[0], 3000));
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

/* Not a test of speed: the figure is for who reads it. */
static void how_fast(void **state)
{
	struct world *w = *state;
	const uint32_t n = 64u << 8;
	struct error err = { 0 };
	int64_t t;

	if (!can())
		skip();
	map_memory(w, n);
	add_run(w, 1, 0, n, 0);
	start(w);
	start_task(w, 0);
	give(w);
	assert_int_equal(ask(w, 0, 's'), 0);
	t = clock_mono_us();
	assert_int_equal(ask(w, 0, 'r'), 0);
	filler_barrier(&w->filler);
	assert_int_equal(hear_until(w, &w->filler.ready, &err), 1);
	assert_int_equal(filler_open(&w->filler, NULL, &err), 0);
	assert_int_equal(hear(w, &err), 1);
	t = clock_mono_us() - t;
	print_message("64 MiB: %.2f us a page copying, %.2f from registration to done\n", (double)w->filler.micros / n, (double)t / n);
	assert_int_equal(ask(w, 0, 'c'), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(all_memory_is_in_place), T(no_pages_are_fine), T(memory_that_never_comes), T(task_that_never_comes), T(criu_goes_away),
		T(leaves_no_core), T(filler_is_killed), T(changes_are_followed), T(store_is_cut_off), T(another_language), T(damaged_lists),
		T(damaged_list_is_told), T(pending_model), T(program_runs_while_it_is_filled), T(program_waits_when_the_filler_dies), T(program_runs_while_its_memory_comes),
		T(memory_that_stays_away), T(filler_outlives_its_monitor), T(how_fast),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
