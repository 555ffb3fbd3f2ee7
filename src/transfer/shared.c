/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "mappings.h"
#include "page_frames.h"
#include "pages_known.h"

#define PAGE 4096u

struct object {
	dev_t dev;
	ino_t ino;
	bool sysv;
	uint64_t bytes;                 /* the most that it had */
	unsigned pass;                  /* it was looked at last */
};

struct shared {
	struct pages_known *known;      /* by an object's number in the place of a process's */
	struct object objects[SHARED_OBJECTS_MAX];      /* the first is WIRE_SHARED_FIRST + 1 */
	pid_t n;
	uint64_t bytes;                 /* of all objects */
	unsigned pass;
	int64_t sent_us;                /* in this pass something was sent last */
	uint8_t *buffer;                /* one frame's pages */
};

int shared_new(struct shared **ret, struct error *err)
{
	struct shared *s = calloc(1, sizeof(*s));
	int r = 0;

	if (s)
		s->buffer = aligned_alloc(PAGE, (size_t)WIRE_PAGES_MAX * PAGE);
	if (!s || !s->buffer)
		r = error_set(err, -ENOMEM, "out of memory for shared memory");
	if (r == 0)
		r = pages_known_new(&s->known, err);
	if (r == 0)
		*ret = s;
	else
		shared_free(s);
	return r;
}

void shared_free(struct shared *s)
{
	if (!s)
		return;
	pages_known_free(s->known);
	free(s->buffer);
	free(s);
}

/* --- what an object holds --- */

/* One pass through an object on its way. */
struct reader {
	struct shared *s;
	struct wire *w;
	const struct pages_source *from;
	struct pages_stats *stats;
	int fd;
	pid_t number;
};

static int send_pages(const struct reader *d, uint64_t address, uint32_t first, uint32_t n, struct error *err)
{
	const struct wire_pages p = { .ns_pid = d->number, .address = address + (uint64_t)first * PAGE, .pages = n, .data = d->s->buffer + (size_t)first * PAGE };

	if (!n)
		return 0;
	d->s->sent_us = clock_mono_us();
	return page_frame_send(d->w, d->from->container, d->from->packer, &p, d->stats, err);
}

/* The n pages in the buffer: pages of zeros need no place there, and what the other side has is left. */
static int send_changed(const struct reader *d, uint64_t address, uint32_t n, struct error *err)
{
	uint32_t first = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < n; i++) {
		const uint8_t *page = d->s->buffer + (size_t)i * PAGE;
		bool same = page_is_zero(page);

		if (!same && pages_known_same(d->s->known, d->number, address + (uint64_t)i * PAGE, page, &same) < 0)
			return error_set(err, -ENOMEM, "out of memory for the digests of pages");
		if (!same)
			continue;
		r = send_pages(d, address, first, i - first, err);
		first = i + 1;
	}
	return r == 0 ? send_pages(d, address, first, n - first, err) : r;
}

/* How many pages are in the buffer: the last one of an object may be part of one. */
static uint32_t read_pages(const struct reader *d, off_t at, off_t end)
{
	size_t want = (size_t)WIRE_PAGES_MAX * PAGE, tail;
	ssize_t n;

	if ((uint64_t)(end - at) < want)
		want = (size_t)(end - at);
	do
		n = pread(d->fd, d->s->buffer, want, at);
	while (n < 0 && errno == EINTR);
	tail = n > 0 ? (size_t)n % PAGE : 0;
	if (tail)
		memset(d->s->buffer + n, 0, PAGE - tail);
	return n > 0 ? (uint32_t)(((size_t)n + PAGE - 1) / PAGE) : 0;
}

/* Holes are not touched: they would not become pages by that, but take time.  What becomes shorter while it is read has come to its end. */
static int send_object(const struct reader *d, struct error *err)
{
	off_t at = 0, end;
	int r = 0;

	while (r == 0 && (at = lseek(d->fd, at, SEEK_DATA)) >= 0 && (end = lseek(d->fd, at, SEEK_HOLE)) > at) {
		uint32_t n = 1;

		for (at -= at % PAGE; r == 0 && n && at < end; at += (off_t)n * PAGE) {
			n = (uint64_t)at < WIRE_ADDRESS_MAX - WIRE_PAGES_MAX * PAGE ? read_pages(d, at, end) : 0;
			r = send_changed(d, (uint64_t)at, n, err);
			if (r == 0)
				r = wire_send_alive(d->w, &d->s->sent_us, err);
		}
		if (!n)
			break;
	}
	return r;
}

