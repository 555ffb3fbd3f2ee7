/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../process_check.h"
#include "base/clock.h"
#include "base/file.h"
#include "box.h"
#include "check.h"
#include "container/blinkers.h"
#include "container/cgroup_options.h"
#include "container/criu_images.h"
#include "dump.h"
#include "migration/reason.h"

#define GROUP "/container-test/podct-dump"
#define ARENA_PAGES (512u << 8)

/* What a page store is in the product: here pages are read from the frozen process as they are asked for. */
struct memory {
	int fd;
	char *arena;
	uint64_t used;
};

static const void *lookup(void *ctx, uint64_t vaddr)
{
	struct memory *m = ctx;
	char *page = m->arena + m->used * CRIU_PAGE_SIZE;

	if (m->used == ARENA_PAGES || pread(m->fd, page, CRIU_PAGE_SIZE, (off_t)vaddr) != CRIU_PAGE_SIZE)
		return NULL;
	m->used++;
	return page;
}

static const void *nothing(void *ctx, uint64_t vaddr)
{
	(void)ctx;
	(void)vaddr;
	return NULL;
}

/* Node pid of the process whose number in the images is ns_pid. */
static pid_t find_pid(struct freezer *f, pid_t ns_pid)
{
	pid_t p[16], got;
	int n = freezer_pids(f, 0, p, 16);

	for (int i = 0; i < n; i++)
		if (process_ns_pid(p[i], &got, NULL) == 0 && got == ns_pid)
			return p[i];
	return 0;
}

static bool complete_one(struct freezer *f, int dir, pid_t ns_pid, char *arena, struct error *err)
{
	struct memory m = { -1, arena, 0 };
	char path[64];
	int64_t t;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/mem", find_pid(f, ns_pid));
	m.fd = open(path, O_RDONLY | O_CLOEXEC);
	t = clock_mono_us();
	r = criu_pages_complete(dir, ns_pid, lookup, &m, err);
	printf("# process %d: %llu pages read and written in %lld us\n", ns_pid, (unsigned long long)m.used,
	       (long long)(clock_mono_us() - t));
	close(m.fd);
	return r == 0 && m.used > 1000;
}

static bool complete(struct freezer *f, const char *images, struct error *err)
{
	char *arena = mmap(NULL, (size_t)ARENA_PAGES * CRIU_PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int dir = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;
	pid_t pids[8];
	bool ok;

	n = criu_pagemap_pids(dir, pids, 8, err);
	ok = check(n == 2 && pids[0] == 1, "the images hold two processes (%d)", n);
	ok = ok && check(criu_pages_complete(dir, 1, nothing, NULL, err) == -ENODATA && err->reason == REASON_TransferFailed &&
				 strstr(err->message, "0x"),
			 "pages that are missing are named: %s", err->message);
	for (int i = 0; ok && i < n; i++)
		ok = complete_one(f, dir, pids[i], arena, err);
	ok = ok && check(criu_pages_complete(dir, 1, nothing, NULL, err) == 0, "complete images need no page any more");
	close(dir);
	munmap(arena, (size_t)ARENA_PAGES * CRIU_PAGE_SIZE);
	return ok;
}

/* --- what CRIU is kept from looking at --- */

/* Its 80 MiB; false when they are not found. */
static bool find_large(pid_t pid, struct blinkers_range *ret)
{
	unsigned long long start, end;
	char path[64], line[512];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%llx-%llx rw-p %*s %*s 0", &start, &end) == 2 && end - start >= 80ull << 20;
	if (f)
		fclose(f);
	*ret = (struct blinkers_range){ (uint64_t)pid, start, end };
	return found;
}

static int count_lazy(void *ctx, pid_t ns_pid, uint64_t vaddr, uint64_t pages, struct error *err)
{
	(void)ns_pid;
	(void)vaddr;
	(void)err;
	*(uint64_t *)ctx += pages;
	return 0;
}

static uint64_t lazy_pages(int dir, pid_t ns_pid)
{
	uint64_t n = 0;

	return criu_lazy_pages(dir, ns_pid, count_lazy, &n, NULL) == 0 ? n : 0;
}

/* The first process's memory is hidden, the second's is not: the program fills all of it, so each page is there. */
static bool hide(const struct dump *d, pid_t first, struct blinkers_range *ret)
{
	char path[500];

	snprintf(path, sizeof(path), "%s/work/" BLINKERS_LIST, d->here);
	return find_large(first, ret) && file_write(AT_FDCWD, path, ret, sizeof(*ret), 0600, false, NULL) == 0;
}

/* PAGEMAP_SCAN (kernel 6.7), by which CRIU asks for pages where there is one; an older kernel's CRIU reads /proc/PID/pagemap and cannot be kept from it. */
static bool kernel_scans(void)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool known = ioctl(fd, _IOWR('f', 16, uint64_t[12]), NULL) < 0 && errno != ENOTTY;

	close(fd);
	return known;
}

