/* SPDX-License-Identifier: Apache-2.0 */
/* A pod goes on as soon as CRIU has let go of its processes, not before, and not only when CRIU and runc have ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "container/dump_hold.h"
#include "container/dump_left.h"
#include "container/runc.h"

#define SLOW_US 150000          /* from being asked until it lets go */
#define LONG_US 20000000

/* A program with two threads, what holds it, and a runc that ends only when it is killed. */
static struct {
	pid_t program, criu, runc;
	int status_r;           /* where CRIU says that it is ready */
	uint16_t port;
	bool unready;           /* it has images to write still */
	int images;
} t;

static void *second_thread(void *arg)
{
	(void)arg;
	pause();
	return NULL;
}

static void program_main(void)
{
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pthread_create(&thread, NULL, second_thread, NULL) == 0)
		pause();
	_exit(0);
}

/* The leader first, as /proc lists them. */
static int threads(pid_t pid, pid_t *tids, int max)
{
	struct dirent *e;
	char path[64];
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && n < max && (e = readdir(d)))
		if (e->d_name[0] != '.')
			tids[n++] = (pid_t)strtol(e->d_name, NULL, 10);
	if (d)
		closedir(d);
	return n;
}

#define IMAGES_TEMPLATE "/tmp/pm-hold-XXXXXX"

static char images[] = IMAGES_TEMPLATE;

