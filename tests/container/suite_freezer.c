/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "box.h"
#include "check.h"
#include "container/process_info.h"

#define GROUP "/container-test/podct-freezer"

static bool same_counts(const struct box *a, const struct box *b, int ms)
{
	int64_t from[4] = { box_count(a, 0), box_count(a, 1), box_count(b, 0), box_count(b, 1) };

	sleep_ms(ms);
	return from[0] == box_count(a, 0) && from[1] == box_count(a, 1) && from[2] == box_count(b, 0) &&
	       from[3] == box_count(b, 1);
}

static void freeze_and_thaw(struct freezer *f, const struct box *a, const struct box *b)
{
	struct error err = { 0 };
	bool frozen = true;
	int64_t t = clock_mono_us(), us;
	int r = freezer_freeze(f, t + 20000000, &err);

	us = clock_mono_us() - t;
	check(r == 0, "two containers freeze (%lld us) %s", (long long)us, r ? err.message : "");
	check(same_counts(a, b, 200), "no process counts while frozen");
	for (int i = 0; i < 2; i++)
		check(freezer_is_frozen(f, i, &frozen, &err) == 0 && frozen, "container %d is reported frozen", i);
	check(freezer_refreeze(f, 0, clock_mono_us() + 20000000, &err) == 0, "freezing a frozen container again is fine");
	check(freezer_thaw(f, &err) == 0 && freezer_thaw(f, &err) == 0, "thaw, twice");
	check(box_counts_on(a) && box_counts_on(b), "both count again");
	check(freezer_is_frozen(f, 0, &frozen, &err) == 0 && !frozen, "container 0 is reported thawed");
}

/*
 * All four processes stop by one write: what the first still counts after the last has stopped would show as drift between two
 * looks.
 */
static void one_instant(struct freezer *f, const struct box *a, const struct box *b)
{
	struct error err = { 0 };
	int64_t longest = 0;
	int moved = 0;

	for (int i = 0; i < 20; i++) {
		int64_t t = clock_mono_us();

		if (freezer_freeze(f, t + 20000000, &err) < 0)
			break;
		longest = clock_mono_us() - t > longest ? clock_mono_us() - t : longest;
		moved += !same_counts(a, b, 5);
		freezer_thaw(f, &err);
		sleep_ms(5);
	}
	check(moved == 0, "20 freezes in a row: nothing moves after freezer_freeze has returned (longest %lld us)",
	      (long long)longest);
}

static void pids(struct freezer *f, const struct box *a)
{
	pid_t p[16];
	int n = freezer_pids(f, 0, p, 16);

	check(n == 2 && (p[0] == a->pid || p[1] == a->pid), "the group's processes are listed (%d)", n);
	check(freezer_pids(f, 0, p, 1) == -E2BIG, "more processes than room is an error");
}

/* A vfork parent sleeps uninterruptibly until its child execs; v1 and v2 both wait for it. */
static void deadline(struct freezer *f, const struct box *a)
{
	struct error err = { 0 };
	int64_t t = clock_mono_us();
	int r;

	r = freezer_freeze(f, t - 1, &err);
	check(r == 0 || (r == -ETIMEDOUT && strstr(err.message, "did not freeze in time")), "a deadline in the past: %s",
	      r ? err.message : "frozen at once");
	freezer_thaw(f, &err);
	check(box_counts_on(a), "it counts on");
}

static void stuck_child(int ready)
{
	pid_t p;

	(void)!write(ready, "x", 1);
	p = vfork();
	if (p == 0) {
		sleep(30);
		_exit(0);
	}
	_exit(0);
}

