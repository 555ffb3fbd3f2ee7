/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/calm.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "container/criu_images.h"
#include "contents.h"
#include "handshake.h"
#include "record.h"
#include "migration/reason.h"
#include "net/address.h"
#include "net/loopback.h"
#include "runtime/monitor.h"

static int protocol_error(struct error *err, const char *what)
{
	return error_reason(err, -EPROTO, REASON_ProtocolError, "%s", what);
}

/* --- where things go --- */

static int open_dir(const struct agent_options *o, const char *path, int *ret, struct error *err)
{
	char host[4096];

	if (agent_host_path(o, host, sizeof(host), "%s", path) < 0)
		return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
	*ret = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? error_errno(err, "open %s", path) : 0;
}

static int make_dir(const struct agent_options *o, const char *path, struct error *err)
{
	char host[4096];

	if (agent_host_path(o, host, sizeof(host), "%s", path) < 0)
		return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
	return dir_make(AT_FDCWD, host, 0700, err);
}

/* What the pod has mounted here instead of what it had there must be the same. */
static int check_contents(struct destination *d, const struct bundle *b, struct obstacles *found, struct error *err)
{
	cleanup_json cJSON *here = cJSON_CreateObject();
	int r = contents_add(d->o, b, here, err);

	if (r == 0)
		contents_compare(json_at(d->hello, "contents"), here, found);
	return r;
}

static int open_container(struct destination *d, struct destination_container *c, struct obstacles *found, struct error *err)
{
	char path[4096];
	struct bundle *b = NULL;
	int r = 0;

	if (path_format(c->images, sizeof(c->images), "%s/%u/images", d->run_dir, c->index) < 0 ||
	    path_format(c->work, sizeof(c->work), "%s/%u/work", d->run_dir, c->index) < 0 ||
	    path_format(path, sizeof(path), "%s/rootfs", c->info.bundle) < 0)
		return error_set(err, -ENAMETOOLONG, "path of container %s too long", c->info.name);
	r = make_dir(d->o, c->images, err);
	if (r == 0)
		r = make_dir(d->o, c->work, err);
	if (r == 0)
		r = open_dir(d->o, c->images, &c->images_fd, err);
	if (r == 0)
		r = open_dir(d->o, path, &c->rootfs_fd, err);
	if (r == 0)
		r = tree_apply_new(c->rootfs_fd, &d->files, &c->tree, err);
	if (r == 0 && agent_host_path(d->o, path, sizeof(path), "%s", c->info.bundle) == 0)
		r = bundle_load(AT_FDCWD, path, &b, err);
	if (r == 0)
		r = volumes_add(d->o, b, &d->volumes, err);
	if (r == 0) {
		c->ids = b->ids;
		tree_apply_ids(c->tree, &c->ids);
	}
	if (r == 0 && c->index == 0)
		r = check_contents(d, b, found, err);
	bundle_free(b);
	return r;
}

static int check_space(struct destination *d, int dir_fd, struct obstacles *found, struct error *err)
{
	struct statvfs v;
	int64_t need = 0;

	json_int(d->hello, "stateBytes", 0, 1ll << 50, &need);
	if (fstatvfs(dir_fd, &v) < 0)
		return error_errno(err, "statvfs %s", PM_RUN_DIR);
	/* Pages are kept once in the store and once in CRIU's image. */
	if ((uint64_t)v.f_bavail * v.f_frsize < (uint64_t)need * 2 + (16 << 20))
		obstacles_add(found, REASON_NoSpace, "node %s: %s has %llu MiB free, the pod's state needs about %llu MiB twice", d->o->node, PM_RUN_DIR,
			      (unsigned long long)v.f_bavail * v.f_frsize >> 20, (unsigned long long)need >> 20);
	if ((uint64_t)need > d->o->max_bytes)
		obstacles_add(found, REASON_NoSpace, "the pod's state of %llu MiB is above this agent's limit of %llu MiB", (unsigned long long)need >> 20,
			      (unsigned long long)d->o->max_bytes >> 20);
	return 0;
}

