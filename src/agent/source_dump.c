/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "container/process_info.h"
#include "migration/reason.h"

#define PAGE_SERVER_PORT 27000          /* + index, in a network namespace of our own */
#define DUMP_TIMEOUT_US 120000000
#define IMAGE_CHUNK (256 * 1024)

static int make_dirs(struct source_container *c, char *images, char *work, size_t size, struct error *err)
{
	char host[4096];
	const struct agent_options *o = c->source->o;

	if (path_format(images, size, "%s/%u/images", c->source->run_dir, c->index) < 0 ||
	    path_format(work, size, "%s/%u/work", c->source->run_dir, c->index) < 0)
		return error_set(err, -ENAMETOOLONG, "image path too long");
	for (int i = 0; i < 2; i++) {
		int r = agent_host_path(o, host, sizeof(host), "%s", i ? work : images);

		r = r < 0 ? r : dir_make(AT_FDCWD, host, 0700, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int send_pages(struct source_container *c, enum pages_which which, struct error *err)
{
	struct source *s = c->source;
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = freezer_pids(&s->freezer, c->index, pids, SOURCE_PROCESSES_MAX);

	if (n <= 0 || n == SOURCE_PROCESSES_MAX)
		return error_reason(err, -E2BIG, REASON_UnsupportedContainer, "it has no or too many processes (limit %d)",
				    SOURCE_PROCESSES_MAX - 1);
	for (int i = 0; i < n; i++) {
		pid_t ns_pid;
		int r = process_ns_pid(pids[i], &ns_pid, err);

		if (r == 0)
			r = pages_send(s->wire, c->index, pids[i], ns_pid, which, &c->pages, err);
		if (r < 0)
			return error_wrap(err, r, "memory of process %d", pids[i]);
	}
	return 0;
}

static int send_tree(struct source *s, uint16_t index, const char *tree, const char *path, bool overlay, struct tree_stats *stats,
		     struct error *err)
{
	cleanup_close int dir = -1;
	char host[4096];
	int r;

	if (agent_host_path(s->o, host, sizeof(host), "%s", path) < 0)
		return error_set(err, -ENAMETOOLONG, "path too long: %s", path);
	dir = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_errno(err, "open %s", path);
	r = tree_send(s->wire, index, tree, dir, overlay, stats, err);
	return r < 0 ? error_wrap(err, r, "files of %s", tree) : 0;
}

static int send_image(struct source_container *c, int dir, const char *name, struct error *err)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_json cJSON *head = cJSON_CreateObject();
	struct wire *w = c->source->wire;
	cleanup_free char *chunk = malloc(IMAGE_CHUNK);
	struct stat st;
	uint64_t at = 0;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || !chunk)
		return error_errno(err, "open image %s", name);
	cJSON_AddStringToObject(head, "name", name);
	cJSON_AddNumberToObject(head, "size", (double)st.st_size);
	r = wire_send_json(w, WIRE_IMAGE, c->index, head, err);
	while (r == 0 && at < (uint64_t)st.st_size) {
		ssize_t n = pread(fd, chunk, IMAGE_CHUNK, (off_t)at);

		if (n <= 0)
			return error_set(err, -EIO, "image %s became shorter while it was read", name);
		r = wire_send(w, WIRE_DATA, c->index, &at, sizeof(at), chunk, (size_t)n, err);
		at += (uint64_t)n;
	}
	c->image_bytes += at;
	return r;
}

/* What CRIU and runc wrote: image files; logs and statistics stay here. */
static bool is_image(const char *name)
{
	size_t len = strlen(name);

	return !strcmp(name, "descriptors.json") || (len > 4 && !strcmp(name + len - 4, ".img"));
}

static int send_images(struct source_container *c, const char *images, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	char host[4096];
	struct dirent *e;

	if (agent_host_path(c->source->o, host, sizeof(host), "%s", images) < 0)
		return error_set(err, -ENAMETOOLONG, "image path too long");
	d = opendir(host);
	if (!d)
		return error_errno(err, "open %s", images);
	while ((e = readdir(d))) {
		int r = is_image(e->d_name) ? send_image(c, dirfd(d), e->d_name, err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

static int send_container_end(struct source_container *c, struct error *err)
{
	cleanup_json cJSON *j = cJSON_CreateObject();

	cJSON_AddStringToObject(j, "name", c->info.name);
	cJSON_AddNumberToObject(j, "pages", (double)c->pages.pages);
	cJSON_AddNumberToObject(j, "pageBytes", (double)c->pages.bytes);
	cJSON_AddNumberToObject(j, "imageBytes", (double)c->image_bytes);
	cJSON_AddNumberToObject(j, "treeBytes", (double)c->tree.bytes);
	cJSON_AddNumberToObject(j, "dumpMicros", (double)c->dump_us);
	return wire_send_json(c->source->wire, WIRE_CONTAINER_END, c->index, j, err);
}

/*
 * One container, while it is frozen.  CRIU writes its metadata while memory and files are read from outside.  As soon as the metadata is complete the group is
 * frozen again (CRIU thaws it and holds the tasks by ptrace), so that nothing runs whatever happens to CRIU.
 */
static int dump_container(struct source_container *c, struct error *err)
{
	struct source *s = c->source;
	int64_t deadline = clock_mono_us() + DUMP_TIMEOUT_US;
	char images[600], work[600];
	int r = make_dirs(c, images, work, sizeof(images), err);

	if (r == 0)
		r = runc_dump_start(&s->runc, c->info.id, images, work, (uint16_t)(PAGE_SERVER_PORT + c->index), &c->dump, err);
	if (r < 0)
		return r;
	c->dumping = true;
	r = send_pages(c, PAGES_NOT_EXECUTABLE, err);
	if (r == 0)
		r = send_tree(s, c->index, "rootfs", c->info.upperdir, true, &c->tree, err);
	if (r < 0)
		return r;
	r = runc_dump_wait_ready(&c->dump, deadline, err);
	if (r < 0)
		return r;
	r = freezer_refreeze(&s->freezer, c->index, deadline, err);
	c->dump_us = clock_mono_us() - s->mark[MARK_FROZEN];
	if (r == 0)
		r = send_pages(c, PAGES_EXECUTABLE, err);
	if (r == 0)
		r = send_images(c, images, err);
	return r == 0 ? send_container_end(c, err) : r;
}

static void finish_dump(struct source_container *c, bool kill)
{
	struct error why = { 0 };

	if (!c->dumping)
		return;
	c->dumping = false;
	if (!kill && runc_dump_finish(&c->dump, clock_mono_us() + 30000000, &why) == 0)
		return;
	if (!kill)
		log_warning("CRIU did not end by itself", LOG_S("container", c->info.name), LOG_S("err", why.message));
	runc_dump_abort(&c->dump);
}

static void *container_main(void *arg)
{
	struct source_container *c = arg;

	c->result = dump_container(c, &c->err);
	if (c->result < 0)
		error_wrap(&c->err, c->result, "container %s", c->info.name);
	return NULL;
}

static int send_volumes(struct source *s, struct error *err)
{
	struct tree_stats stats = { 0 };

	for (int i = 0; i < s->volumes.n; i++) {
		int r = send_tree(s, WIRE_NO_CONTAINER, s->volumes.items[i].tree, s->volumes.items[i].path, false, &stats, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The first container's own error is the cause; what follows from the stream being closed is not. */
static int join_all(struct source *s, int r, struct error *err)
{
	for (int i = 0; i < s->n; i++) {
		struct source_container *c = &s->containers[i];

		if (!c->thread_started)
			continue;
		pthread_join(c->thread, NULL);
		c->thread_started = false;
		if (c->result < 0 && (r == 0 || (err->reason == REASON_TransferFailed && c->err.reason != REASON_TransferFailed))) {
			r = c->result;
			*err = c->err;
		}
	}
	return r;
}

int source_send_all(struct source *s, struct error *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < s->n; i++) {
		struct source_container *c = &s->containers[i];
		int rc = pthread_create(&c->thread, NULL, container_main, c);

		c->thread_started = rc == 0;
		if (rc)
			r = error_set(err, -rc, "cannot start a thread");
	}
	if (r == 0)
		r = send_volumes(s, err);
	r = join_all(s, r, err);
	return r == 0 ? wire_send_end(s->wire, err) : r;
}

void source_end_dumps(struct source *s, bool kill)
{
	for (int i = 0; i < s->n; i++)
		finish_dump(&s->containers[i], kill);
}
