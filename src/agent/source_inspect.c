/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "container/process_info.h"
#include "container/smaps.h"
#include "migration/reason.h"

static int find_container(struct source *s, struct source_container *c, struct error *err)
{
	int r = containerd_check_runtime(&c->info, s->o->runc_root, err);

	if (r == 0)
		r = runc_init_pid(&s->runc, c->info.id, &c->init_pid, err);
	return r < 0 ? error_wrap(err, r, "container %s", c->info.name) : 0;
}

/* --- what of one container, and of its processes, is in the way --- */

static int check_snapshotter(struct source *s, struct source_container *c, struct error *err)
{
	(void)s;
	return c->info.upperdir[0] ? 0 : error_reason(err, -ENOTSUP, REASON_UnsupportedContainer, "its snapshotter is not overlayfs, so its file changes cannot be read");
}

static int check_terminal(struct source *s, struct source_container *c, struct error *err)
{
	(void)s;
	return c->bundle->terminal ? error_reason(err, -ENOTSUP, REASON_TerminalAttached, "it has a terminal") : 0;
}

static int check_filled(struct source *s, struct source_container *c, struct error *err)
{
	(void)s;
	return source_wait_filled(c, err);
}

/* containerd's CRI plugin notes it in each bundle; the PodMigration's namespace has another name in another cluster. */
static int find_namespace(struct source *s, struct source_container *c, struct error *err)
{
	const char *ns = bundle_annotation(c->bundle, "io.kubernetes.cri.sandbox-namespace");

	return ns && text_copy(s->journal.pod_ns, sizeof(s->journal.pod_ns), ns) < 0 ? error_set(err, -EINVAL, "config.json names a namespace that is too long") : 0;
}

static int check_volumes(struct source *s, struct source_container *c, struct error *err)
{
	return volumes_add(s->o, c->bundle, &s->volumes, err);
}

/* Negative, with err, when the migration was given up meanwhile. */
static int check_container(struct source *s, struct source_container *c, struct obstacles *out, struct error *err)
{
	static int (*const checks[])(struct source *, struct source_container *, struct error *) = { find_namespace, check_snapshotter, check_terminal, check_filled, check_volumes };
	struct error one = { 0 };
	char dir[4096];
	int r = agent_host_path(s->o, dir, sizeof(dir), "%s", c->info.bundle) < 0 ? error_set(&one, -ENAMETOOLONG, "bundle path too long") : bundle_load(AT_FDCWD, dir, &c->bundle, &one);

	obstacles_take(out, r, &one);
	if (r < 0)
		return 0;
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		one = (struct error){ 0 };
		r = checks[i](s, c, &one);
		if (r == -ECANCELED) {
			*err = one;
			return r;
		}
		obstacles_take(out, r, &one);
	}
	return 0;
}

static void check_processes(struct source *s, int i, struct obstacles *out)
{
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

	if (n < 0)
		obstacles_add(out, REASON_NONE, "its processes cannot be listed: %s", strerror(-n));
	for (int k = 0; k < n; k++) {
		struct error one = { 0 };
		/* Not one of the container's own: it is not dumped (source_strangers.c). */
		int r = process_descends(pids[k], s->containers[i].init_pid) ? process_find_obstacles(pids[k], out, &one) : 0;

		/* A process that has ended in between is no obstacle. */
		if (r != -ENOENT && r != -ESRCH)
			obstacles_take(out, r, &one);
	}
}

#define SAY_SYSV "let only one container attach it, or share files in an emptyDir with medium Memory"

/* A mapping of a System V segment is called "/SYSV<key>" in maps (ipc/shm.c). */
static bool attaches_shm(pid_t pid)
{
	cleanup_buf struct buf b = BUF_INIT(16 << 20);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	return file_read(AT_FDCWD, path, &b, NULL) == 0 && strstr(b.data, " /SYSV");
}

