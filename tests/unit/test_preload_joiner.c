/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preloaded.h"
#include "runtime/joiner.h"

/* A task is made as CRIU makes a container's first: by a process whose parent is to be its parent as well. */

struct world {
	pid_t holder;                   /* of the user namespace */
	char path[64];
	long (*syscall)(long number, ...);
	int (*openat[2])(int dir, const char *path, int flags, ...);
	int (*openat_2[2])(int dir, const char *path, int flags);
};

static void write_map(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, "0 100000 65536\n", 15), 15);
	close(fd);
}

static void hold(struct world *w)
{
	int ends[2];
	char c;

	assert_int_equal(pipe(ends), 0);
	w->holder = fork();
	if (w->holder == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWUSER) < 0 || write(ends[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	if (read(ends[0], &c, 1) != 1)
		skip();
	close(ends[0]);
	write_map(w->holder, "uid_map");
	write_map(w->holder, "gid_map");
	snprintf(w->path, sizeof(w->path), "/proc/%d/ns/user", w->holder);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	void *library = preloaded(JOINER_LIBRARY);

	*(void **)&w->syscall = dlsym(library, "syscall");
	*(void **)&w->openat[0] = dlsym(library, "openat");
	*(void **)&w->openat[1] = dlsym(library, "openat64");
	*(void **)&w->openat_2[0] = dlsym(library, "__openat_2");
	*(void **)&w->openat_2[1] = dlsym(library, "__openat64_2");
	assert_non_null(w->syscall);
	hold(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	unsetenv(JOINER_ENV);
	kill(w->holder, SIGKILL);
	waitpid(w->holder, NULL, 0);
	free(w);
	return 0;
}

static ino_t namespace_of(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 ? st.st_ino : 0;
}

struct seen {
	ino_t user, owner_ok;
	pid_t self;
	int files;                      /* how many it has open */
};

static int count_files(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Of what runs inside: may it mount, that is, is its mount namespace the user namespace's? */
static void look(int out)
{
	struct seen s = { .user = namespace_of("/proc/self/ns/user"), .self = getpid(), .files = count_files() };

	s.owner_ok = setuid(0) == 0 && setgid(0) == 0 && sethostname("inside", 6) == 0;
	_exit(write(out, &s, sizeof(s)) == sizeof(s) ? 0 : 1);
}

/* *ret_made: the pid that the maker was told. */
static struct seen make(struct world *w, uint64_t flags, long *ret_made)
{
	pid_t one = 1, maker;
	struct clone_args args = { .flags = flags, .set_tid = (uint64_t)(uintptr_t)&one, .set_tid_size = 1 };
	struct seen s = { 0 };
	int seen[2], made[2], files;

	assert_int_equal(pipe(seen), 0);
	assert_int_equal(pipe(made), 0);
	files = count_files();
	maker = fork();
	if (maker == 0) {
		long pid = w->syscall(SYS_clone3, &args, sizeof(args));

		if (pid == 0)
			look(seen[1]);
		pid = pid < 0 ? -errno : pid;
		/* Nor is anything left in the maker. */
		if (count_files() != files)
			pid = -EMFILE;
		_exit(write(made[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
	}
	close(seen[1]);
	close(made[1]);
	assert_int_equal(read(made[0], ret_made, sizeof(*ret_made)), sizeof(*ret_made));
	if (read(seen[0], &s, sizeof(s)) != sizeof(s))
		s.self = -1;
	else
		assert_int_equal(s.files, files);
	close(seen[0]);
	close(made[0]);
	assert_int_equal(waitpid(maker, NULL, 0), maker);
	return s;
}

#define ALL (CLONE_PARENT | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)

static void the_first_task_is_made_in_the_given_namespace(void **state)
{
	struct world *w = *state;
	struct seen s;
	long made;
	int status;

	setenv(JOINER_ENV, w->path, 1);
	s = make(w, ALL, &made);
	assert_true(made > 0);
	assert_int_equal(s.self, 1);
	assert_int_equal(s.user, namespace_of(w->path));
	assert_true(s.owner_ok);
	/* It is our child, as it would have been; who was in between as well. */
	assert_int_equal(waitpid((pid_t)made, &status, 0), made);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(waitpid(-1, NULL, 0) > 0);
}

static void without_a_namespace_all_is_as_ever(void **state)
{
	struct world *w = *state;
	struct seen s;
	long made;

	unsetenv(JOINER_ENV);
	s = make(w, ALL, &made);
	assert_true(made > 0);
	assert_int_equal(s.self, 1);
	assert_int_not_equal(s.user, namespace_of(w->path));
	assert_int_equal(waitpid((pid_t)made, NULL, 0), made);
}

/* As CRIU does for a pod whose containers share one (criu/cr-restore.c, fork_with_pid). */
static void a_pid_is_told_as_the_maker_s_namespace_has_it(void **state)
{
	struct world *w = *state;
	pid_t maker, child;
	long made = 0;
	int ends[2];

	setenv(JOINER_ENV, w->path, 1);
	assert_int_equal(pipe(ends), 0);
	maker = fork();
	if (maker == 0) {
		struct clone_args args = { .flags = ALL & ~(uint64_t)CLONE_NEWPID };

		/* The first of it stays. */
		if (unshare(CLONE_NEWPID) < 0 || (child = fork()) < 0)
			_exit(1);
		while (child == 0)
			pause();
		made = w->syscall(SYS_clone3, &args, sizeof(args));
		while (made == 0)
			pause();
		if (write(ends[1], &made, sizeof(made)) != sizeof(made))
			_exit(1);
		kill(child, SIGKILL);
		_exit(0);
	}
	assert_int_equal(read(ends[0], &made, sizeof(made)), sizeof(made));
	assert_true(made > 3);
	/* It goes with its namespace, and is ours. */
	assert_int_equal(waitpid((pid_t)made, NULL, 0), made);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	close(ends[0]);
	close(ends[1]);
}

static void a_namespace_that_has_gone_is_an_error(void **state)
{
	struct world *w = *state;
	long made;

	setenv(JOINER_ENV, "/proc/self/ns/none", 1);
	assert_int_equal(make(w, ALL, &made).self, -1);
	assert_int_equal(made, -ENOENT);
	/* One that nobody may enter: his own. */
	setenv(JOINER_ENV, "/proc/self/ns/user", 1);
	assert_int_equal(make(w, ALL, &made).self, -1);
	assert_int_equal(made, -EINVAL);
	/* Of the second try the one in between. */
	assert_true(waitpid(-1, NULL, 0) > 0);
}

static int open_map(const struct world *w, size_t name, const char *path, int flags)
{
	assert_non_null(name < 2 ? (void *)w->openat[name] : (void *)w->openat_2[name - 2]);
	return name < 2 ? w->openat[name](AT_FDCWD, path, flags) : w->openat_2[name - 2](AT_FDCWD, path, flags);
}

/* By each name that a C library has for it; those of two are what a CRIU calls that was built with _FORTIFY_SOURCE. */
static void the_maps_are_not_written_again(void **state)
{
	struct world *w = *state;
	char path[64], text[16];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", w->holder);
	for (size_t name = 0; name < 4; name++) {
		setenv(JOINER_ENV, w->path, 1);
		fd = open_map(w, name, path, O_RDWR);
		assert_int_equal(write(fd, "0 5 5\n", 6), 6);
		close(fd);
		/* To be read they are there. */
		fd = open_map(w, name, path, O_RDONLY);
		assert_int_equal(read(fd, text, 10), 10);
		close(fd);
		unsetenv(JOINER_ENV);
		fd = open_map(w, name, path, O_RDWR);
		assert_int_equal(write(fd, "0 5 5\n", 6), -1);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_task_is_made_in_the_given_namespace, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_namespace_all_is_as_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pid_is_told_as_the_maker_s_namespace_has_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_namespace_that_has_gone_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(the_maps_are_not_written_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
