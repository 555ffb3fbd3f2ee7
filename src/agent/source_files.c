/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

/*
 * The files of a pod: the upper folder of each container's overlay, and the volumes.  While it runs they are sent as memory is, in rounds; while it is frozen
 * only what differs from what was sent.  A tree on a file system of which nobody knows what its times tell, and all of them to an agent that does not know this,
 * are sent while it is frozen.
 */

#define CATCH_UP_TIMEOUT_US 600000000
#define LITTLE (4u << 20)               /* bytes: less is not worth another walk */
#define ENTRY_WORTH 16384u              /* bytes that one could send in the time that a file takes */
#define SLACK_BYTES (64u << 20)
#define SLACK_ENTRIES 10000u

struct place {
	uint16_t container;
	const char *tree, *path;
	bool overlay;
	const struct id_range *ids;
	struct tree_record *record;
	struct tree_stats *stats;
};

static struct place place_of_container(struct source_container *c)
{
	return (struct place){ c->index, "rootfs", c->info.upperdir, true, &c->bundle->ids, c->files, &c->tree };
}

static struct place place_of_volume(struct source *s, int i)
{
	return (struct place){ WIRE_NO_CONTAINER, s->volumes.items[i].tree, s->volumes.items[i].path, false, &s->volumes.items[i].ids, s->volume_files[i], &s->volume_tree };
}

static int open_place(const struct source *s, const struct place *p, struct error *err)
{
	char host[4096];
	int fd;

	if (agent_host_path(s->o, host, sizeof(host), "%s", p->path) < 0)
		return error_set(err, -ENAMETOOLONG, "path too long: %s", p->path);
	fd = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, "open %s", p->path) : fd;
}

static int send_place(struct source *s, const struct place *p, const struct tree_mapped *mapped, bool running, struct error *err)
{
	cleanup_close int dir = open_place(s, p, err);
	struct tree_source from = { .wire = s->wire, .container = p->container, .tree = p->tree, .dir_fd = dir, .overlay = p->overlay, .running = running,
				    .record = p->record, .mapped = mapped, .ids = p->ids };
	int r = dir < 0 ? dir : tree_send(&from, p->stats, err);

	return r < 0 ? error_wrap(err, r, "files of %s", p->tree) : 0;
}

/* --- while it runs --- */

/*
 * A container has a folder of the volume mounted by itself (subPath): the kubelet of the destination has done so before anything comes, and the folder must stay the same one.
 * <pod>/volumes/kubernetes.io~empty-dir/NAME, and beside it <pod>/volume-subpaths/NAME (pkg/volume/util/subpath).
 */
static bool has_folders_mounted(const struct source *s, const struct place *p)
{
	const char *name = strrchr(p->path, '/');
	char pod_dir[1024], host[4096];

	return name && volumes_pod_dir(p->path, pod_dir, sizeof(pod_dir)) == 0 && agent_host_path(s->o, host, sizeof(host), "%s/volume-subpaths%s", pod_dir, name) == 0 &&
	       access(host, F_OK) == 0;
}

static int make_record(struct source *s, const struct place *p, struct tree_record **ret, struct error *err)
{
	cleanup_close int dir = open_place(s, p, err);
	enum tree_tells tells = dir < 0 ? TREE_TELLS_NOTHING : tree_tells(dir);
	uint64_t room = dir < 0 || p->overlay ? UINT64_MAX : tree_room(dir);

	if (dir < 0)
		return dir;
	/* Where there is little room the folder may have to become empty once more (tree_room). */
	if (tells == TREE_TELLS_NOTHING || (room != UINT64_MAX && has_folders_mounted(s, p)))
		return 0;
	return tree_record_new(&s->ahead, tells, room, ret, err);
}

static int make_records(struct source *s, struct error *err)
{
	int r = 0;

	s->ahead = (struct tree_ahead){ .memory_max = TREE_RECORD_MAX, .entries_max = WIRE_FILES_MAX, .bytes_max = UINT64_MAX };
	for (int i = 0; r == 0 && i < s->n; i++) {
		struct place p = place_of_container(&s->containers[i]);

		r = make_record(s, &p, &s->containers[i].files, err);
	}
	for (int i = 0; r == 0 && i < s->volumes.n; i++) {
		struct place p = place_of_volume(s, i);

		r = make_record(s, &p, &s->volume_files[i], err);
	}
	return r;
}