/* The first container from this one on that has System V shared memory attached; -1: none. */
static int next_attached(struct source *s, int from)
{
	pid_t pids[SOURCE_PROCESSES_MAX];

	for (int i = from; i < s->n; i++) {
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		for (int k = 0; k < n; k++)
			if (attaches_shm(pids[k]))
				return i;
	}
	return -1;
}

int source_ipc_owner(struct source *s)
{
	int i = next_attached(s, 0);

	return i < 0 ? 0 : i;
}

/* CRIU takes the containers one by one, each with all IPC objects of the pod: those of one are restored (destination_restore.c), and another one's processes would find other memory, or none. */
static void check_sysv(struct source *s, struct obstacles *out)
{
	int first = next_attached(s, 0), second = first < 0 ? -1 : next_attached(s, first + 1);

	if (second >= 0)
		obstacles_add(out, REASON_UnsupportedContainer, "containers %s and %s both have System V shared memory attached, and only one container can take it along; " SAY_SYSV,
			      s->containers[first].info.name, s->containers[second].info.name);
}

int source_check_attached(const struct source_container *c, struct error *err)
{
	const struct source *s = c->source;

	if (!c->sysv || c->index == s->ipc_owner)
		return 0;
	return error_reason(err, -ENOTSUP, REASON_UnsupportedContainer,
			    "it has attached System V shared memory since the pod was checked, when container %s was to take the pod's along, and only one can; " SAY_SYSV ", and try again",
			    s->containers[s->ipc_owner].info.name);
}

static int open_freezer(struct source *s, struct error *err)
{
	pid_t pids[WIRE_CONTAINERS_MAX];
	char root[4096];
	int r;

	for (int i = 0; i < s->n; i++)
		pids[i] = s->containers[i].init_pid;
	if (agent_host_path(s->o, root, sizeof(root), "/sys/fs/cgroup") < 0)
		return error_set(err, -ENAMETOOLONG, "cgroup path too long");
	r = freezer_open(root, pids, s->n, &s->freezer, err);
	s->freezer_ready = r == 0;
	return r;
}

static int list_containers(struct source *s, int (*list)(struct containerd *, const char *, struct pod_containers *, struct error *), struct pod_containers *all,
			   struct error *err)
{
	char socket[4096];
	int r;

	if (agent_host_path(s->o, socket, sizeof(socket), "%s", s->o->containerd_socket) < 0)
		return error_set(err, -ENAMETOOLONG, "containerd socket path too long");
	r = s->containerd ? 0 : containerd_open(socket, &s->containerd, err);
	return r == 0 ? list(s->containerd, s->journal.pod_uid, all, err) : r;
}

static int take_containers(struct source *s, const struct pod_containers *all, struct error *err)
{
	s->n = 0;
	for (int i = 0; i < all->n; i++) {
		struct source_container *c = &s->containers[s->n];
		int r;

		if (all->items[i].sandbox)
			continue;
		if (s->n == WIRE_CONTAINERS_MAX)
			return error_set(err, -E2BIG, "the pod has more than %d containers", WIRE_CONTAINERS_MAX);
		*c = (struct source_container){ .source = s, .index = (uint16_t)s->n, .info = all->items[i] };
		s->n++;
		r = find_container(s, c, err);
		if (r < 0)
			return r;
	}
	if (s->n == 0)
		return error_reason(err, -ENOENT, REASON_PodNotRunning, "containerd runs no container of pod %s", s->journal.pod_name);
	return 0;
}

int source_find(struct source *s, struct error *err)
{
	struct pod_containers *all = calloc(1, sizeof(*all));
	int r;

	if (!all)
		return error_set(err, -ENOMEM, "out of memory");
	r = list_containers(s, containerd_pod, all, err);
	if (r == 0)
		r = take_containers(s, all, err);
	free(all);
	return r == 0 ? open_freezer(s, err) : r;
}

