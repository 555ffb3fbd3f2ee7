/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "../../src/runtime/monitor.h"

/* Folders that look like a hierarchy: whom the death of a container's monitor ends. */

static char root[] = "/tmp/pm-cgroups-XXXXXX";

static pid_t put_process(const char *group)
{
	char path[512], text[32];
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	snprintf(path, sizeof(path), "%s/memory%s", root, group);
	assert_int_equal(dir_make(AT_FDCWD, path, 0700, NULL), 0);
	snprintf(path, sizeof(path), "%s/memory%s/cgroup.procs", root, group);
	snprintf(text, sizeof(text), "%d\n", pid);
	assert_int_equal(file_write(AT_FDCWD, path, text, strlen(text), 0600, false, NULL), 0);
	return pid;
}

static bool was_killed(pid_t pid)
{
	int st = 0;

	for (int i = 0; i < 50; i++) {
		if (waitpid(pid, &st, WNOHANG) == pid)
			return WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL;
		usleep(2000);
	}
	return false;
}

/* A container that may makes groups of its own (systemd, another container runtime); its pod's other containers stand beside it. */
static void whoever_is_below_is_killed_too(void **state)
{
	struct cgroups *all = calloc(1, sizeof(*all));
	pid_t own = put_process("/kubepods/pod1/c1"), inner = put_process("/kubepods/pod1/c1/init.scope"), deep = put_process("/kubepods/pod1/c1/a/b/c/d");
	pid_t other = put_process("/kubepods/pod1/c2"), above = put_process("/kubepods/pod1");

	(void)state;
	all->n = 1;
	snprintf(all->items[0].mount, sizeof(all->items[0].mount), "%s/memory", root);
	assert_true(cgroups_kill(all, "/kubepods/pod1/c1"));
	assert_true(was_killed(own));
	assert_true(was_killed(inner));
	assert_true(was_killed(deep));
	assert_false(was_killed(other));
	assert_false(was_killed(above));
	/* Nor is anything by a name that means more than the container. */
	snprintf(all->items[0].path, sizeof(all->items[0].path), "/kubepods/pod1/shim");
	assert_false(cgroups_kill(all, "/kubepods/pod1"));
	assert_false(cgroups_kill(all, "//"));
	assert_false(cgroups_kill(all, "/kubepods/pod1/."));
	assert_false(was_killed(above));
	/* Nobody is left: who asks until then may stop. */
	assert_false(cgroups_kill(all, "/kubepods/pod1/c1"));
	assert_false(cgroups_kill(all, "/kubepods/pod1/gone"));
	kill(other, SIGKILL);
	kill(above, SIGKILL);
	waitpid(other, NULL, 0);
	waitpid(above, NULL, 0);
	free(all);
}

/* runc and CRIU were both killed in the midst of a restore: no container is known of that `runc delete` could delete. */
static void a_restore_that_was_killed_leaves_nothing(void **state)
{
	struct monitor_spec spec = { .id = "pm-test-none", .root = root, .cgroups_path = "/kubepods/pod2/c1", .program_dir = root };
	struct monitor *m = calloc(1, sizeof(*m));
	pid_t pid = put_process("/kubepods/pod2/c1");

	(void)state;
	*m = (struct monitor){ .spec = &spec, .signal_fd = -1, .listen_fd = -1, .agent_fd = -1, .relay_listen_fd = -1, .relay = RELAY_NONE, .gate_fd = -1, .init_fd = -1,
			       .filler = FILLER_NONE, .guard = GUARD_NONE, .given = { -1, -1, -1 }, .exit_status = -1, .state = STATE_RESTORING };
	m->home.n = 1;
	snprintf(m->home.items[0].mount, sizeof(m->home.items[0].mount), "%s/memory", root);
	snprintf(m->home.items[0].path, sizeof(m->home.items[0].path), "/shim");
	snprintf(m->dir, sizeof(m->dir), "%s", root);
	snprintf(m->work, sizeof(m->work), "%s", root);
	restore_ended(m, SIGKILL);
	assert_int_equal(m->state, STATE_FAILED);
	assert_int_equal(m->exit_status, MONITOR_EXIT_FAILED);
	assert_non_null(strstr(m->error.message, "signal 9"));
	assert_true(was_killed(pid));
	free(m);
}

static void a_container_sees_its_own_groups(void **state)
{
	struct cgroups here = { .n = 2 };
	char path[1024];

	(void)state;
	snprintf(here.items[0].mount, sizeof(here.items[0].mount), "/sys/fs/cgroup/cpu,cpuacct");
	snprintf(here.items[0].path, sizeof(here.items[0].path), "/system.slice/containerd.service");
	snprintf(here.items[1].mount, sizeof(here.items[1].mount), "/sys/fs/cgroup/memory");
	snprintf(here.items[1].path, sizeof(here.items[1].path), "/");
	assert_string_equal(cgroups_own_source(&here, "/kubepods/pod1/c", "/sys/fs/cgroup/cpu,cpuacct/system.slice/containerd.service", path, sizeof(path)), "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c");
	assert_string_equal(cgroups_own_source(&here, "/kubepods/pod1/c", "/sys/fs/cgroup/memory", path, sizeof(path)), "/sys/fs/cgroup/memory/kubepods/pod1/c");
	assert_string_equal(cgroups_own_source(&here, "kubepods-pod1.slice:cri-containerd:c", "/sys/fs/cgroup/cpu,cpuacct", path, sizeof(path)),
			    "/sys/fs/cgroup/cpu,cpuacct/kubepods.slice/kubepods-pod1.slice/cri-containerd-c.scope");
	/* A volume, another group, a hierarchy that is not there. */
	assert_null(cgroups_own_source(&here, "/kubepods/pod1/c", "/var/lib/kubelet/pods/1/volumes/v", path, sizeof(path)));
	assert_null(cgroups_own_source(&here, "/kubepods/pod1/c", "/sys/fs/cgroup/memory/other", path, sizeof(path)));
	assert_null(cgroups_own_source(&here, "/kubepods/pod1/c", "/sys/fs/cgroup/pids", path, sizeof(path)));
	assert_null(cgroups_own_source(&here, "/kubepods/pod1/c", "/sys/fs/cgroup/memory", path, 30));
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	(void)state;
	return tree_remove(AT_FDCWD, root, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(whoever_is_below_is_killed_too), cmocka_unit_test(a_restore_that_was_killed_leaves_nothing), cmocka_unit_test(a_container_sees_its_own_groups) };

	return cmocka_run_group_tests(tests, make_root, remove_root);
}