int destination_open_parts(struct destination *d, struct obstacles *found, struct error *err)
{
	cleanup_close int dir = -1;
	int r;

	d->shared_now = -1;
	d->files = (struct tree_budget){ .max_bytes = d->o->max_bytes * WIRE_AHEAD_TIMES, .max_entries = (uint64_t)WIRE_FILES_MAX * WIRE_AHEAD_TIMES,
					 .max_folders = WIRE_FOLDERS_MAX };
	for (int i = 0; i < POD_VOLUMES_MAX; i++)
		d->shared_fd[i] = -1;
	r = make_dir(d->o, d->run_dir, err);
	if (r == 0)
		r = open_dir(d->o, d->run_dir, &dir, err);
	if (r == 0)
		r = check_space(d, dir, found, err);
	for (int i = 0; r == 0 && i < d->n; i++)
		r = open_container(d, &d->containers[i], found, err);
	/* One for all of a pod's containers. */
	if (r == 0)
		ids_check(d->hello, d->containers[0].ids.count, found);
	if (r == 0)
		r = page_store_new(dir, d->o->max_bytes, &d->store, err);
	return r;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void destination_close_parts(struct destination *d)
{
	for (int i = 0; i < d->n; i++) {
		struct destination_container *c = &d->containers[i];

		tree_apply_free(c->tree);
		c->tree = NULL;
		close_fd(&c->image_fd);
		close_fd(&c->images_fd);
		close_fd(&c->rootfs_fd);
	}
	for (int i = 0; i < d->volumes.n; i++) {
		tree_apply_free(d->shared[i]);
		d->shared[i] = NULL;
		close_fd(&d->shared_fd[i]);
	}
	page_store_free(d->store);
	d->store = NULL;
	warm_stop(d->warm);
	d->warm = NULL;
}

/* --- frames --- */

static int open_shared(struct destination *d, const char *tree, struct error *err)
{
	const struct pod_volume *v = volumes_find(&d->volumes, tree);
	int i = v ? (int)(v - d->volumes.items) : -1, r;

	if (!v)
		return error_reason(err, -EPROTO, REASON_UnsupportedVolume, "the destination pod has no %s", tree);
	d->shared_now = i;
	if (d->shared[i])
		return 0;
	r = open_dir(d->o, v->path, &d->shared_fd[i], err);
	if (r == 0)
		r = tree_apply_new(d->shared_fd[i], &d->files, &d->shared[i], err);
	if (r == 0)
		tree_apply_ids(d->shared[i], &v->ids);
	return r;
}

/* What goes ahead while the pod runs, goes into the mounted roots and volumes all the same: nothing runs there, and the whole pod is deleted when nothing comes of it. */
static int check_ahead(const struct destination *d, struct error *err)
{
	if (d->frozen_us)
		return 0;
	if (d->protocol < WIRE_PROTOCOL_AHEAD)
		return protocol_error(err, "a file came before FROZEN");
	return d->containers[0].started ? 0 : protocol_error(err, "a file came before STARTED");
}

static int on_file(struct destination *d, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *j = NULL;
	const char *tree;
	int r = check_ahead(d, err);

	if (r == 0)
		r = wire_json(f, &j, err);

	if (r < 0)
		return r;
	if (json_bool(j, "patch") && d->protocol < WIRE_PROTOCOL_AHEAD)
		return protocol_error(err, "a patch, and this version knows none");
	tree = json_str_or(j, "tree", "");
	if (f->container == WIRE_NO_CONTAINER) {
		if (d->shared_done)
			return protocol_error(err, "a file of a volume came after a container's end");
		r = open_shared(d, tree, err);
		return r == 0 ? tree_apply_file(d->shared[d->shared_now], j, err) : r;
	}
	if (strcmp(tree, "rootfs"))
		return protocol_error(err, "a container's own tree is not rootfs");
	d->containers[f->container].in_tree = true;
	return tree_apply_file(d->containers[f->container].tree, j, err);
}

static bool image_is_open(const struct destination_container *c)
{
	return c->image_fd >= 0 && c->image_at < c->image_size;
}

static int on_image(struct destination *d, const struct wire_frame *f, struct error *err)
{
	struct destination_container *c = &d->containers[f->container];
	cleanup_json cJSON *j = NULL;
	const char *name;
	int64_t size;
	bool stored;
	int r = wire_json(f, &j, err);

	if (r < 0)
		return r;
	name = json_str_or(j, "name", "");
	stored = json_bool(j, "stored");
	if (!criu_image_name_ok(name) || json_int(j, "size", 0, stored ? (int64_t)d->o->max_bytes : WIRE_IMAGE_MAX, &size) < 0 || (stored && size % CRIU_PAGE_SIZE))
		return protocol_error(err, "IMAGE: name or size is not allowed");
	if (image_is_open(c) || c->n_images++ == WIRE_IMAGES_MAX)
		return protocol_error(err, "IMAGE within an image, or one too many");
	close_fd(&c->image_fd);
	/* CRIU, started ahead of time, stands by at its real name (runtime/monitor.h). */
	if (!strcmp(name, "inventory.img"))
		name = MONITOR_INVENTORY;
	c->image_fd = openat(c->images_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (c->image_fd < 0)
		return error_errno(err, "create image %s", name);
	c->image_size = (uint64_t)size;
	c->image_at = 0;
	c->image_stored = stored;
	c->in_tree = false;
	/* What is not written are pages of zeros. */
	return stored && ftruncate(c->image_fd, (off_t)size) < 0 ? error_errno(err, "create image %s", name) : 0;
}

/* Memory, files and images come from one peer and share one limit.  A frame may pass it before it is seen: no more than that. */
static int check_sum(const struct destination *d, struct error *err)
{
	if (d->files.bytes + page_store_used(d->store) <= d->files.max_bytes)
		return 0;
	return error_reason(err, -ENOSPC, REASON_NoSpace, "the pod's memory and files are above this agent's limit of %llu MiB (--max-bytes)",
			    (unsigned long long)d->o->max_bytes >> 20);
}

static int write_image(struct destination_container *c, const uint8_t *data, size_t len, struct error *err)
{
	c->d->files.bytes += len;
	while (len) {
		ssize_t n = pwrite(c->image_fd, data, len, (off_t)c->image_at);

		if (n < 0 && errno != EINTR)
			return error_reason(err, -errno, errno == ENOSPC ? REASON_NoSpace : REASON_InternalError, "write an image in %s: %s",
					    PM_RUN_DIR, strerror(errno));
		if (n < 0)
			continue;
		c->image_at += (uint64_t)n;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int on_image_data(struct destination_container *c, uint64_t offset, const uint8_t *data, size_t len, struct error *err)
{
	if (c->image_fd < 0 || c->image_stored || offset != c->image_at || len > c->image_size - c->image_at)
		return protocol_error(err, "DATA beyond the image it belongs to, or not in its order");
	return write_image(c, data, len, err);
}

/* Pages that have come, with shared memory that went ahead or just now; in the store those that follow each other do so mostly in memory, too. */
static int put_stored(struct destination_container *c, const struct wire_pages *p, struct page_store_view *view, struct error *err)
{
	const uint8_t *start = page_store_zero;
	size_t len = 0;
	int r = 0;

	if (!p->ns_pid) {
		c->image_at += (uint64_t)p->pages * CRIU_PAGE_SIZE;
		return 0;
	}
	for (uint32_t i = 0; r == 0 && i < p->pages; i++) {
		const uint8_t *page = page_store_lookup(view, p->address + (uint64_t)i * CRIU_PAGE_SIZE);

		if (!page)
			return protocol_error(err, "STORED names a page that has not come");
		if (len && page == start + len && page != page_store_zero) {
			len += CRIU_PAGE_SIZE;
			continue;
		}
		r = write_image(c, start, len, err);
		c->image_at += page == page_store_zero ? CRIU_PAGE_SIZE : 0;
		start = page;
		len = page == page_store_zero ? 0 : CRIU_PAGE_SIZE;
	}
	return r == 0 ? write_image(c, start, len, err) : r;
}

static int on_stored(struct destination *d, const struct wire_frame *f, struct error *err)
{
	struct destination_container *c = &d->containers[f->container];
	int r = c->in_tree || !c->image_stored || !image_is_open(c) ? protocol_error(err, "STORED, and no such image is open") : 0;

	for (uint32_t i = 0; r == 0 && i < (f->len + WIRE_STORED_RUN - 1) / WIRE_STORED_RUN; i++) {
		struct page_store_view view = { .store = d->store, .container = f->container };
		struct wire_pages p;

		r = wire_stored_unpack(f, i, &p, err);
		if (r == 0 && (uint64_t)p.pages * CRIU_PAGE_SIZE > c->image_size - c->image_at)
			r = protocol_error(err, "STORED beyond the image it belongs to");
		view.ns_pid = p.ns_pid;
		if (r == 0)
			r = put_stored(c, &p, &view, err);
		/* A frame can name the same pages many times. */
		if (r == 0)
			r = check_sum(d, err);
	}
	return r;
}

static int on_data(struct destination *d, const struct wire_frame *f, struct error *err)
{
	uint64_t offset;

	if (f->len < sizeof(offset))
		return protocol_error(err, "DATA without offset");
	memcpy(&offset, f->body, sizeof(offset));
	if (offset > INT64_MAX - WIRE_BODY_MAX)
		return protocol_error(err, "DATA offset out of range");
	if (f->container == WIRE_NO_CONTAINER) {
		if (d->shared_now < 0)
			return protocol_error(err, "DATA before FILE");
		return tree_apply_data(d->shared[d->shared_now], offset, f->body + 8, f->len - 8, err);
	}
	if (d->containers[f->container].in_tree)
		return tree_apply_data(d->containers[f->container].tree, offset, f->body + 8, f->len - 8, err);
	return on_image_data(&d->containers[f->container], offset, f->body + 8, f->len - 8, err);
}

/* Sockets that were bound to the pod's old address by name can be bound again only where it exists. */
static int add_addresses(struct destination *d, const cJSON *list, struct error *err)
{
	cleanup_close int netns = -1;
	const cJSON *e;
	char path[4096];
	int n = cJSON_GetArraySize(list), r = 0;

	if (n == 0)
		return 0;
	if (n > ADDRESSES_MAX)
		return protocol_error(err, "FROZEN: too many addresses");
	if (agent_host_path(d->o, path, sizeof(path), "%s", d->first.netns) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the network namespace is too long");
	netns = open(path, O_RDONLY | O_CLOEXEC);
	if (netns < 0)
		return error_errno(err, "open the pod's network namespace");
	cJSON_ArrayForEach(e, list) {
		if (!cJSON_IsString(e) || address_check(e->valuestring) < 0)
			return protocol_error(err, "FROZEN: not an address of a pod");
		r = address_add(netns, e->valuestring, err);
		if (r < 0)
			return r;
	}
	return 0;
}

#define WARM_US 2000000         /* a longer pause does not miss it */

const char *const destination_files_ahead[FILES_AHEAD] = { "walks", "entries", "bytes", "micros" };

/* What went of files before, for status. */
static void note_files_ahead(struct destination *d, const cJSON *frozen)
{
	const cJSON *files = json_at(frozen, "files");

	for (int i = 0; files && i < FILES_AHEAD; i++)
		json_int(files, destination_files_ahead[i], 0, i == 0 ? INT32_MAX : 1ll << 50, &d->files_ahead[i]);
}

static int on_frozen(struct destination *d, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *j = NULL;
	int64_t us = 0, connections = 0;
	int r = d->frozen_us ? protocol_error(err, "FROZEN twice") : wire_json(f, &j, err);

	if (r == 0)
		json_int(j, "frozenMicros", 0, 60000000, &us);
	if (r == 0)
		note_files_ahead(d, j);
	d->frozen_us = clock_mono_us() - us;
	/* The deciding side speaks for a source in the other cluster. */
	if (r == 0 && d->record)
		record_progress(d->record, SOURCE_Freezing);
	/* What is left now has limits of its own (limits.h). */
	d->files.max_bytes = d->o->max_bytes;
	d->files.max_entries = WIRE_FILES_MAX;
	d->files.bytes = d->files.entries = 0;
	/* Without it the restore waits some milliseconds more. */
	if (r == 0)
		warm_start(WARM_CGROUPS | WARM_BREAKPOINTS, d->o->host_pid, WARM_US, &d->warm, NULL);
	if (r == 0)
		r = add_addresses(d, json_at(j, "addresses"), err);
	if (r == 0 && json_int(j, "connections", 1, TCP_PAIRS_MAX, &connections) == 0)
		r = destination_connections_begin(d, connections, err);
	return r;
}

static int on_pages(struct destination *d, const struct wire_frame *f, struct error *err)
{
	return page_store_put(d->store, f, err);
}

/* The source is looking through files of which there is nothing to send. */
static int on_alive(struct destination *d, const struct wire_frame *f, struct error *err)
{
	(void)f;
	return d->protocol < WIRE_PROTOCOL_AHEAD ? protocol_error(err, "ALIVE, and this version knows none") : 0;
}

static int settle_volumes(struct destination *d, struct error *err)
{
	for (int i = 0; i < d->volumes.n; i++) {
		int r = d->shared[i] ? tree_apply_settle(d->shared[i], err) : 0;

		if (r < 0)
			return error_wrap(err, r, "%s", d->volumes.items[i].tree);
	}
	return 0;
}

/* Who decides asks the API server while the pod stands still: not for a connection, too. */
static void warm_record(struct destination *d)
{
	if (d->record)
		record_warm(d->record);
}

/* The source waits until all that it sent ahead is in its place, and freezes the pod only then. */
static int on_catch_up(struct destination *d, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *answer = cJSON_CreateObject();
	int r = check_ahead(d, err);

	(void)f;
	if (r == 0 && d->frozen_us)
		r = protocol_error(err, "CATCH_UP after FROZEN");
	if (r == 0)
		r = settle_volumes(d, err);
	for (int i = 0; r == 0 && i < d->n; i++)
		r = tree_apply_settle(d->containers[i].tree, err);
	warm_record(d);
	return r == 0 ? wire_send_json(d->wire, WIRE_CAUGHT_UP, WIRE_NO_CONTAINER, answer, err) : r;
}

static int finish_volumes(struct destination *d, struct error *err)
{
	if (d->shared_done)
		return 0;
	d->shared_done = true;
	d->shared_now = -1;
	return settle_volumes(d, err);
}

/*
 * Everything of this container is here, and of the volumes too: it is restored while others are still received.  Nothing can run before the end of the
 * stream was checked (ALL_SENT): the barrier is opened much later.
 */
static int on_container_end(struct destination *d, const struct wire_frame *f, struct error *err)
{
	struct destination_container *c = &d->containers[f->container];
	int r;

	if (c->ended || image_is_open(c))
		return protocol_error(err, "CONTAINER_END twice or within an image");
	if (!c->started)
		return protocol_error(err, "CONTAINER_END before STARTED");
	c->ended = true;
	close_fd(&c->image_fd);
	r = wire_json(f, &c->sent, err);
	if (r == 0)
		r = finish_volumes(d, err);
	if (r == 0)
		r = tree_apply_settle(c->tree, err);
	if (r < 0)
		return error_wrap(err, r, "container %s", c->info.name);
	return destination_restore_one(c, err);
}

/*
 * How the memory of each container comes into its processes.  From the page store it is written once, and while the processes run already; but pages that a parent
 * and its children share (fork, copy on write) come once for each of them.  Where that would be much, CRIU reads the memory from its images: it lets them share again.  So it does in a user namespace, where CRIU may make no userfaultfd
 * (userfaultfd(2), vm.unprivileged_userfaultfd; criu/uffd.c, setup_uffd).
 */
#define SHARED_MAX (32u << 20)
#define CALM_US 200000          /* and so long again for each two containers: what the start of a pod leaves to be done grows with them */

static double number_at(const cJSON *list, int i, double otherwise)
{
	const cJSON *n = cJSON_IsArray(list) ? cJSON_GetArrayItem(list, i) : NULL;

	return cJSON_IsNumber(n) ? n->valuedouble : otherwise;
}

static void choose_way(struct destination *d, const cJSON *started)
{
	const cJSON *processes = json_at(started, "processes"), *shared = json_at(started, "shared");
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	for (int i = 0; i < d->n && fd >= 0; i++)
		d->containers[i].lazy = d->containers[i].ids.count == 0 && (number_at(processes, i, 0) == 1 || number_at(shared, i, SHARED_MAX + 1.0) <= SHARED_MAX);
	if (fd >= 0)
		close(fd);
}

/* The source asks whether most of the memory may come later. */
static int offer_later(struct destination *d, cJSON *standby, struct error *err)
{
	cJSON *list = cJSON_AddArrayToObject(standby, "later");
	int r = destination_later_begin(d, err);

	for (int i = 0; i < d->n; i++)
		cJSON_AddItemToArray(list, cJSON_CreateBool(d->containers[i].later));
	return r == 0 && d->later ? destination_note_write(d->o, d->sandbox, &d->note, err) : r;
}

/* The source's CRIU stands by; ours must, too, before the pod is stopped. */
static int on_started(struct destination *d, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *standby = cJSON_CreateObject(), *j = NULL;
	int r = wire_json(f, &j, err);

	if (r < 0)
		return r;
	if (d->containers[0].started || d->frozen_us)
		return protocol_error(err, "STARTED twice or after FROZEN");
	for (int i = 0; i < d->n; i++) {
		if (image_is_open(&d->containers[i]))
			return protocol_error(err, "STARTED within an image");
		close_fd(&d->containers[i].image_fd);
	}
	choose_way(d, j);
	r = json_bool(j, "later") ? offer_later(d, standby, err) : 0;
	if (r == 0)
		r = destination_start(d, err);
	warm_record(d);
	/* Starting a pod keeps the node busy for a while longer than it takes: the API server, the kubelet, Events. */
	if (r == 0)
		calm_wait(CALM_US + (int64_t)d->n * CALM_US / 2);
	return r == 0 ? wire_send_json(d->wire, WIRE_STANDBY, WIRE_NO_CONTAINER, standby, err) : r;
}

static int on_abort(struct destination *d, const struct wire_frame *f, struct error *err)
{
	cleanup_json cJSON *j = NULL;

	(void)d;
	if (wire_json(f, &j, err) < 0)
		return -EPROTO;
	return error_reason(err, -ECONNABORTED, reason_from_name(json_str(j, "reason")), "%s", json_str_or(j, "message", "the source gave up"));
}

static const struct {
	enum wire_type type;
	enum { OF_CONTAINER, OF_NONE, OF_BOTH } scope;
	int (*fn)(struct destination *d, const struct wire_frame *f, struct error *err);
} handler[] = {
	{ WIRE_STARTED, OF_NONE, on_started },     { WIRE_CATCH_UP, OF_NONE, on_catch_up },
	{ WIRE_ALIVE, OF_NONE, on_alive },
	{ WIRE_FROZEN, OF_NONE, on_frozen },       { WIRE_PAGES, OF_CONTAINER, on_pages }, { WIRE_ZEROS, OF_CONTAINER, on_pages },
	{ WIRE_FILE, OF_BOTH, on_file },           { WIRE_DATA, OF_BOTH, on_data },        { WIRE_IMAGE, OF_CONTAINER, on_image },
	{ WIRE_STORED, OF_CONTAINER, on_stored },
	{ WIRE_CONTAINER_END, OF_CONTAINER, on_container_end },                             { WIRE_ABORT, OF_NONE, on_abort },
};

static int dispatch(struct destination *d, const struct wire_frame *f, struct error *err)
{
	int r;

	for (size_t i = 0; i < sizeof(handler) / sizeof(handler[0]); i++) {
		bool none = f->container == WIRE_NO_CONTAINER;

		if (handler[i].type != f->type)
			continue;
		if ((none && handler[i].scope == OF_CONTAINER) || (!none && (handler[i].scope == OF_NONE || f->container >= d->n)))
			return protocol_error(err, "a frame names a container that is not there");
		if (!none && d->containers[f->container].ended)
			return protocol_error(err, "a frame of a container came after its CONTAINER_END");
		r = handler[i].fn(d, f, err);
		return r == 0 ? check_sum(d, err) : r;
	}
	return error_reason(err, -EPROTO, REASON_ProtocolError, "frame type %d is not allowed while state is received", f->type);
}

static int check_ended(const struct destination *d, struct error *err)
{
	for (int i = 0; i < d->n; i++)
		if (!d->containers[i].ended)
			return error_wrap(err, protocol_error(err, "it never ended"), "container %s", d->containers[i].info.name);
	return 0;
}

#define LIVE_US 5000000

/* The deciding side speaks for a source in the other cluster: how much has come, while the pod runs there. */
static void tell_live(struct destination *d)
{
	int64_t now = clock_mono_us();

	if (!d->record || d->frozen_us || now - d->told_us < LIVE_US)
		return;
	if (d->told_us)
		record_live(d->record, (int64_t)wire_bytes_received(d->wire), NULL);
	d->told_us = now;
}

int destination_receive(struct destination *d, struct error *err)
{
	struct wire *w = d->wire;

	for (;;) {
		struct wire_frame f;
		int r = wire_receive(w, 0, &f, err);

		if (r < 0)
			return r;
		tell_live(d);
		if (f.type == WIRE_ALL_SENT) {
			r = wire_check_end(w, &f, err);
			d->sent_us = clock_mono_us();
			d->bytes = wire_bytes_received(w);
			return r == 0 ? check_ended(d, err) : r;
		}
		r = dispatch(d, &f, err);
		if (r < 0)
			return r;
	}
}