bool source_pod_gone(struct source *s)
{
	struct pod_containers *all = calloc(1, sizeof(*all));
	struct error ignored = { 0 };
	bool gone = all && list_containers(s, containerd_pod, all, &ignored) == 0 && all->n == 0;

	free(all);
	return gone;
}

static void thaw_dead(struct source *s, const struct pod_container *c)
{
	struct error why = { 0 };
	int r = runc_thaw_dead(&s->runc, c->id, &why);

	if (r < 0)
		log_warning("whether a killed container was left frozen is not known", LOG_S("container", c->name), LOG_S("err", why.message));
	if (r > 0)
		log_info("a killed container had been left frozen, and can be deleted now", LOG_S("container", c->name));
}

/* Whoever has found the containers knows them without containerd, which may not answer just now. */
int source_thaw_dead(struct source *s, struct error *err)
{
	struct pod_containers *all;
	int r;

	for (int i = 0; i < s->n; i++)
		thaw_dead(s, &s->containers[i].info);
	if (!s->resumed)
		return 0;
	/* Who came later has found only those that live. */
	all = calloc(1, sizeof(*all));
	r = all ? list_containers(s, containerd_pod_dead, all, err) : error_set(err, -ENOMEM, "out of memory");
	for (int i = 0; r == 0 && i < all->n; i++)
		if (!all->items[i].sandbox)
			thaw_dead(s, &all->items[i]);
	free(all);
	return r;
}

/* Each container, and then what they have in common: all is looked at, that a person need not try again to hear of the next. */
static void check_containers(struct source *s, struct obstacles *out)
{
	for (int i = 0; i < s->n; i++) {
		obstacles_at(out, "container", s->containers[i].info.name);
		check_processes(s, i, out);
	}
	obstacles_at(out, NULL, NULL);
	check_sysv(s, out);
}

int source_inspect(struct source *s, struct error *err)
{
	struct obstacles found = { 0 };
	int r = source_find(s, err);

	for (int i = 0; r == 0 && i < s->n; i++) {
		obstacles_at(&found, "container", s->containers[i].info.name);
		r = check_container(s, &s->containers[i], &found, err);
	}
	obstacles_at(&found, NULL, NULL);
	if (r == 0)
		r = source_wait_strangers(s, &found, err);
	if (r < 0)
		return r;
	check_containers(s, &found);
	return obstacles_error(&found, err);
}

static uint64_t resident_bytes(pid_t pid)
{
	unsigned long long size, resident;
	cleanup_buf struct buf b = BUF_INIT(256);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	if (file_read(AT_FDCWD, path, &b, NULL) < 0 || sscanf(b.data, "%llu %llu", &size, &resident) != 2)
		return 0;
	return resident * 4096;
}

uint64_t source_state_bytes(struct source *s)
{
	pid_t pids[SOURCE_PROCESSES_MAX];
	uint64_t sum = 0;

	for (int i = 0; s->freezer_ready && i < s->n; i++) {
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		for (int k = 0; k < n; k++)
			sum += resident_bytes(pids[k]);
	}
	return sum;
}

void source_release(struct source *s)
{
	source_files_free(s);
	for (int i = 0; i < s->n; i++) {
		bundle_free(s->containers[i].bundle);
		pages_known_free(s->containers[i].known);
		shared_free(s->containers[i].shared);
		free(s->containers[i].processes);
		source_blinkers_free(s->containers[i].blinkers);
		packer_free(s->containers[i].packer);
		track_set_free(s->containers[i].tracks);
	}
	if (s->freezer_ready)
		freezer_close(&s->freezer);
	containerd_close(s->containerd);
	source_fence_end(s);
	smaps_free(s->smaps);
	s->smaps = NULL;
	warm_stop(s->warm);
	s->warm = NULL;
	if (s->runc.netns_fd >= 0)
		close(s->runc.netns_fd);
	record_close(s->record);
	cJSON_Delete(s->welcome);
	cJSON_Delete(s->prepared);
	cJSON_Delete(s->running);
	explicit_bzero(s->key, sizeof(s->key));
}