static void list_hidden(const struct dump *d, const struct blinkers_range *hidden)
{
	const struct criu_run run = { hidden->start, (hidden->end - hidden->start) / CRIU_PAGE_SIZE };
	int dir = open(d->images_here, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t seen = lazy_pages(dir, 1), others;
	pid_t pids[8];
	int n = criu_pagemap_pids(dir, pids, 8, NULL);

	others = n == 2 ? lazy_pages(dir, pids[1]) : 0;
	check(seen > 0 && (seen < 1000 || !kernel_scans()) && others > (80u << 20) / CRIU_PAGE_SIZE, "CRIU lists %llu pages of the process whose memory it was kept from, %llu of the other",
	      (unsigned long long)seen, (unsigned long long)others);
	check(criu_pagemap_add(dir, 1, &run, 1, NULL) == 0 && lazy_pages(dir, 1) == (kernel_scans() ? seen + run.pages : seen), "with ours they are all");
	close(dir);
}

static void restored_runs(const struct place *at, const char *images, const struct box *source, int64_t count)
{
	struct box copy;
	int64_t n;

	if (check(box_restore(&copy, at, "ct-copy", GROUP, images), "runc restores a new container from the completed images")) {
		sleep_ms(100);
		n = box_count(&copy, 0);
		check(n > count && n < count + 5000, "it goes on counting (%lld, frozen at %lld)", (long long)n,
		      (long long)count);
		check(box_counts_on(&copy), "both its processes count");
		sleep_ms(1500);
		check(!box_memory_bad(&copy), "its memory is the source's");
		check(box_count(source, 0) == count, "the source stayed frozen all the time");
	}
	box_stop(&copy);
}

static void dump_and_restore(const struct place *at, struct box *b, struct freezer *f)
{
	struct blinkers_range hidden;
	struct error err = { 0 };
	struct dump d;
	int64_t t = clock_mono_us(), count, us;
	int r;

	if (!check(dump_start(&d, at, b, &err) && runc_dump_wait_gate(&d.dump, t + 60000000, &err) == 0, "a dump stands at the gate %s",
		   err.message))
		return;
	check(box_counts_on(b) && !dump_traced(b->pid), "and the source runs on untouched");
	t = clock_mono_us();
	if (!check(freezer_freeze(f, t + 20000000, &err) == 0 && hide(&d, b->pid, &hidden) && runc_dump_go(&d.dump, &err) == 0, "freeze, hide memory, and go %s",
		   err.message))
		return;
	count = box_count(b, 0);
	r = runc_dump_wait_ready(&d.dump, clock_mono_us() + 60000000, &err);
	us = clock_mono_us() - t;
	if (!check(r == 0, "metadata is ready (%lld us after the freeze) %s", (long long)us, r ? err.message : ""))
		return;
	t = clock_mono_us();
	r = freezer_refreeze(f, 0, t + 20000000, &err);
	check(r == 0, "frozen again while CRIU holds it (%lld us) %s", (long long)(clock_mono_us() - t), r ? err.message : "");
	check(box_count(b, 0) == count, "it did not count meanwhile");
	list_hidden(&d, &hidden);
	if (complete(f, d.images_here, &err)) {
		t = clock_mono_us();
		r = runc_dump_finish(&d.dump, t + 60000000, &err);
		check(r == 0, "finish (%lld us) %s", (long long)(clock_mono_us() - t), r ? err.message : "");
		check(dump_processes_left(&d) == 0 && !dump_traced(b->pid),
		      "no process of the dump is left, nobody traces the source");
		check(box_count(b, 0) == count, "the source is still frozen");
		restored_runs(at, d.images_here + strlen(at->here), b, count);
	} else {
		check(false, "complete the images: %s", err.message);
	}
	runc_dump_abort(&d.dump);
	freezer_thaw(f, &err);
	check(box_counts_on(b) && !box_memory_bad(b), "the source, thawed, counts on");
	dump_end(&d);
}

/* Options of the node's cgroup2 file system, as its mountinfo has them; "" when there is none. */
static void cgroup2_options(const struct place *at, char *out, size_t size)
{
	struct buf text = BUF_INIT(4u << 20);
	char path[64];
	const char *p;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", at->host_pid ? "1" : "self");
	out[0] = '\0';
	if (file_read(AT_FDCWD, path, &text, NULL) == 0 && (p = strstr(text.data, " - cgroup2 ")))
		snprintf(out, size, "%.*s", (int)strcspn(p, "\n"), p);
	buf_free(&text);
}

void suite_dump(const struct place *at)
{
	char before[256], after[256];
	struct box b = { 0 };
	struct freezer f;
	struct error err = { 0 };

	if (check(box_start(&b, at, "ct-dump", GROUP, "count", 80), "start a container of two processes, 80 MiB each") &&
	    check(process_check(b.pid, &err) == 0, "nothing is found against it %s", err.message) &&
	    check(box_freezer(at, &b.pid, 1, &f, &err) == 0, "its group is found %s", err.message)) {
		cgroup2_options(at, before, sizeof(before));
		dump_and_restore(at, &b, &f);
		/* runc restore, above, is not run by the library. */
		cgroup_options_restore(at->host_pid, &err);
		cgroup2_options(at, after, sizeof(after));
		check(!strcmp(before, after), "the node's cgroup2 options are what they were (%s)", *before ? before : "no cgroup2");
		freezer_close(&f);
	}
	box_stop(&b);
}
