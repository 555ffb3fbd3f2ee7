/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "container/blinkers.h"
#include "container/process_info.h"
#include "preloaded.h"
#include "smaps_lines.h"
#include "transfer/large_mappings.h"

/* The library's answer to a scan of our own memory, as CRIU would get it. */

#define PAGE 4096u
#define SIZE (32u << 20)

struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan)
#define PRESENT 8u

struct world {
	char dir[64], list[80];
	uint8_t *memory;
	int pagemap;
	int (*ioctl)(int fd, unsigned long request, ...);
	int (*openat64)(int dir, const char *path, int flags, ...);
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	void *library = preloaded(BLINKERS_LIBRARY);

	*(void **)&w->ioctl = dlsym(library, "ioctl");
	assert_non_null(w->ioctl);
	assert_ptr_not_equal(w->ioctl, &ioctl);
	*(void **)&w->openat64 = dlsym(library, "openat64");
	assert_non_null(w->openat64);
	snprintf(w->dir, sizeof(w->dir), "/tmp/test-blinkers-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->list, sizeof(w->list), "%s/list", w->dir);
	w->memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(w->memory, MAP_FAILED);
	/* So that it is a mapping of its own. */
	assert_int_equal(mprotect(w->memory, PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(w->memory + SIZE - PAGE, PAGE, PROT_NONE), 0);
	w->memory += PAGE;
	memset(w->memory, 1, 10 * PAGE);
	w->memory[100 * PAGE] = 1;
	w->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	assert_true(w->pagemap >= 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unsetenv(BLINKERS_ENV);
	assert_int_equal(tree_remove(AT_FDCWD, w->dir, NULL), 0);
	close(w->pagemap);
	munmap(w->memory - PAGE, SIZE);
	free(w);
	return 0;
}

static void write_list(struct world *w, uint64_t pid, const uint8_t *start, size_t len)
{
	const struct blinkers_range r[] = { { 1, 0, UINT64_MAX }, { pid, (uintptr_t)start, (uintptr_t)start + len } };

	assert_int_equal(file_write(AT_FDCWD, w->list, r, sizeof(r), 0600, false, NULL), 0);
	setenv(BLINKERS_ENV, w->list, 1);
}

static void write_beside(const struct world *w, pid_t pid, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" BLINKERS_SMAPS "%d", w->dir, (int)pid);
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL), 0);
}

/* How many runs of pages are told of the memory's first bytes. */
static int scan(struct world *w, size_t len, uint64_t flags)
{
	uint64_t regions[16 * 3];
	struct scan s = { .size = sizeof(s), .flags = flags, .start = (uintptr_t)w->memory, .end = (uintptr_t)w->memory + len, .vec = (uintptr_t)regions, .vec_len = 16,
			  .category_anyof_mask = PRESENT, .return_mask = PRESENT };
	int n = w->ioctl(w->pagemap, SCAN_IOCTL, &s);

	if (n >= 0)
		assert_int_equal(s.walk_end, s.end);
	return n;
}

static void what_is_on_the_list_is_not_seen(void **state)
{
	struct world *w = *state;
	size_t all = SIZE - 2 * PAGE;

	assert_int_equal(scan(w, all, 0), 2);
	write_list(w, (uint64_t)getpid(), w->memory, all);
	assert_int_equal(scan(w, all, 0), 0);
	assert_int_equal(scan(w, BLINKERS_MIN, 0), 0);
	/* A scan that is too small to matter, or wants to be told of something else too. */
	assert_int_equal(scan(w, BLINKERS_MIN - PAGE, 0), 2);
	assert_int_not_equal(scan(w, all, 1u << 1), 0);
}

static void everything_else_is_seen(void **state)
{
	struct world *w = *state;
	size_t all = SIZE - 2 * PAGE;
	int one = 0;

	write_list(w, (uint64_t)getpid() + 1, w->memory, all);
	assert_int_equal(scan(w, all, 0), 2);
	write_list(w, (uint64_t)getpid(), w->memory, all - PAGE);
	assert_int_equal(scan(w, all, 0), 2);
	write_list(w, (uint64_t)getpid(), w->memory + PAGE, all);
	assert_int_equal(scan(w, all, 0), 2);
	/* Half a list, or none. */
	write_list(w, (uint64_t)getpid(), w->memory, all);
	assert_int_equal(truncate(w->list, sizeof(struct blinkers_range) * 2 - 1), 0);
	assert_int_equal(scan(w, all, 0), 2);
	unlink(w->list);
	assert_int_equal(scan(w, all, 0), 2);
	/* Other calls pass. */
	assert_int_equal(w->ioctl(w->pagemap, FIONBIO, &one), 0);
	assert_int_equal(w->ioctl(-1, FIONBIO, &one), -1);
}

struct found {
	uint64_t start[64], end[64];
	int n;
};

static int find(void *ctx, uint64_t start, uint64_t end, struct error *err)
{
	struct found *f = ctx;

	(void)err;
	assert_true(f->n < 64);
	f->start[f->n] = start;
	f->end[f->n++] = end;
	return 0;
}

static void large_memory_is_found(void **state)
{
	struct world *w = *state;
	uint64_t at = (uintptr_t)w->memory, all = SIZE - 2 * PAGE;
	struct found maps = { 0 };
	bool found = false;

	assert_int_equal(large_mappings_each(getpid(), BLINKERS_MIN, find, &maps, NULL), 0);
	for (int i = 0; i < maps.n; i++)
		found |= maps.start[i] == at && maps.end[i] == at + all;
	assert_true(found);
	maps = (struct found){ 0 };
	assert_int_equal(large_mappings_each(getpid(), all + PAGE, find, &maps, NULL), 0);
	for (int i = 0; i < maps.n; i++)
		assert_true(maps.start[i] != at);
}

static void locked_memory_is_noticed(void **state)
{
	struct world *w = *state;

	assert_false(process_locks_memory(getpid()));
	/* Not mlock(3): under AddressSanitizer it does nothing. */
	assert_int_equal(syscall(SYS_mlock, w->memory, PAGE), 0);
	assert_true(process_locks_memory(getpid()));
	assert_int_equal(syscall(SYS_munlock, w->memory, PAGE), 0);
	assert_true(process_locks_memory(0x7ffffff0));
}

static bool is_a_copy(int fd)
{
	char path[64], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_true(readlink(path, target, sizeof(target) - 1) > 0);
	return strncmp(target, "/memfd:smaps", 12) == 0;
}

static void smaps_is_the_kernels(void **state)
{
	struct world *w = *state;
	pid_t pid = fork();
	char dir_path[32], *copy, *own;
	int dir, fd;

	if (pid == 0)
		for (;;)
			pause();
	snprintf(dir_path, sizeof(dir_path), "/proc/%d", (int)pid);
	dir = open(dir_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	/* As it is where no large memory is, for another process, for other files, and for who would not read. */
	fd = w->openat64(dir, "smaps", O_RDONLY);
	assert_false(is_a_copy(fd));
	own = smaps_lines(fd);
	assert_true(strlen(own) > 500);
	write_list(w, (uint64_t)pid + 1, w->memory, SIZE);
	fd = w->openat64(dir, "smaps", O_RDONLY);
	assert_false(is_a_copy(fd));
	close(fd);
	write_list(w, (uint64_t)pid, w->memory, SIZE);
	fd = w->openat64(dir, "maps", O_RDONLY);
	assert_false(is_a_copy(fd));
	close(fd);
	fd = w->openat64(dir, "smaps", O_PATH);
	assert_false(is_a_copy(fd));
	close(fd);
	/* Else a copy with the same in it. */
	fd = w->openat64(dir, "smaps", O_RDONLY);
	assert_true(is_a_copy(fd));
	copy = smaps_lines(fd);
	assert_string_equal(copy, own);
	free(copy);
	free(own);
	/* What lies beside the list, of this very process, is taken instead. */
	write_beside(w, pid + 1, "of another\n");
	fd = w->openat64(dir, "smaps", O_RDONLY);
	assert_true(is_a_copy(fd));
	close(fd);
	write_beside(w, pid, "7f1c000-7f1d000 rw-p\n");
	fd = w->openat64(dir, "smaps", O_RDONLY);
	assert_false(is_a_copy(fd));
	copy = smaps_lines(fd);
	assert_string_equal(copy, "7f1c000-7f1d000 rw-p\n");
	free(copy);
	/* All other calls are what they were. */
	assert_int_equal(w->openat64(dir, "none", O_RDONLY), -1);
	fd = w->openat64(AT_FDCWD, w->list, O_CREAT | O_EXCL | O_WRONLY, 0600);
	assert_int_equal(fd, -1);
	unlink(w->list);
	fd = w->openat64(AT_FDCWD, w->list, O_CREAT | O_EXCL | O_WRONLY, 0640);
	assert_true(fd >= 0);
	assert_int_equal(access(w->list, X_OK), -1);
	close(fd);
	close(dir);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_on_the_list_is_not_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(everything_else_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(smaps_is_the_kernels, setup, teardown),
		cmocka_unit_test_setup_teardown(large_memory_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(locked_memory_is_noticed, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
