/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cgroup_name.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cgroups.h"
#include "migration/names.h"
#include "monitor.h"
#include "pid_room.h"
#include "runtime/monitor.h"
#include "runtime.h"
#include "spec.h"

static int check(const struct oci_args *a, const struct spec *s, struct error *err)
{
	char path[1024];

	if (!a->id || !name_is_safe(a->id) || !a->bundle || a->bundle[0] != '/' || !a->pid_file || !a->root)
		return error_set(err, -EINVAL, "create: the id, --root, --pid-file or an absolute --bundle is missing");
	/* The terminal's other end would have to be in the images. */
	if (a->console_socket)
		return error_set(err, -ENOTSUP, "a container with a terminal cannot be restored");
	if (!s->name[0] || !s->sandbox[0])
		return error_set(err, -EINVAL, "config.json names no container or sandbox of the kubelet");
	if (cgroup_name_expand(s->cgroups_path, path, sizeof(path)) < 0)
		return error_set(err, -EINVAL, "config.json: linux.cgroupsPath \"%s\" is not understood", s->cgroups_path);
	return 0;
}

static int put_pod(const struct spec *s, struct buf *b)
{
	int r = buf_puts(b, ",\"pod\":{");

	if (r == 0)
		r = json_put_member(b, "namespace", s->pod_ns);
	if (r == 0)
		r = json_put_member(b, "name", s->pod_name);
	if (r == 0)
		r = json_put_member(b, "uid", s->pod_uid);
	return r < 0 ? r : buf_puts(b, "}");
}

/* The members of info.json that are known before there is a monitor. */
static int put_info(const struct oci_args *a, const struct spec *s, struct buf *b)
{
	const struct {
		const char *key, *value;
		bool optional;
	} text[] = {
		{ "id", a->id, false },
		{ "name", s->name, false },
		{ "sandbox", s->sandbox, false },
		{ "migration", s->migration, false },
		{ "bundle", a->bundle, false },
		{ "root", a->root, false },
		{ "cgroup", s->cgroups_path, false },
		{ "netns", s->netns, false },
		{ "keyDir", s->key_dir, true },
		{ "orderDir", s->order_dir, true },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(text) / sizeof(text[0]); i++) {
		if (text[i].optional && !text[i].value[0])
			continue;
		r = b->len ? buf_puts(b, ",") : 0;
		if (r == 0)
			r = json_put(b, text[i].key);
		if (r == 0)
			r = buf_puts(b, ":");
		if (r == 0)
			r = json_put(b, text[i].value);
	}
	if (r == 0)
		r = put_pod(s, b);
	if (r == 0)
		r = buf_puts(b, ",\"mounts\":");
	return r < 0 ? r : spec_put_mounts(s, b);
}

/* An id is used again only after `delete`; what a crash of the node's container runtime left behind is not in the way. */
static int clear_record(const char *id, struct error *err)
{
	struct record old;
	int fd;

	if (!record_load(id, &old))
		return 0;
	fd = record_monitor(&old);
	if (fd >= 0) {
		close(fd);
		return error_set(err, -EEXIST, "container with given ID already exists");
	}
	return tree_remove(AT_FDCWD, old.dir, err);
}

static int write_pid(const char *path, pid_t pid, struct error *err)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", pid);

	return file_write(AT_FDCWD, path, text, (size_t)n, 0644, false, err);
}

/* The monitor has been told to go, or has ended and left nothing. */
static int start_monitor(const struct oci_args *a, const struct monitor_spec *spec, struct error *err)
{
	cleanup_close int go = -1;
	pid_t pid;
	int r = monitor_spawn(spec, &pid, &go, err);

	if (r < 0) {
		struct cgroups all;
		char dir[RECORD_DIR_MAX];

		if (record_dir(a->id, dir) == 0)
			tree_remove(AT_FDCWD, dir, NULL);
		if (cgroups_current(&all, NULL) == 0)
			cgroups_remove(&all, spec->cgroups_path);
		return r;
	}
	r = write_pid(a->pid_file, pid, err);
	if (r == 0 && write_full(go, "g", 1) == 0)
		return 0;
	close(take_fd(&go));
	waitpid(pid, NULL, 0);
	unlink(a->pid_file);
	return r < 0 ? r : error_set(err, -EIO, "the monitor ended at once");
}

