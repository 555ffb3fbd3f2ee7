/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "container/cgroup_mount.h"
#include "container/cgroup_path.h"
#include "container/freezer.h"
#include "migration/reason.h"

static void paths_are_found_in_proc_cgroup(void **state)
{
	static const struct {
		const char *text, *path;        /* NULL: refused */
		bool v2;
	} cases[] = {
		{ "0::/kubepods.slice/x\n", "/kubepods.slice/x", true },
		{ "0::/\n", "/", true },
		{ "9:memory:/m\n6:freezer:/kubepods/podu/c\n0::/elsewhere\n", "/kubepods/podu/c", false },
		{ "6:freezer:/no newline", "/no newline", false },
		{ "1:name=systemd:/a:b\n0::/c:d\n", "/c:d", true },
		{ "9:memory:/m\n", NULL, false },
		{ "0::/../../kubepods/x\n", NULL, false },      /* of another cgroup namespace */
		{ "0::relative\n", NULL, false },
		{ "garbage\n", NULL, false },
		{ "", NULL, false },
	};
	char out[CGROUP_PATH_MAX], small[8];
	bool v2;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = cgroup_path_parse(cases[i].text, false, out, sizeof(out), &v2);

		assert_int_equal(r, cases[i].path ? 0 : -EBADMSG);
		if (cases[i].path) {
			assert_string_equal(out, cases[i].path);
			assert_int_equal(v2, cases[i].v2);
		}
	}
	/* version 1 is mounted somewhere, and not where runc looks */
	assert_int_equal(cgroup_path_parse("9:memory:/m\n6:freezer:/f\n0::/kubepods/podu/c\n", true, out, sizeof(out), &v2), 0);
	assert_string_equal(out, "/kubepods/podu/c");
	assert_true(v2);
	assert_int_equal(cgroup_path_parse("6:freezer:/f\n", true, out, sizeof(out), &v2), -EBADMSG);
	assert_int_equal(cgroup_path_parse("0::/12345678\n", false, small, sizeof(small), &v2), -ENAMETOOLONG);
}

static void groups_are_split_at_the_pod(void **state)
{
	static const struct {
		const char *in[3], *pod, *out[3];
	} cases[] = {
		/* cgroupfs driver, one that went into a group of its own (systemd in the container) */
		{ { "/kubepods/burstable/pod1-2/a/init.scope", "/kubepods/burstable/pod1-2/b" }, "/kubepods/burstable/pod1-2",
		  { "/kubepods/burstable/pod1-2/a", "/kubepods/burstable/pod1-2/b" } },
		/* systemd driver, alone: its own subgroup must not be taken for the container's */
		{ { "/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-a.scope/sub/sub" }, "/kubepods.slice/kubepods-pod1_2.slice",
		  { "/kubepods.slice/kubepods-pod1_2.slice/cri-containerd-a.scope" } },
		{ { "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podu.slice/a" },
		  "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podu.slice",
		  { "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podu.slice/a" } },
		/* no kubelet's names: the common parent */
		{ { "/x/y/a", "/x/y/b/c", "/x/y/a2" }, "/x/y", { "/x/y/a", "/x/y/b", "/x/y/a2" } },
		{ { "/x/y/a" }, "/x/y", { "/x/y/a" } },
		/* different pods: nothing above both but the root, which is never frozen */
		{ { "/podu/a", "/podv/b" }, "", { "/podu/a", "/podv/b" } },
		{ { "/a" }, "", { "/a" } },
		{ { "/" }, "", { "/" } },
		/* a pod's own group, without a container below */
		{ { "/kubepods/podu" }, "/kubepods", { "/kubepods/podu" } },
	};
	struct cgroup_paths *p = calloc(1, sizeof(*p));

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(p, 0, sizeof(*p));
		for (p->n = 0; p->n < 3 && cases[i].in[p->n]; p->n++)
			snprintf(p->group[p->n], CGROUP_PATH_MAX, "%s", cases[i].in[p->n]);
		cgroup_paths_split(p);
		assert_string_equal(p->pod, cases[i].pod);
		for (int k = 0; k < p->n; k++)
			assert_string_equal(p->group[k], cases[i].out[k]);
	}
	free(p);
}

/* A folder of plain files: what is written stays, and no state is ever reached. */
struct fake {
	char dir[64];
	struct freezer f;
};