/* Of every process of the pod: any of them can have a file of any tree mapped. */
static int look_at_mapped(struct source *s, bool running, struct tree_mapped **ret, struct error *err)
{
	int r = tree_mapped_new(ret, err);

	for (int i = 0; r == 0 && i < s->n; i++) {
		pid_t pids[SOURCE_PROCESSES_MAX];
		int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

		if (n < 0)
			r = error_set(err, n, "container %s: its processes cannot be listed", s->containers[i].info.name);
		for (int k = 0; r == 0 && k < n; k++)
			r = tree_mapped_add(*ret, pids[k], running, err);
	}
	return r;
}

static int walk(struct source *s, struct error *err)
{
	struct tree_mapped *mapped = NULL;
	int64_t start = clock_mono_us();
	int r = look_at_mapped(s, true, &mapped, err);

	for (int i = 0; r == 0 && i < s->n; i++) {
		struct place p = place_of_container(&s->containers[i]);

		r = p.record ? send_place(s, &p, mapped, true, err) : 0;
	}
	for (int i = 0; r == 0 && i < s->volumes.n; i++) {
		struct place p = place_of_volume(s, i);

		r = p.record ? send_place(s, &p, mapped, true, err) : 0;
	}
	tree_mapped_free(mapped);
	s->walks++;
	s->walks_us += clock_mono_us() - start;
	return r;
}

/* What is sent again must keep within what the other side takes (WIRE_AHEAD_TIMES), whatever the program does to its files. */
static void bound_the_rest(struct tree_ahead *a)
{
	uint64_t most = (uint64_t)WIRE_FILES_MAX * WIRE_AHEAD_TIMES;

	a->bytes_max = a->bytes * 2 + SLACK_BYTES;
	a->entries_max = a->entries * 2 + SLACK_ENTRIES < most ? a->entries * 2 + SLACK_ENTRIES : most;
}

static uint64_t worth(const struct tree_ahead *a)
{
	return a->bytes + a->entries * ENTRY_WORTH;
}

/* The other side must not be behind when the pod is frozen: a small file takes it longer than it takes us. */
static int catch_up(struct source *s, struct error *err)
{
	cleanup_json cJSON *ask = cJSON_CreateObject(), *answer = NULL;
	int r = wire_send_json(s->wire, WIRE_CATCH_UP, WIRE_NO_CONTAINER, ask, err);

	return r == 0 ? source_expect(s, WIRE_CAUGHT_UP, CATCH_UP_TIMEOUT_US, &answer, err) : r;
}

int source_files_ahead(struct source *s, struct error *err)
{
	uint64_t last = UINT64_MAX;
	int r = 0;

	if ((!s->precopy && !s->postcopy) || s->protocol < WIRE_PROTOCOL_AHEAD)
		return 0;
	r = make_records(s, err);
	/* The last walk is source_files_again's, as long as there is memory to send meanwhile. */
	while (r == 0 && s->walks < TREE_WALKS_MAX - 1) {
		uint64_t before = worth(&s->ahead), sent;

		r = walk(s, err);
		if (s->walks == 1)
			bound_the_rest(&s->ahead);
		sent = worth(&s->ahead) - before;
		if (sent <= LITTLE || sent > last / 10 * 7)
			break;
		last = sent;
	}
	return r == 0 ? catch_up(s, err) : r;
}

int source_files_again(struct source *s, struct error *err)
{
	return s->walks ? walk(s, err) : 0;
}

/* --- frozen --- */

int source_files_freeze(struct source *s, struct error *err)
{
	if (!s->walks)
		return 0;
	log_info("files went ahead", LOG_S("migration", s->journal.migration), LOG_N("walks", s->walks), LOG_N("entries", (int64_t)s->ahead.entries),
		 LOG_N("bytes", (int64_t)s->ahead.bytes), LOG_N("micros", s->walks_us));
	return look_at_mapped(s, false, &s->mapped, err);
}

int source_send_root(struct source_container *c, struct error *err)
{
	struct place p = place_of_container(c);

	return send_place(c->source, &p, c->source->mapped, false, err);
}

int source_send_volumes(struct source *s, struct error *err)
{
	int64_t start = clock_mono_us();
	int r = 0;

	for (int i = 0; r == 0 && i < s->volumes.n; i++) {
		struct place p = place_of_volume(s, i);

		r = send_place(s, &p, s->mapped, false, err);
	}
	s->volumes_us = clock_mono_us() - start;
	return r;
}

void source_files_free(struct source *s)
{
	for (int i = 0; i < s->n; i++)
		tree_record_free(s->containers[i].files);
	for (int i = 0; i < POD_VOLUMES_MAX; i++)
		tree_record_free(s->volume_files[i]);
	tree_mapped_free(s->mapped);
}