/* --- which objects there are --- */

/* NULL: one too many, or too large to be remembered. */
static struct object *object_of(struct shared *s, const struct stat *st, bool sysv)
{
	uint64_t bytes = (uint64_t)st->st_blocks * 512;
	struct object *o;
	pid_t i = 0;

	while (i < s->n && (s->objects[i].ino != st->st_ino || s->objects[i].dev != st->st_dev || s->objects[i].sysv != sysv))
		i++;
	if (i == SHARED_OBJECTS_MAX)
		return NULL;
	o = &s->objects[i];
	if (bytes > o->bytes) {
		if (bytes - o->bytes > SHARED_AHEAD_MAX - s->bytes)
			return NULL;
		s->bytes += bytes - o->bytes;
	}
	if (i == s->n)
		s->n++;
	o->dev = st->st_dev;
	o->ino = st->st_ino;
	o->sysv = sysv;
	o->bytes = bytes > o->bytes ? bytes : o->bytes;
	return o;
}

/*
 * path: below /proc/PID, so opened anew and without a trace in the process.  Several processes have one object, and one process several times.  While fd is open nobody else can have
 * the inode's number; should another object have it later, its pages are compared with that one's, and sent.
 */
static int look_at(struct reader *d, int dir, const char *path, bool sysv, struct error *err)
{
	cleanup_close int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct object *o;
	struct statfs fs;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0 || !S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC)
		return 0;
	o = object_of(d->s, &st, sysv);
	if (!o || o->pass == d->s->pass)
		return 0;
	/* What was opened may be another process's, which has its number by now. */
	if (page_source_alive(d->from, err) < 0)
		return -ESRCH;
	o->pass = d->s->pass;
	d->fd = fd;
	d->number = WIRE_SHARED_FIRST + 1 + (pid_t)(o - d->s->objects);
	return send_object(d, err);
}