/* A child moved into the group by hand, blocked in vfork(2): its parent state is D for as long as its child sleeps. */
static void uninterruptible(struct freezer *f, const struct box *a)
{
	struct error err = { 0 };
	char text[16];
	int p[2], fd, r;
	int64_t t;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return;
	if (pid == 0) {
		setpgid(0, 0);
		stuck_child(p[1]);
	}
	(void)!read(p[0], text, 1);
	close(p[0]);
	close(p[1]);
	sleep_ms(50);
	snprintf(text, sizeof(text), "%d", pid);
	fd = openat(f->group_fd[0], "cgroup.procs", O_WRONLY | O_CLOEXEC);
	r = write_full(fd, text, strlen(text));
	close(fd);
	t = clock_mono_us();
	/* With nsdelegate a process cannot come in from outside of the cgroup namespace (cgroup-v2.rst, Delegation Containment). */
	if (r == -ENOENT)
		printf("# not tried: a process in vfork(2): the group's namespace lets nobody in\n");
	r = r < 0 ? r : freezer_freeze(f, t + 300000, &err);
	if (r != -ENOENT)
		check(r == -ETIMEDOUT || r == 0, "a process in vfork(2): %s after %lld ms", r == 0 ? "frozen" : err.message[0] ? err.message : strerror(-r),
		      (long long)(clock_mono_us() - t) / 1000);
	if (r == -ETIMEDOUT)
		check(box_counts_on(a), "a freeze that failed leaves all running");
	freezer_thaw(f, &err);
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static pid_t idle_member(const struct freezer *f)
{
	cleanup_close int fd = openat(f->group_fd[0], "cgroup.procs", O_WRONLY | O_CLOEXEC);
	pid_t pid = fork();
	char text[16];

	if (pid == 0)
		for (;;)
			pause();
	snprintf(text, sizeof(text), "%d", pid);
	check(fd >= 0 && write_full(fd, text, strlen(text)) == 0, "cgroup v2: a process joins");
	return pid;
}

/* Two processes: in v2 the first that is killed ends at once, and its group counts as frozen no more. */
static void version2_group(struct freezer *f)
{
	struct error err = { 0 };
	bool frozen = false;
	pid_t pid = idle_member(f), second = idle_member(f), got[4];
	int of, r;

	check(freezer_pids(f, 0, got, 4) == 2 && got[0] + got[1] == pid + second, "cgroup v2: its processes are listed");
	r = freezer_freeze(f, clock_mono_us() + 60000000, &err);
	check(r == 0 && freezer_is_frozen(f, 0, &frozen, &err) == 0 && frozen, "cgroup v2: frozen %s", r ? err.message : "");
	check(freezer_refreeze(f, 0, clock_mono_us() + 20000000, &err) == 0, "cgroup v2: frozen again");
	r = freezer_thaw(f, &err);
	check(r == 0 && freezer_is_frozen(f, 0, &frozen, &err) == 0 && !frozen, "cgroup v2: thawed");
	check(freezer_kill(f, 0, &err) == -ESTALE && kill(pid, 0) == 0, "cgroup v2: what runs is not ended");
	err = (struct error){ 0 };
	r = freezer_freeze(f, clock_mono_us() + 60000000, &err);
	check(r == 0 && freezer_kill(f, 0, &err) == 0, "cgroup v2: ended while frozen %s", err.message);
	check(waitpid(pid, &of, 0) == pid && WIFSIGNALED(of) && waitpid(second, &of, 0) == second && WIFSIGNALED(of), "cgroup v2: all of it");
}

/* What is frozen ends without counting once more, also when it was asked to end before; the other container stays as it is. */
static void kill_frozen(struct freezer *f, const struct box *a, const struct box *b)
{
	struct error err = { 0 };
	int64_t before[2], end = clock_mono_us() + 5000000;
	uint64_t waiting = 0;
	pid_t p[16], child;
	int r = freezer_kill(f, 0, &err), n;

	check(r == -ESTALE && box_counts_on(a), "a container that runs is not ended");
	err = (struct error){ 0 };
	r = freezer_freeze(f, clock_mono_us() + 20000000, &err);
	before[0] = box_count(a, 0);
	before[1] = box_count(a, 1);
	n = freezer_pids(f, 0, p, 16);
	/* Not the first one: init of a pid namespace is not sent what it does not handle (kernel/signal.c, sig_task_ignored). */
	child = n == 2 ? p[p[0] == a->pid] : -1;
	check(r == 0 && child > 0 && kill(child, SIGTERM) == 0, "a process of it is asked to end");
	check(process_pending_signals(child, &waiting, &err) == 0 && (waiting & (1u << (SIGTERM - 1))), "a frozen process's SIGTERM waits");
	check(process_pending_signals(b->pid, &waiting, &err) == 0 && !(waiting & (1u << (SIGTERM - 1))), "and only its");
	check(freezer_kill(f, 0, &err) == 0, "a frozen container is ended %s", err.message);
	while (freezer_pids(f, 0, p, 16) > 0 && clock_mono_us() < end)
		sleep_ms(5);
	check(freezer_pids(f, 0, p, 16) == 0, "all of its processes have ended");
	check(box_count(a, 0) == before[0] && box_count(a, 1) == before[1], "without another count");
	check(freezer_thaw(f, &err) == 0 && box_counts_on(b), "the other one runs on");
}

/* Where cgroup v2 is mounted; "" when it is not. */
static void find_version2(char out[128])
{
	struct buf text = BUF_INIT(4u << 20);
	char *tail, *line = NULL;

	out[0] = '\0';
	if (file_read(AT_FDCWD, "/proc/self/mountinfo", &text, NULL) == 0 && (tail = strstr(text.data, " - cgroup2 "))) {
		*tail = '\0';
		line = strrchr(text.data, '\n');
		line = line ? line + 1 : text.data;
		if (sscanf(line, "%*d %*d %*s %*s %127s", out) != 1)
			out[0] = '\0';
	}
	buf_free(&text);
}

/* Whatever version the node's containers use: v2 on groups made here, in a mount of its own where there is none. */
static void version2(void)
{
	char own[] = "/tmp/ct-v2-XXXXXX", root[128], path[192];
	struct freezer f = { .pod_fd = -1, .n = 1, .v2 = true };

	find_version2(root);
	/* A second mount would take the options of the first from it, as CRIU's does. */
	if (!root[0]) {
		if (!check(mkdtemp(own) && mount("none", own, "cgroup2", 0, NULL) == 0, "mount cgroup v2"))
			return;
		snprintf(root, sizeof(root), "%s", own);
	}
	snprintf(path, sizeof(path), "%s/ct-v2-%d", root, getpid());
	if (check(mkdir(path, 0755) == 0 && (f.pod_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0 &&
			  mkdirat(f.pod_fd, "c", 0755) == 0,
		  "make cgroup v2 groups in %s", root)) {
		f.group_fd[0] = openat(f.pod_fd, "c", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		version2_group(&f);
		unlinkat(f.pod_fd, "c", AT_REMOVEDIR);
		freezer_close(&f);
		rmdir(path);
	}
	if (!strcmp(root, own)) {
		umount(own);
		rmdir(own);
	}
}

void suite_freezer(const struct place *at)
{
	struct box a = { 0 }, b = { 0 };
	struct freezer f;
	struct error err = { 0 };

	if (check(box_start(&a, at, "ct-a", GROUP, "count", 4) && box_start(&b, at, "ct-b", GROUP, "count", 4),
		  "start two containers") &&
	    check(box_freezer(at, (pid_t[]){ a.pid, b.pid }, 2, &f, &err) == 0 && f.pod_fd >= 0 && f.n == 2,
		  "their groups and the pod's are found %s", err.message)) {
		freeze_and_thaw(&f, &a, &b);
		one_instant(&f, &a, &b);
		pids(&f, &a);
		deadline(&f, &a);
		uninterruptible(&f, &a);
		kill_frozen(&f, &a, &b);
		freezer_close(&f);
	}
	box_stop(&a);
	box_stop(&b);
	version2();
}
