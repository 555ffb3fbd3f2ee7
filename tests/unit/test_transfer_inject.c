/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

/* Time goes by faster, that nobody need wait for it. */
static int64_t fast_clock(void)
{
	return clock_mono_us() * 20;
}

#define clock_mono_us fast_clock
#include "transfer/inject.c"
#undef clock_mono_us

/* Programs that do not want their memory to be watched. */

#ifdef __x86_64__

#define GATE ((uint8_t *)0x20000)       /* below all else: where inject.c looks first when there is no vdso */
#define PAGE 4096

static struct {
	_Atomic long ticks;
	_Atomic int tid;
	_Atomic bool ready;             /* the other thread runs */
} *shared;

static const uint8_t makes_call[] = { 0x0f, 0x05 }, stay[] = { 0xeb, 0xfe };    /* syscall; jmp to itself */
static uint8_t *alias;

/* 't': a tracer has stopped it; 'S': it sleeps. */
static char state_of(int tid)
{
	char path[64], text[128];
	int fd;
	ssize_t n;
	const char *at;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	n = syscall(SYS_read, fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	text[n < 0 ? 0 : n] = '\0';
	at = strrchr(text, ')');
	return at ? at[2] : '?';
}

/* As soon as the other thread is stopped it gets another instruction where the system call stood. */
static void *change_code(void *arg)
{
	(void)arg;
	shared->ready = true;
	for (;;) {
		char s = state_of(shared->tid);

		if (s == 't')
			memcpy(alias, stay, sizeof(stay));
		else if (s == 'S')
			memcpy(alias, makes_call, sizeof(makes_call));
	}
	return NULL;
}

static void __attribute__((noreturn)) changes_its_code(void)
{
	int fd = (int)syscall(SYS_memfd_create, "code", 0);
	pthread_t thread;

	shared->tid = (int)syscall(SYS_gettid);
	alias = ftruncate(fd, PAGE) < 0 ? MAP_FAILED : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (alias == MAP_FAILED || mmap(GATE, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) != (void *)GATE)
		_exit(2);
	memcpy(alias, makes_call, sizeof(makes_call));
	if (pthread_create(&thread, NULL, change_code, NULL))
		_exit(3);
	while (!shared->ready)
		syscall(SYS_sched_yield);
	/* From here on nobody may ask the C library for the time, as a sanitizer does for a new thread. */
	if (munmap((void *)getauxval(AT_SYSINFO_EHDR), 2 * PAGE) < 0)
		_exit(4);
	for (;;) {
		struct timespec t = { 0, 1000000 };

		syscall(SYS_nanosleep, &t, NULL);
		shared->ticks++;
	}
}

static pid_t start(void (*program)(void))
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		program();
	}
	while (shared->ticks < 10 && waitpid(pid, NULL, WNOHANG) == 0)
		usleep(1000);
	assert_true(shared->ticks >= 10);
	return pid;
}

/* It is let go as it was, and goes on: only its memory is not watched. */
static void who_hinders_us_does_not_hold_us(void **state)
{
	struct error err = { 0 };
	int hindered = 0;
	long ticks;
	pid_t pid;

	(void)state;
	shared->ticks = 0;
	pid = start(changes_its_code);
	/* Waited for without a limit, as it was, nothing else ends this test. */
	alarm(100);
	for (int i = 0; i < 2000 && hindered < 2; i++) {
		int64_t stopped;
		int fd = -1, r = inject_userfaultfd(pid, &fd, &stopped, &err);

		if (r == -ETIME)
			hindered++;
		if (r == 0)
			close(fd);
		else if (r != -ETIME && r != -EOPNOTSUPP && r != -ETIMEDOUT)
			fail_msg("%d: %s", r, err.message);
		ticks = shared->ticks;
		for (int k = 0; shared->ticks < ticks + 3 && k < 5000; k++)
			usleep(1000);
		assert_true(shared->ticks >= ticks + 3);
	}
	alarm(0);
	print_message("held up %d times\n", hindered);
	assert_true(hindered > 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Else any file of the process would be asked what a userfaultfd is asked, by root. */
static void only_a_userfaultfd_is_taken_over(void **state)
{
	struct injection i = { .pid = getpid(), .fd = -1 };
	int ends[2], own = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(take_over(&i, ends[0]), -EOPNOTSUPP);
	close(i.fd);
	if (own >= 0) {
		assert_int_equal(take_over(&i, own), 0);
		close(i.fd);
		close(own);
	}
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_hinders_us_does_not_hold_us),
		cmocka_unit_test(only_a_userfaultfd_is_taken_over),
	};

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return shared == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	return 0;
}

#endif