/* info.json last, as a monitor does. */
static int write_cold(const char *dir, const char *info, struct error *err)
{
	cleanup_buf struct buf b = BUF_INIT(RECORD_INFO_MAX);
	char path[RECORD_DIR_MAX + 32];
	int r = dir_make(AT_FDCWD, dir, 0700, err);

	if (r == 0)
		r = record_set_state(dir, STATE_COLD, err);
	if (r == 0 && (path_format(path, sizeof(path), "%s/%s", dir, MONITOR_INFO) < 0 || buf_printf(&b, "{%s}\n", info) < 0))
		r = error_set(err, -ENOSPC, "config.json has too many mounts");
	return r < 0 ? r : file_write(AT_FDCWD, path, b.data, b.len, 0600, false, err);
}

/*
 * An order to move the pod on is found by way of the container that mounts the order's volume, also when it was started anew.  The container starts all the same when
 * that cannot be written; the pod then stays where it is.
 */
static void note_cold(const struct oci_args *a, const struct spec *s)
{
	cleanup_buf struct buf info = BUF_INIT(RECORD_INFO_MAX);
	char dir[RECORD_DIR_MAX];

	if (!s->order_dir[0] || record_dir(a->id, dir) < 0 || clear_record(a->id, NULL) < 0)
		return;
	if (put_info(a, s, &info) < 0 || write_cold(dir, info.data, NULL) < 0)
		tree_remove(AT_FDCWD, dir, NULL);
}

static int create_waiting(const struct oci_args *a, const struct spec *s, const struct claim_key *key, struct error *err)
{
	cleanup_buf struct buf info = BUF_INIT(RECORD_INFO_MAX);
	char dir[1024];
	struct monitor_spec spec = {
		.id = a->id,
		.root = a->root,
		.bundle = a->bundle,
		.cgroups_path = s->cgroups_path,
		.netns = s->netns,
		.userns = s->userns,
		.systemd_cgroup = a->systemd_cgroup,
		.claim = *key,
		.migration = s->migration,
		.program_dir = dir,
	};
	int r = clear_record(a->id, err);

	if (r < 0)
		return r;
	/* Where that is not possible a restore may fail, before the commit. */
	if (s->pidns[0])
		pid_room_make(s->pidns, s->sandbox, NULL);
	if (program_dir(dir, sizeof(dir)) < 0)
		return error_set(err, -EIO, "the folder of podmigration-runtime cannot be found out");
	if (put_info(a, s, &info) < 0)
		return error_set(err, -ENOSPC, "config.json has too many mounts");
	spec.info = info.data;
	return start_monitor(a, &spec, err);
}

/* Before the commit the source may go on; behind it, it is the only one that has the memory. */
static int refuse_cold(const struct spec *s, bool committed, struct error *err)
{
	if (!committed)
		return error_set(err, -ECANCELED,
				 "the restore of container %s by migration %s failed or was aborted; it is not tried twice, and not started "
				 "from its image while the source may run",
				 s->name, s->migration);
	return error_set(err, -ECANCELED,
			 "container %s did not come up here with its memory, although migration %s is committed; it is not started from its image: only the frozen source "
			 "still holds what it knew. Save that, then delete this pod, or annotate it with " PM_ANN_START_COLD "=true to start the container without",
			 s->name, s->migration);
}

/* 1: an ordinary container from here on, 0: a monitor waits. */
static int create_migrated(const struct oci_args *a, struct spec *s, struct error *err)
{
	const struct claim_key key = { s->pod_uid[0] ? s->pod_uid : s->sandbox, s->name, s->pod_dir };
	enum claim claim;
	bool committed;
	int r = check(a, s, err);

	if (r == 0)
		r = spec_cut_mounts(s, a->bundle, err);
	if (r == 0)
		r = claim_look(&key, &claim, &committed, err);
	if (r < 0)
		return r;
	/* The migration's end is behind it, or nothing is known of this one: the kubelet starts it as any container. */
	if (claim == CLAIM_OPENED || (claim == CLAIM_NONE && committed) || (committed && spec_may_start_cold(s))) {
		r = claim_cold(&key, err);
		if (r == 0)
			note_cold(a, s);
		return r < 0 ? r : 1;
	}
	return claim == CLAIM_NONE ? create_waiting(a, s, &key, err) : refuse_cold(s, committed, err);
}

int command_create(const struct oci_args *a)
{
	struct error err = { 0 };
	struct spec s;
	int r = spec_load(a->bundle, &s, &err);
	/* What is not a container's bundle is for runc to complain about. */
	bool ours = r == 0 && spec_is_migrated(&s);

	if (ours)
		r = create_migrated(a, &s, &err);
	spec_free(&s);
	if (!ours || r == 1)
		return runc_exec(a);
	return r < 0 ? report_error(a, &err) : 0;
}
