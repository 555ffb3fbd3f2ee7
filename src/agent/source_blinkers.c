/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "container/blinkers.h"
#include "container/criu_images.h"
#include "container/process_info.h"
#include "container/smaps.h"
#include "source.h"
#include "transfer/large_mappings.h"

/*
 * Large memory is kept from CRIU's eyes while the pod is frozen (container/blinkers.h): its pages are sent by us, and we know which there are.  What CRIU would have listed is put
 * into its images before they go.
 */

struct source_hidden {
	struct blinkers_range range;
	pid_t ns_pid;
	size_t first, runs;             /* of pages, in source_blinkers.runs */
	bool looked_at;
};

struct source_blinkers {
	struct source_hidden *hidden;   /* a process's own side by side, ascending */
	size_t n, room;
	struct criu_run *runs;          /* of all; a process's own side by side, ascending */
	size_t n_runs, runs_room;
	size_t at, end;                 /* hidden: what is being looked at, and the end of its process's */
	pid_t pid, ns_pid;              /* whose mappings are being looked for */
};

static int make_room(void **items, size_t *room, size_t n, size_t size, struct error *err)
{
	size_t wanted = *room ? *room * 2 : 64;
	void *more;

	if (n < *room)
		return 0;
	more = realloc(*items, wanted * size);
	if (!more)
		return error_set(err, -ENOMEM, "out of memory for ranges of pages");
	*items = more;
	*room = wanted;
	return 0;
}

static int add_mapping(void *ctx, uint64_t start, uint64_t end, struct error *err)
{
	struct source_blinkers *b = ctx;
	int r = make_room((void **)&b->hidden, &b->room, b->n, sizeof(*b->hidden), err);

	if (r == 0)
		b->hidden[b->n++] = (struct source_hidden){ .range = { (uint64_t)b->pid, start, end }, .ns_pid = b->ns_pid };
	return r;
}

static int add_pages(struct source_blinkers *b, struct source_hidden *h, uint64_t start, uint64_t end, struct error *err)
{
	struct criu_run *last = b->n_runs ? &b->runs[b->n_runs - 1] : NULL;
	int r;

	/* Swapped pages and others, written ones and others, are told apart; here they are the same. */
	if (last && h->runs && last->vaddr + last->pages * CRIU_PAGE_SIZE == start) {
		last->pages += (end - start) / CRIU_PAGE_SIZE;
		return 0;
	}
	r = make_room((void **)&b->runs, &b->runs_room, b->n_runs, sizeof(*b->runs), err);
	if (r < 0)
		return r;
	b->runs[b->n_runs++] = (struct criu_run){ start, (end - start) / CRIU_PAGE_SIZE };
	h->runs++;
	return 0;
}

/* Locked memory is restored by CRIU itself, from its own images; what is locked stays so while it is frozen. */
static int look_at(struct source_blinkers *b, pid_t pid, struct error *err)
{
	int r = process_ns_pid(pid, &b->ns_pid, err);

	if (r < 0 || process_locks_memory(pid))
		return r;
	b->pid = pid;
	return large_mappings_each(pid, BLINKERS_MIN, add_mapping, b, err);
}

static int write_list(struct source_container *c, struct error *err)
{
	const struct source_blinkers *b = c->blinkers;
	struct buf list = BUF_INIT(b->n * sizeof(struct blinkers_range) + 1);
	char path[4096];
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->n; i++)
		r = buf_append(&list, &b->hidden[i].range, sizeof(b->hidden[i].range));
	if (r < 0)
		r = error_set(err, -ENOMEM, "out of memory for ranges of pages");
	else if (agent_host_path(c->source->o, path, sizeof(path), "%s/%s", c->dump.work_dir, BLINKERS_LIST) < 0)
		r = error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	else if (b->n)
		r = file_write(AT_FDCWD, path, list.data, list.len, 0600, false, err);
	buf_free(&list);
	return r;
}

/* --- what smaps says, without its walk --- */

static int count_mapping(void *ctx, uint64_t start, uint64_t end, struct error *err)
{
	(void)start, (void)end, (void)err;
	++*(int *)ctx;
	return 0;
}

static void learn_container(struct source *s, int i)
{
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = freezer_pids(&s->freezer, i, pids, SOURCE_PROCESSES_MAX);

	for (int k = 0; k < n; k++) {
		int large = 0;

		if (large_mappings_each(pids[k], BLINKERS_MIN, count_mapping, &large, NULL) == 0 && large)
			smaps_learn(s->smaps, pids[k], NULL);
	}
}