static void make_file(int dir, const char *name, const char *text)
{
	assert_int_equal(file_write(dir, name, text, strlen(text), 0600, false, NULL), 0);
}

static bool holds(int dir, const char *name, const char *text)
{
	struct buf b = BUF_INIT(256);
	bool yes = file_read(dir, name, &b, NULL) == 0 && !strncmp(b.data, text, strlen(text));

	buf_free(&b);
	return yes;
}

static void fake_new(struct fake *k, bool v2)
{
	*k = (struct fake){ .f = { .pod_fd = -1, .n = 2, .v2 = v2 } };
	snprintf(k->dir, sizeof(k->dir), "/tmp/test-freezer-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	k->f.pod_fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(mkdirat(k->f.pod_fd, i ? "b" : "a", 0700), 0);
		k->f.group_fd[i] = openat(k->f.pod_fd, i ? "b" : "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	for (int i = 0; i < 3; i++) {
		int fd = i < 2 ? k->f.group_fd[i] : k->f.pod_fd;

		make_file(fd, v2 ? "cgroup.freeze" : "freezer.state", v2 ? "0" : "THAWED");
		if (v2)
			make_file(fd, "cgroup.events", "populated 1\nfrozen 0\n");
	}
}

static void fake_free(struct fake *k)
{
	freezer_close(&k->f);
	tree_remove(AT_FDCWD, k->dir, NULL);
}

static void a_freeze_that_takes_too_long_is_taken_back(void **state)
{
	(void)state;
	for (int v2 = 0; v2 < 2; v2++) {
		const char *file = v2 ? "cgroup.freeze" : "freezer.state", *thawed = v2 ? "0" : "THAWED";
		struct error e = { 0 };
		struct fake k;
		int64_t t;

		fake_new(&k, v2);
		t = clock_mono_us();
		assert_int_equal(freezer_freeze(&k.f, t + 50000, &e), -ETIMEDOUT);
		t = clock_mono_us() - t;
		assert_true(t >= 50000 && t < 5000000);
		assert_int_equal(e.reason, REASON_FreezeFailed);
		assert_non_null(strstr(e.message, "container 0"));
		assert_true(holds(k.f.pod_fd, file, thawed) && holds(k.f.group_fd[0], file, thawed) && holds(k.f.group_fd[1], file, thawed));
		fake_free(&k);
	}
}

static void one_group_that_cannot_be_frozen_thaws_all(void **state)
{
	struct error e = { 0 };
	struct fake k;

	(void)state;
	fake_new(&k, false);
	assert_int_equal(unlinkat(k.f.group_fd[1], "freezer.state", 0), 0);
	assert_int_equal(freezer_freeze(&k.f, clock_mono_us() + 1000000, &e), -ENOENT);
	assert_int_equal(e.reason, REASON_FreezeFailed);
	assert_true(holds(k.f.group_fd[0], "freezer.state", "THAWED") && holds(k.f.pod_fd, "freezer.state", "THAWED"));
	/* A group that is gone needs no thaw. */
	assert_int_equal(freezer_thaw(&k.f, &e), 0);
	fake_free(&k);
}

static void pids_are_listed_with_subgroups_and_limits(void **state)
{
	struct fake k;
	pid_t p[4];
	int sub;

	(void)state;
	fake_new(&k, true);
	make_file(k.f.group_fd[0], "cgroup.procs", "10\n11\n");
	assert_int_equal(mkdirat(k.f.group_fd[0], "sub", 0700), 0);
	sub = openat(k.f.group_fd[0], "sub", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_file(sub, "cgroup.procs", "12\n");
	assert_int_equal(freezer_pids(&k.f, 0, p, 4), 3);
	assert_int_equal(p[0] + p[1] + p[2], 33);
	assert_int_equal(freezer_pids(&k.f, 0, p, 3), 3);
	assert_int_equal(freezer_pids(&k.f, 0, p, 2), -E2BIG);
	assert_int_equal(freezer_pids(&k.f, 1, p, 4), 0);
	close(sub);
	fake_free(&k);
}

static void nonsense_is_refused(void **state)
{
	struct freezer f;
	struct error e = { 0 };
	pid_t pid = 1 << 30;

	(void)state;
	assert_int_equal(freezer_open("/sys/fs/cgroup", &pid, 0, &f, &e), -EINVAL);
	assert_int_equal(freezer_open("/sys/fs/cgroup", &pid, FREEZER_GROUPS_MAX + 1, &f, &e), -EINVAL);
	assert_int_equal(freezer_open("/sys/fs/cgroup", &pid, 1, &f, &e), -ENOENT);
	pid = getpid();
	assert_true(freezer_open("/nowhere", &pid, 1, &f, &e) < 0);
}

/* Where cgroup v2 is mounted already (a second mount would take its options from it). */
static bool find_version2(char *out, size_t size)
{
	struct buf text = BUF_INIT(4u << 20);
	unsigned int mask;
	bool found = false;

	assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", &text, NULL), 0);
	for (char *line = text.data, *end; *line && !found; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		found = cgroup_mount_parse(line, out, size, &mask);
	}
	buf_free(&text);
	return found;
}

#define MORTALS 50

/* They end with us also where a check fails while they stand still. */
static pid_t start_in(int procs_fd)
{
	char text[16];
	pid_t pid = fork();

	if (pid == 0)
		for (prctl(PR_SET_PDEATHSIG, SIGKILL);;)
			pause();
	snprintf(text, sizeof(text), "%d", pid);
	assert_int_equal(write_full(procs_fd, text, strlen(text)), 0);
	return pid;
}

/* The group is frozen all the same while one of its processes is being killed. */
static void who_is_killed_does_not_make_it_seem_thawed(struct freezer *f, const pid_t *mortals)
{
	struct error e = { 0 };
	bool frozen = false;

	for (int i = 0; i < MORTALS; i++) {
		assert_int_equal(kill(mortals[i], SIGKILL), 0);
		sched_yield();
		assert_int_equal(freezer_is_frozen(f, 0, &frozen, &e), 0);
		assert_true(frozen);
		waitpid(mortals[i], NULL, 0);
	}
}

/* The kernel's own: a process that counts in shared memory, in a v2 group made here.  Skipped where that cannot be (no v2, not root). */
static void the_kernel_s_v2_freezer_stops_and_starts_a_process(void **state)
{
	char root[128], path[192], pid_text[16];
	volatile uint64_t *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct freezer f = { .pod_fd = -1, .n = 1, .v2 = true };
	struct error e = { 0 };
	bool frozen = false;
	uint64_t at;
	pid_t pid, mortals[MORTALS];
	int fd;

	(void)state;
	if (!find_version2(root, sizeof(root)))
		skip();
	snprintf(path, sizeof(path), "%s/test-freezer-%d", root, getpid());
	if (mkdir(path, 0755) < 0)
		skip();
	pid = fork();
	if (pid == 0)
		for (prctl(PR_SET_PDEATHSIG, SIGKILL);;)
			++*count;
	f.group_fd[0] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(pid_text, sizeof(pid_text), "%d", pid);
	fd = openat(f.group_fd[0], "cgroup.procs", O_WRONLY | O_CLOEXEC);
	assert_int_equal(write_full(fd, pid_text, strlen(pid_text)), 0);
	for (int i = 0; i < MORTALS; i++)
		mortals[i] = start_in(fd);
	close(fd);
	assert_int_equal(freezer_freeze(&f, clock_mono_us() + 5000000, &e), 0);
	at = *count;
	usleep(100000);
	assert_int_equal(*count, at);
	assert_int_equal(freezer_is_frozen(&f, 0, &frozen, &e), 0);
	assert_true(frozen);
	who_is_killed_does_not_make_it_seem_thawed(&f, mortals);
	assert_int_equal(*count, at);
	assert_int_equal(freezer_thaw(&f, &e), 0);
	for (int i = 0; i < 500 && *count == at; i++)
		usleep(10000);
	assert_true(*count > at);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	freezer_close(&f);
	rmdir(path);
	munmap((void *)(uintptr_t)count, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_found_in_proc_cgroup),
		cmocka_unit_test(groups_are_split_at_the_pod),
		cmocka_unit_test(a_freeze_that_takes_too_long_is_taken_back),
		cmocka_unit_test(one_group_that_cannot_be_frozen_thaws_all),
		cmocka_unit_test(pids_are_listed_with_subgroups_and_limits),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(the_kernel_s_v2_freezer_stops_and_starts_a_process),
	};

	return cmocka_run_group_tests_name("container freezer", tests, NULL, NULL);
}
