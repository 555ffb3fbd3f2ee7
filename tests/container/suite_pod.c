/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../process_check.h"
#include "base/clock.h"
#include "box.h"
#include "check.h"
#include "container/bundle.h"
#include "container/containerd.h"

/* The count in the container's file system, read through its upper folder as the agent reads files. */
static int64_t count(const struct place *at, const struct pod_container *c)
{
	char path[1200];
	int64_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s%s/tmp/counter.0", at->here, c->upperdir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && read(fd, &n, sizeof(n)) != sizeof(n))
		n = -1;
	if (fd >= 0)
		close(fd);
	return n;
}

static void bundle(const struct place *at, const struct pod_container *c, const char *uid)
{
	char root[64];
	struct bundle *b = NULL;
	struct error err = { 0 };
	const char *got;
	int fd, r;

	snprintf(root, sizeof(root), "%s/", at->here);
	fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = bundle_load(fd, c->bundle, &b, &err);
	close(fd);
	if (!check(r == 0, "its bundle is read %s", err.message))
		return;
	got = bundle_annotation(b, "io.kubernetes.cri.sandbox-uid");
	check(got && !strcmp(got, uid), "its annotations name the pod");
	check(b->n_mounts > 5 && b->cgroups_path[0] && !strncmp(b->netns, "/", 1) && !b->terminal,
	      "%d mounts, cgroup %s, netns %s", b->n_mounts, b->cgroups_path, b->netns);
	bundle_free(b);
}

static void freeze(const struct place *at, const struct pod_containers *pod, const struct pod_container *c)
{
	pid_t pids[CONTAINERS_MAX];
	struct freezer f = { .pod_fd = -1 };
	struct error err = { 0 };
	int64_t n, t;
	int r;

	for (int i = 0; i < pod->n; i++)
		pids[i] = pod->items[i].task_pid;
	r = box_freezer(at, pids, pod->n, &f, &err);
	if (!check(r == 0 && f.pod_fd >= 0, "the pod's cgroups are found (v%d) %s", f.v2 ? 2 : 1, err.message))
		return;
	t = clock_mono_us();
	r = freezer_freeze(&f, t + 20000000, &err);
	check(r == 0, "the pod freezes (%lld us) %s", (long long)(clock_mono_us() - t), r ? err.message : "");
	n = count(at, c);
	sleep_ms(300);
	check(n > 0 && count(at, c) == n, "its program does not count while frozen");
	check(freezer_thaw(&f, &err) == 0, "thaw");
	sleep_ms(300);
	check(count(at, c) > n + 50, "its program counts on");
	freezer_close(&f);
}

void suite_pod(const struct place *at, const char *socket, const char *uid, const char *name)
{
	struct pod_containers *pod = calloc(1, sizeof(*pod));
	const struct pod_container *c = NULL;
	struct containerd *cd = NULL;
	struct error err = { 0 };
	char version[64] = "";
	pid_t pid = 0;
	int sandboxes = 0;
	char path[128];

	snprintf(path, sizeof(path), "%s%s", at->here, socket);
	if (!check(containerd_open(path, &cd, &err) == 0 && containerd_version(cd, version, sizeof(version), &err) == 0,
		   "containerd is %s %s", version, err.message))
		return;
	check(containerd_pod(cd, "0c0ffee0-0000-0000-0000-000000000000", pod, &err) == 0 && pod->n == 0,
	      "a pod that is not there has no containers");
	check(containerd_pod(cd, "\",name~=x", pod, &err) == -EINVAL, "what is no UID does not reach containerd's filter");
	check(containerd_pod(cd, uid, pod, &err) == 0 && pod->n >= 2, "the pod has %d running containers %s", pod->n,
	      err.message);
	for (int i = 0; i < pod->n; i++) {
		sandboxes += pod->items[i].sandbox;
		if (!strcmp(pod->items[i].name, name))
			c = &pod->items[i];
	}
	check(sandboxes == 1, "one of them is the sandbox");
	if (check(c && c->task_pid > 1 && c->upperdir[0] == '/', "container %s: pid %d, upper folder %s", name,
		  c ? c->task_pid : 0, c ? c->upperdir : "")) {
		struct runc r = { .host_pid = at->host_pid, .root = "/run/containerd/runc/k8s.io", .netns_fd = -1 };

		check(runc_init_pid(&r, c->id, &pid, &err) == 0 && pid == c->task_pid, "runc knows the same init");
		check(process_check(pid, &err) == 0, "nothing is found against it %s", err.message);
		bundle(at, c, uid);
		freeze(at, pod, c);
	}
	containerd_close(cd);
	free(pod);
}
