/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "box.h"
#include "check.h"
#include "container/fence.h"

#define GROUP "/container-test/podct-fence"

static bool cgroup_is_there(const char *root, const struct fence *f, const char *id)
{
	char path[1400];

	snprintf(path, sizeof(path), "%s%s%s/%s", root, f->v2 ? "" : "/pids", f->group, id);
	return access(path, F_OK) == 0;
}

/* Whoever writes the pod's limit back, as systemd does for a slice of its own, does not open the fence. */
static void guarded(const char *root, struct fence *f)
{
	struct fence_guard *guard = NULL;
	struct error err = { 0 };
	int64_t end = clock_mono_us() + 10000000;
	char path[1200], text[16] = "";
	int fd;

	check(fence_guard_start(root, f, &guard, &err) == 0 && guard, "the fence is guarded %s", err.message);
	snprintf(path, sizeof(path), "%s%s%s/pids.max", root, f->v2 ? "" : "/pids", f->group);
	check(fence_lift(root, f, &err) == 0, "somebody opens it %s", err.message);
	do {
		sleep_ms(5);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		memset(text, 0, sizeof(text));
		if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 1)
			text[0] = '\0';
		if (fd >= 0)
			close(fd);
	} while (strcmp(text, "0\n") && clock_mono_us() < end);
	check(!strcmp(text, "0\n"), "it is closed again");
	fence_guard_stop(guard);
}

static void closed(const struct place *at, const char *root, struct fence *f, struct box *a)
{
	struct box b = { 0 };
	struct fence again = { 0 };
	struct error err = { 0 };

	check(fence_close(root, f, &err) == 0 && fence_close(root, f, &err) == 0, "the fence is closed, twice %s", err.message);
	check(!box_start(&b, at, "ct-fence-b", GROUP, "count", 4), "no second container starts in the pod");
	box_stop(&b);
	check(box_counts_on(a), "the first one counts on");
	check(fence_look(root, a->pid, &again, &err) == 0 && !strcmp(again.limit, f->limit), "a fence that was left closed is no limit to be put back (%s)", again.limit);
	guarded(root, f);
}

static void lifted(const struct place *at, const char *root, struct fence *f, struct box *a)
{
	struct box b = { 0 };
	struct error err = { 0 };

	check(fence_lift(root, f, &err) == 0 && fence_lift(root, f, &err) == 0, "the fence is lifted, twice %s", err.message);
	check(box_start(&b, at, "ct-fence-b", GROUP, "count", 4), "a second container starts");
	check(fence_close(root, f, &err) == 0, "closed again");
	box_stop(&b);
	box_stop(a);
	check(kill(a->pid, 0) < 0 && kill(b.pid, 0) < 0 && !cgroup_is_there(root, f, "ct-fence-a") && !cgroup_is_there(root, f, "ct-fence-b"),
	      "behind a closed fence containers are ended and removed");
	fence_lift(root, f, &err);
}

/* Where the machine's controllers belong to version 1 a view of version 2 alone has none, and the fence nothing to stand on. */
static bool is_without_controllers(const char *root)
{
	char path[160], text[256] = "";
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/cgroup.controllers", root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n >= 0 && !strstr(text, "pids");
}

void suite_fence(const struct place *at)
{
	struct fence f = { 0 }, none = { 0 };
	struct error err = { 0 };
	struct box a = { 0 };
	char root[128];

	snprintf(root, sizeof(root), "%s/sys/fs/cgroup", at->here);
	if (is_without_controllers(root)) {
		printf("# not tried: the fence: no pids controller here\n");
		return;
	}
	if (check(box_start(&a, at, "ct-fence-a", GROUP, "count", 4), "start a container") &&
	    check(fence_look(root, a.pid, &f, &err) == 0 && fence_is_sound(&f) && strstr(f.group, "podct-fence"), "the pod's limit of processes is found: %s in %s %s", f.limit,
		  f.group, err.message)) {
		closed(at, root, &f, &a);
		lifted(at, root, &f, &a);
		snprintf(strrchr(f.group, '/'), 16, "/podct-nobody");
		check(fence_close(root, &f, &err) == 0 && fence_lift(root, &f, &err) == 0, "a pod's group that is gone needs no fence");
	}
	box_stop(&a);
	check(fence_close(root, &none, &err) == 0 && fence_lift(root, &none, &err) == 0, "no fence: nothing is done");
	check(fence_look(root, at->host_pid ? at->host_pid : getpid(), &none, &err) == -ENOENT, "a process that is in no pod has none");
}