/* Until it cannot. */
static void write_images(void)
{
	char name[32];
	int fd = 0;

	for (int i = 0; fd >= 0; i++) {
		snprintf(name, sizeof(name), "core-%d.img", i);
		fd = openat(t.images, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		close(fd);
		usleep(100);
	}
}

/* As CRIU does: says that it is ready, takes one connection, lets go of the leader and then of the others, and takes its time to end. */
static void criu_main(int listener, int status_w)
{
	pid_t tids[2];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (threads(t.program, tids, 2) < 2)
		usleep(1000);
	for (int i = 0; i < 2; i++)
		if (ptrace(PTRACE_SEIZE, tids[i], NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, tids[i], NULL, NULL) < 0 || waitpid(tids[i], NULL, __WALL) != tids[i])
			_exit(1);
	if (t.unready)
		write_images();
	else if (write(status_w, "", 1) != 1 || accept(listener, NULL, NULL) < 0)
		_exit(1);
	close(listener);
	for (int i = 0; i < 2; i++) {
		usleep(SLOW_US / 2);
		ptrace(PTRACE_DETACH, tids[i], NULL, NULL);
	}
	pause();
	_exit(0);
}

static int listen_somewhere(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	t.port = ntohs(at.sin_port);
	return fd;
}

static int set_up(void **state)
{
	int listener = listen_somewhere(), p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	t.status_r = p[0];
	strcpy(images, IMAGES_TEMPLATE);
	assert_non_null(mkdtemp(images));
	t.images = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if ((t.program = fork()) == 0)
		program_main();
	if ((t.criu = fork()) == 0)
		criu_main(listener, p[1]);
	if ((t.runc = fork()) == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	close(listener);
	close(p[1]);
	return 0;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static int tear_down(void **state)
{
	(void)state;
	end_child(t.criu);
	end_child(t.program);
	end_child(t.runc);
	close(t.images);
	t.unready = false;
	return tree_remove(AT_FDCWD, images, NULL);
}

static int set_up_unready(void **state)
{
	t.unready = true;
	return set_up(state);
}

static bool is_held(void)
{
	int ended = (int)syscall(SYS_pidfd_open, t.runc, 0);
	int r = dump_hold_wait(&t.program, 1, (int[2]){ ended, -1 }, 0);

	close(ended);
	return r == -ETIMEDOUT;
}

static struct runc_dump begin(const struct runc *r)
{
	struct runc_dump d = { .runc = r, .process = { t.runc, (int)syscall(SYS_pidfd_open, t.runc, 0), -1 }, .status_fd = t.status_r, .gate_fd = -1, .port = t.port, .id = "c1",
			       .work_dir = "/nowhere" };

	strcpy(d.image_dir, images);
	return d;
}

static void finish(struct runc_dump *d)
{
	close(d->process.pidfd);
	close(d->status_fd);
}

static void who_has_let_go_is_not_waited_for(void **state)
{
	const struct runc r = { .netns_fd = -1 };
	struct runc_dump d = begin(&r);
	int64_t start;

	(void)state;
	start = clock_mono_us();
	runc_dump_let_go(&d, &t.program, 1);
	assert_in_range(clock_mono_us() - start, SLOW_US, LONG_US / 10);
	assert_false(is_held());
	/* Both are there still, and abort ends them. */
	assert_int_equal(d.process.pid, t.runc);
	assert_int_equal(kill(t.criu, 0), 0);
	/* Asked again, by a thaw that is tried again, there is nothing to be waited for. */
	start = clock_mono_us();
	runc_dump_let_go(&d, &t.program, 1);
	assert_in_range(clock_mono_us() - start, 0, SLOW_US);
	finish(&d);
}

/* The containers of a pod come to their ends at the same time. */
static void who_is_hurried_lets_go_meanwhile(void **state)
{
	const struct runc r = { .netns_fd = -1 };
	struct runc_dump d = begin(&r);
	struct error err = { 0 };
	int64_t start;

	(void)state;
	assert_int_equal(runc_dump_wait_ready(&d, clock_mono_us() + LONG_US, &err), 0);
	start = clock_mono_us();
	runc_dump_hurry(&d);
	assert_in_range(clock_mono_us() - start, 0, SLOW_US / 2);
	assert_true(is_held());
	usleep(SLOW_US * 2);
	assert_false(is_held());
	finish(&d);
}

/* It is in the middle of a dump that nobody wants. */
static void who_is_not_ready_is_made_to_give_up(void **state)
{
	const struct runc r = { .netns_fd = -1 };
	struct runc_dump d = begin(&r);
	int64_t start;

	(void)state;
	for (int i = 0; i < 2000 && !dump_held(&t.program, 1); i++)
		usleep(1000);
	start = clock_mono_us();
	runc_dump_hurry(&d);
	assert_in_range(clock_mono_us() - start, 0, SLOW_US / 2);
	runc_dump_let_go(&d, &t.program, 1);
	assert_in_range(clock_mono_us() - start, SLOW_US, LONG_US / 10);
	assert_false(is_held());
	assert_int_equal(d.process.pid, t.runc);
	assert_int_equal(access(images, F_OK), -1);
	finish(&d);
}

static void who_stands_at_its_gate_is_left_there(void **state)
{
	const struct runc r = { .netns_fd = -1 };
	struct runc_dump d = begin(&r);
	char byte;
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	d.gate_fd = p[1];
	runc_dump_hurry(&d);
	runc_dump_let_go(&d, &t.program, 1);
	assert_int_equal(d.gate_fd, p[1]);
	assert_int_equal(read(p[0], &byte, 1), -1);
	assert_int_equal(d.process.pid, t.runc);
	close(p[0]);
	close(p[1]);
	finish(&d);
}

/* runc was killed: its CRIU may hold them still, and is ended before anybody goes on. */
static void who_outlives_runc_is_ended_first(void **state)
{
	const struct runc r = { .netns_fd = -1 };
	struct runc_dump d = begin(&r);

	(void)state;
	close(d.process.pidfd);
	d.process.pid = 0;
	d.process.pidfd = -1;
	d.killed = true;
	runc_dump_hurry(&d);
	assert_true(d.killed);
	runc_dump_let_go(&d, &t.program, 1);
	assert_false(d.killed);
	assert_int_equal(d.status_fd, -1);
}

static void a_thread_that_is_held_is_one_too_many(void **state)
{
	int ended = (int)syscall(SYS_pidfd_open, t.runc, 0);
	int64_t start = clock_mono_us();
	char byte;

	(void)state;
	assert_int_equal(read(t.status_r, &byte, 1), 1);
	assert_int_equal(dump_hold_wait(&t.program, 1, (int[2]){ -1, ended }, start + 50000), -ETIMEDOUT);
	assert_in_range(clock_mono_us() - start, 50000, LONG_US);
	/* The first is let go of, the second is not yet. */
	assert_int_equal(page_server_end(-1, t.port), 0);
	usleep(SLOW_US * 3 / 4);
	assert_true(is_held());
	/* Who waited for CRIU has ended: it says so itself. */
	kill(t.runc, SIGKILL);
	assert_int_equal(dump_hold_wait(&t.program, 1, (int[2]){ -1, ended }, clock_mono_us() + LONG_US), 1);
	close(ended);
	close(t.status_r);
}

static void who_is_gone_is_not_held(void **state)
{
	pid_t gone = fork();
	int ended = (int)syscall(SYS_pidfd_open, t.runc, 0);

	(void)state;
	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	assert_int_equal(dump_hold_wait(&gone, 1, (int[2]){ ended, -1 }, clock_mono_us() + LONG_US), 0);
	close(ended);
	close(t.status_r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_has_let_go_is_not_waited_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_is_hurried_lets_go_meanwhile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_is_not_ready_is_made_to_give_up, set_up_unready, tear_down),
		cmocka_unit_test_setup_teardown(who_stands_at_its_gate_is_left_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_outlives_runc_is_ended_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_thread_that_is_held_is_one_too_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_is_gone_is_not_held, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