void source_blinkers_learn(struct source *s)
{
	struct error why = { 0 };

	if (smaps_new(&s->smaps, &why) < 0)
		log_info("the flags of mappings are read from smaps, which walks through memory", LOG_S("pod", s->journal.pod_name), LOG_S("err", why.message));
	for (int i = 0; s->smaps && i < s->n; i++)
		learn_container(s, i);
}

#define SMAPS_MAX (64u << 20)

/* Where it cannot be told CRIU reads it itself. */
static int write_smaps(struct source_container *c, pid_t pid, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(SMAPS_MAX);
	struct error why = { 0 };
	char path[4096];

	if (!c->source->smaps)
		return 0;
	if (smaps_text(c->source->smaps, pid, &text, &why) < 0) {
		log_info("CRIU reads smaps itself, which walks through memory", LOG_S("container", c->info.name), LOG_S("err", why.message));
		return 0;
	}
	if (agent_host_path(c->source->o, path, sizeof(path), "%s/" BLINKERS_SMAPS "%d", c->dump.work_dir, (int)pid) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the work folder is too long");
	return file_write(AT_FDCWD, path, text.data, text.len, 0600, false, err);
}

static int write_all_smaps(struct source_container *c, struct error *err)
{
	const struct source_blinkers *b = c->blinkers;
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->n; i++)
		if (i == 0 || b->hidden[i].range.pid != b->hidden[i - 1].range.pid)
			r = write_smaps(c, (pid_t)b->hidden[i].range.pid, err);
	return r;
}

/* --- frozen --- */

int source_blinkers_put_on(struct source_container *c, struct error *err)
{
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = freezer_pids(&c->source->freezer, c->index, pids, SOURCE_PROCESSES_MAX), r = 0;

	c->blinkers = calloc(1, sizeof(*c->blinkers));
	if (!c->blinkers)
		return error_set(err, -ENOMEM, "out of memory for ranges of pages");
	/* A probe's process can have joined the group after it was frozen and looked through (source_strangers.c): CRIU does not dump it, and has no image to add its pages to. */
	for (int i = 0; r == 0 && i < n && n < SOURCE_PROCESSES_MAX; i++)
		r = process_descends(pids[i], c->init_pid) ? look_at(c->blinkers, pids[i], err) : 0;
	if (r == 0)
		r = write_all_smaps(c, err);
	return r == 0 ? write_list(c, err) : error_wrap(err, r, "large memory of %s", c->info.name);
}

void source_blinkers_look(struct source_container *c, pid_t pid)
{
	struct source_blinkers *b = c->blinkers;

	for (b->at = 0; b->at < b->n && b->hidden[b->at].range.pid != (uint64_t)pid; b->at++)
		;
	for (b->end = b->at; b->end < b->n && b->hidden[b->end].range.pid == (uint64_t)pid; b->end++) {
		b->hidden[b->end].first = b->n_runs;
		b->hidden[b->end].looked_at = true;
	}
}

int source_blinkers_found(void *ctx, uint64_t start, uint64_t end, struct error *err)
{
	struct source_blinkers *b = ctx;
	int r = 0;

	while (r == 0 && b->at < b->end && start < end) {
		struct source_hidden *h = &b->hidden[b->at];
		uint64_t from = start < h->range.start ? h->range.start : start, to = end < h->range.end ? end : h->range.end;

		if (from < to)
			r = add_pages(b, h, from, to, err);
		if (end < h->range.end)
			break;
		b->at++;
	}
	return r;
}

int source_blinkers_list(struct source_container *c, int images_fd, struct error *err)
{
	const struct source_blinkers *b = c->blinkers;
	size_t i = 0;
	int r = 0;

	while (r == 0 && i < b->n) {
		const struct source_hidden *h = &b->hidden[i];
		size_t runs = 0;

		/* CRIU saw nothing of it either: it would be lost. */
		if (!h->looked_at)
			return error_set(err, -EIO, "memory of process %d was not looked at", (int)h->range.pid);
		for (; i < b->n && b->hidden[i].range.pid == h->range.pid; i++)
			runs += b->hidden[i].runs;
		if (runs)
			r = criu_pagemap_add(images_fd, h->ns_pid, b->runs + h->first, runs, err);
	}
	return r;
}

void source_blinkers_free(struct source_blinkers *b)
{
	if (!b)
		return;
	free(b->hidden);
	free(b->runs);
	free(b);
}