static int send_mapped(struct reader *d, struct error *err)
{
	struct error ignored = { 0 };
	struct mappings maps;
	struct mapping m;
	bool ours;
	int r = 0;

	if (mappings_open(d->from->pid, &maps, &ignored) < 0)
		return 0;
	while (r == 0 && mappings_next_any(&maps, &m, &ours, &ignored) > 0) {
		char path[96];

		if (!m.shmem)
			continue;
		path_format(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", (int)d->from->pid, (unsigned long long)m.start, (unsigned long long)m.end);
		r = look_at(d, AT_FDCWD, path, m.sysv, err);
	}
	mappings_close(&maps);
	return r;
}

/* A memfd need not be mapped. */
static int send_opened(struct reader *d, struct error *err)
{
	cleanup_closedir DIR *list = NULL;
	struct dirent *e;
	char path[64];
	int r = 0;

	path_format(path, sizeof(path), "/proc/%d/fd", (int)d->from->pid);
	list = opendir(path);
	while (r == 0 && list && (e = readdir(list))) {
		char target[16];
		ssize_t n = readlinkat(dirfd(list), e->d_name, target, sizeof(target));

		if (n >= 7 && memcmp(target, "/memfd:", 7) == 0)
			r = look_at(d, dirfd(list), e->d_name, false, err);
	}
	return r;
}

void shared_begin(struct shared *s)
{
	s->pass++;
	s->sent_us = clock_mono_us();
}

int shared_send(struct shared *s, struct wire *w, const struct pages_source *from, struct pages_stats *stats, struct error *err)
{
	struct reader d = { .s = s, .w = w, .from = from, .stats = stats };
	int r = send_mapped(&d, err);

	return r == 0 ? send_opened(&d, err) : r;
}

int shared_end(struct shared *s, struct error *err)
{
	return pages_known_index(s->known) < 0 ? error_set(err, -ENOMEM, "out of memory for the digests of pages") : 0;
}

/* --- CRIU's files --- */

/* No more than one run may have, and the other side puts the file together while this one still reads it. */
#define LIST_PAGES WIRE_STORED_PAGES_MAX
_Static_assert(LIST_PAGES <= WIRE_STORED_MAX, "a list of pages that have nothing to do with each other fits");

/* What is known of a file and not sent yet. */
struct teller {
	struct shared *s;               /* NULL: nothing went ahead */
	struct wire *w;
	const struct pages_source *from;
	struct pages_stats *stats;
	struct wire_pages run;          /* the last one, not in the list yet */
	uint32_t runs, pages;           /* in the list; of it, run included */
	uint32_t fresh;                 /* pages that the other side does not hold, not sent yet */
	uint64_t fresh_at;              /* the place that the first of them gets */
	uint8_t list[WIRE_STORED_MAX * WIRE_STORED_RUN];
	uint8_t data[WIRE_PAGES_MAX * PAGE];
};

static int send_fresh(struct teller *t, struct error *err)
{
	const struct wire_pages p = { .ns_pid = WIRE_SHARED_FIRST, .address = t->fresh_at, .pages = t->fresh, .data = t->data };

	if (!t->fresh)
		return 0;
	t->fresh_at += (uint64_t)t->fresh * PAGE;
	t->fresh = 0;
	return page_frame_send(t->w, t->from->container, t->from->packer, &p, t->stats, err);
}

static void end_run(struct teller *t)
{
	if (t->run.pages)
		wire_stored_pack(&t->run, t->list + (size_t)t->runs++ * WIRE_STORED_RUN);
	t->run.pages = 0;
}

/* Pages come before what names them; once it has, their places are free for others. */
static int send_list(struct teller *t, struct error *err)
{
	int r = send_fresh(t, err);

	end_run(t);
	if (r == 0 && t->runs)
		r = wire_send(t->w, WIRE_STORED, t->from->container, NULL, 0, t->list, (size_t)t->runs * WIRE_STORED_RUN, err);
	t->runs = t->pages = 0;
	t->fresh_at = 0;
	return r;
}

/* The file goes on with the page that the other side has there. */
static int add_page(struct teller *t, pid_t number, uint64_t address, struct error *err)
{
	bool next = t->run.pages && t->run.ns_pid == number && (!number || address == t->run.address + (uint64_t)t->run.pages * PAGE);

	if (!next) {
		end_run(t);
		t->run = (struct wire_pages){ .ns_pid = number, .address = address };
	}
	t->run.pages++;
	return ++t->pages == LIST_PAGES ? send_list(t, err) : 0;
}

static int add_fresh(struct teller *t, const uint8_t *page, struct error *err)
{
	uint64_t address = t->fresh_at + (uint64_t)t->fresh * PAGE;
	int r;

	memcpy(t->data + (size_t)t->fresh * PAGE, page, PAGE);
	r = ++t->fresh == WIRE_PAGES_MAX ? send_fresh(t, err) : 0;
	return r == 0 ? add_page(t, WIRE_SHARED_FIRST, address, err) : r;
}

static int tell_page(struct teller *t, const uint8_t *page, struct error *err)
{
	pid_t number = t->run.pages && t->run.ns_pid > WIRE_SHARED_FIRST ? t->run.ns_pid : 0;
	uint64_t address = t->run.address + (uint64_t)t->run.pages * PAGE;

	if (page_is_zero(page))
		return add_page(t, 0, 0, err);
	if (!t->s || !pages_known_find(t->s->known, page, &number, &address))
		return add_fresh(t, page, err);
	t->stats->same_pages++;
	return add_page(t, number, address, err);
}

static int tell_file(struct teller *t, int fd, uint64_t size, uint8_t *buffer, struct error *err)
{
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < size;) {
		ssize_t n = pread(fd, buffer, (size_t)WIRE_PAGES_MAX * PAGE, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || n % PAGE || (uint64_t)n > size - at)
			return error_set(err, -EIO, "an image of pages has another size while it is read");
		for (ssize_t i = 0; r == 0 && i < n; i += PAGE)
			r = tell_page(t, buffer + i, err);
		at += (uint64_t)n;
	}
	return r == 0 ? send_list(t, err) : r;
}

int shared_send_file(struct shared *s, struct wire *w, const struct pages_source *from, int fd, uint64_t size, struct pages_stats *stats, struct error *err)
{
	cleanup_free uint8_t *buffer = aligned_alloc(PAGE, (size_t)WIRE_PAGES_MAX * PAGE);
	cleanup_free struct teller *t = calloc(1, sizeof(*t));

	if (!buffer || !t)
		return error_set(err, -ENOMEM, "out of memory for pages");
	t->s = s;
	t->w = w;
	t->from = from;
	t->stats = stats;
	return tell_file(t, fd, size, buffer, err);
}
