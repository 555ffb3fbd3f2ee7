/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/track.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "direct_io.h"
#include "inject.h"
#include "mappings.h"
#include "soft_dirty.h"

/* linux/userfaultfd.h of kernel 6.7. */
#define FEATURE_PAGEFAULT_FLAG_WP (1ull << 0)
#define FEATURE_WP_HUGETLBFS_SHMEM (1ull << 12)
#define FEATURE_WP_UNPOPULATED (1ull << 13)
#define FEATURE_WP_ASYNC (1ull << 15)

#define PAGE 4096u
#define NO_WP_ASYNC "this kernel has no asynchronous write protection (6.7)"

#define USES_USERFAULTFD "it uses userfaultfd itself"
#define USES_DIRECT "it has a file open for direct I/O, which writes to memory unseen"
#define USES_SOFT_DIRTY "it uses soft-dirty bits itself (it has clear_refs or pagemap open)"
#define FILES_UNKNOWN "it cannot be told what it has open"

struct track {
	pid_t pid;
	int uffd;                       /* -1: by soft-dirty bits */
	struct soft_dirty bits;         /* .. these */
	bool used;                      /* .. which somebody has looked at */
	bool for_good;                  /* once broken, not to be begun anew */
	int64_t stopped_us;
	char why[256];                  /* not empty: broken */
};

/* --- one process --- */

/* Why a process with these open files cannot be tracked, or NULL; *ret_bits: why not by soft-dirty bits, or NULL. */
static const char *look_at_files(pid_t pid, const char **ret_bits)
{
	cleanup_closedir DIR *d = NULL;
	cleanup_close int info = direct_io_open(pid, "fdinfo");
	int fd = direct_io_open(pid, "fd");
	struct dirent *e;

	*ret_bits = NULL;
	if (info == -ESRCH || fd == -ESRCH) {
		cleanup_closep(&fd);
		return NULL;
	}
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		cleanup_closep(&fd);
	if (!d || info < 0)
		return FILES_UNKNOWN;
	while ((e = readdir(d))) {
		char target[PATH_MAX];
		ssize_t n = e->d_name[0] == '.' ? -1 : readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		int direct;

		if (n < 0)
			continue;
		target[n] = '\0';
		if (!strcmp(target, "anon_inode:[userfaultfd]"))
			return USES_USERFAULTFD;
		if (soft_dirty_file(target))
			*ret_bits = USES_SOFT_DIRTY;
		/* Sockets and pipes know no such flag's meaning (a pipe's is packet mode). */
		direct = target[0] == '/' ? direct_io_is(info, e->d_name) : 0;
		if (direct)
			return direct < 0 ? FILES_UNKNOWN : USES_DIRECT;
	}
	return NULL;
}

static int enable(int uffd, struct error *err)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_WP_UNPOPULATED | FEATURE_WP_ASYNC };

	if (ioctl(uffd, UFFDIO_API, &api) == 0)
		return 0;
	return errno == EINVAL ? error_set(err, -EOPNOTSUPP, NO_WP_ASYNC) : error_errno(err, "userfaultfd");
}

/*
 * Asked at our own memory, so that nobody's thread is stopped for nothing.  Before 5.13 it must not be stopped at all: the kernel does not tell of its restartable sequences (inject.c).
 */
static int check_kernel(struct error *err)
{
	cleanup_close int own = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY);

	if (own < 0 && errno != EINVAL && errno != ENOSYS)
		return error_errno(err, "userfaultfd");
	return own < 0 ? error_set(err, -EOPNOTSUPP, NO_WP_ASYNC) : enable(own, err);
}

static int by_write_protection(struct track *t, struct error *err)
{
	cleanup_close int uffd = -1;
	int r = inject_userfaultfd(t->pid, &uffd, &t->stopped_us, err);

	if (r == 0)
		r = enable(uffd, err);
	if (r == 0)
		t->uffd = take_fd(&uffd);
	return r;
}

static int by_soft_dirty(struct track *t, const char *files, struct error *err)
{
	int r = soft_dirty_check(err);

	if (r == 0 && files)
		r = error_set(err, -EOPNOTSUPP, "%s", files);
	return r == 0 ? soft_dirty_begin(t->pid, &t->bits, &t->stopped_us, err) : r;
}

int track_new(pid_t pid, struct track **ret, struct error *err)
{
	const char *bits, *files = look_at_files(pid, &bits);
	cleanup_free struct track *t = calloc(1, sizeof(*t));
	int r = !t ? error_set(err, -ENOMEM, "out of memory for tracking") : files ? error_set(err, -EOPNOTSUPP, "%s", files) : check_kernel(err);
	bool old = r == -EOPNOTSUPP && !files;

	if (r < 0 && !old)
		return r;
	*t = (struct track){ .pid = pid, .uffd = -1 };
	r = old ? by_soft_dirty(t, bits, err) : by_write_protection(t, err);
	if (r == 0)
		*ret = take_ptr(t);
	return r;
}

void track_free(struct track *t)
{
	if (!t)
		return;
	if (track_by_bits(t))
		soft_dirty_end(&t->bits);
	else
		close(t->uffd);
	free(t);
}

bool track_by_bits(const struct track *t)
{
	return t->uffd < 0;
}

bool track_first_look(struct track *t)
{
	bool first = !t->used;

	t->used = true;
	return first;
}

int64_t track_stopped_us(const struct track *t)
{
	return t->stopped_us;
}

const char *track_broken(const struct track *t)
{
	return t->why[0] ? t->why : NULL;
}

static void set_broken(struct track *t, const char *why)
{
	if (!t->why[0])
		snprintf(t->why, sizeof(t->why), "%s", why);
}

/* --- what is registered --- */

#define LOWEST 65536u                   /* vm.mmap_min_addr; the kernel refuses a range that begins below */
#define HIGHEST 0x7ffffffff000ull       /* what a program maps without asking for more */

/* What lies between two mappings that are not ours. */
struct room {
	uint64_t start, end;
	uint64_t ours_start, ours_end;  /* from the first of our mappings in it to the last; equal: there are none */
};

static int put(struct track *t, uint64_t start, uint64_t end)
{
	struct uffdio_register r = { .range = { start, end - start }, .mode = UFFDIO_REGISTER_MODE_WP };

	if (ioctl(t->uffd, UFFDIO_REGISTER, &r) == 0)
		return 0;
	if (errno == EBUSY)
		set_broken(t, USES_USERFAULTFD);
	else if (errno == ENOMEM || errno == ESRCH)
		set_broken(t, "it has become another program");
	return -errno;
}

/* One of a kind that cannot be registered has kept the others from it: each on its own.  What is not registered counts as written. */
static void put_each(struct track *t, const struct room *room)
{
	struct mappings maps;
	struct mapping m;

	if (mappings_open(t->pid, &maps, NULL) < 0)
		return;
	while (!t->why[0] && mappings_next(&maps, &m, NULL) > 0)
		if (m.start >= room->start && m.end <= room->end)
			put(t, m.start, m.end);
	mappings_close(&maps);
}

/*
 * Not mapping by mapping: one that has grown since it was read would be cut in two where the range ends, which the program can notice (mremap takes one mapping
 * only).  With the unmapped space around it, it can grow as it likes.
 */
static void put_room(struct track *t, const struct room *room)
{
	uint64_t start = room->start < LOWEST ? LOWEST : room->start, end = room->end > HIGHEST ? HIGHEST : room->end;

	if (room->ours_start == room->ours_end || t->why[0])
		return;
	if (room->ours_start < start)
		start = room->ours_start;
	if (room->ours_end > end)
		end = room->ours_end;
	if (put(t, start, end) < 0 && !t->why[0])
		put_each(t, room);
}

void track_register(struct track *t)
{
	struct room room = { 0 };
	struct mappings maps;
	struct mapping m;
	bool ours = false;

	if (t->why[0] || track_by_bits(t) || mappings_open(t->pid, &maps, NULL) < 0)
		return;
	while (mappings_next_any(&maps, &m, &ours, NULL) > 0) {
		if (ours) {
			room.ours_start = room.ours_start == room.ours_end ? m.start : room.ours_start;
			room.ours_end = m.end;
			continue;
		}
		room.end = m.start;
		put_room(t, &room);
		room = (struct room){ .start = m.end };
	}
	room.end = HIGHEST;
	put_room(t, &room);
	mappings_close(&maps);
}

void track_forget(struct track *t, uint64_t address)
{
	struct uffdio_writeprotect w = { .range = { address, PAGE } };

	if (track_by_bits(t))           /* what was not read is not known as sent (pages_known_note) */
		return;
	/* ENOENT: nothing is mapped or registered there any more. */
	if (ioctl(t->uffd, UFFDIO_WRITEPROTECT, &w) < 0 && errno != ENOENT && errno != ESRCH)
		set_broken(t, "a page of it could neither be read nor be asked for again");
}

void track_bits_lost(struct track *t)
{
	set_broken(t, "somebody else has cleared its soft-dirty bits");
}

void track_pages_move(struct track *t)
{
	set_broken(t, "its memory changes places, which soft-dirty bits do not show");
	t->for_good = true;
}

void track_check(struct track *t)
{
	const char *bits, *why = look_at_files(t->pid, &bits);

	if (!why && track_by_bits(t))
		why = bits;
	if (why)
		set_broken(t, why);
}

/* --- all of a container --- */

#define TRIES 3

struct entry {
	pid_t pid;
	unsigned round;                 /* asked for last */
	int tries;
	struct track *track;            /* NULL: not tracked */
	char why[256];
};

struct track_set {
	struct entry *entries;
	size_t n, room;
	unsigned round;
	int64_t stopped_us;
	struct error refused;           /* reason 0: nothing was */
	bool hindered;                  /* a process would not come back (inject.h): the others are not asked */
};

int track_set_new(struct track_set **ret, struct error *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : error_set(err, -ENOMEM, "out of memory for tracking");
}

void track_set_free(struct track_set *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		track_free(s->entries[i].track);
	free(s->entries);
	free(s);
}

void track_set_round(struct track_set *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->entries[i].round == s->round)
			s->entries[n++] = s->entries[i];
		else
			track_free(s->entries[i].track);
	}
	s->n = n;
	s->round++;
}

static struct entry *find_entry(struct track_set *s, pid_t pid)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->entries[i].pid == pid)
			return &s->entries[i];
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 16;
		struct entry *more = realloc(s->entries, room * sizeof(*more));

		if (!more)
			return NULL;
		s->entries = more;
		s->room = room;
	}
	s->entries[s->n] = (struct entry){ .pid = pid };
	return &s->entries[s->n++];
}

/* Clearing its bits would clear those of the other, of which something may have been written since it was looked at. */
static bool has_bits_of_another(const struct track_set *s, const struct entry *e)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct entry *other = &s->entries[i];

		if (other != e && other->track && track_by_bits(other->track) && soft_dirty_shared(e->pid, other->pid))
			return true;
	}
	return false;
}

static void begin(struct track_set *s, struct entry *e)
{
	struct error err = { 0 };
	int r;

	track_free(take_ptr(e->track));
	e->tries++;
	if (s->hindered)
		r = error_set(&err, -EOPNOTSUPP, "another process of its container did not come back from a system call that was made in its name");
	else if (has_bits_of_another(s, e))
		r = error_set(&err, -EOPNOTSUPP, "it shares its memory with another process, whose soft-dirty bits are in use");
	else
		r = track_new(e->pid, &e->track, &err);
	if (r == -ENOTSUP && err.reason)
		s->refused = err;
	s->hindered = s->hindered || r == -ETIME;
	if (!e->track)
		snprintf(e->why, sizeof(e->why), "%.200s", err.message);
	else if (track_stopped_us(e->track) > s->stopped_us)
		s->stopped_us = track_stopped_us(e->track);
}

struct track *track_set_get(struct track_set *s, pid_t pid, bool may_start)
{
	struct entry *e = find_entry(s, pid);

	if (!e)
		return NULL;
	e->round = s->round;
	/* Before anything is believed of a number that another process may have by now. */
	if (e->track && track_by_bits(e->track) && soft_dirty_over(&e->track->bits))
		set_broken(e->track, soft_dirty_over(&e->track->bits));
	if (may_start && e->tries < TRIES && (!e->track || (track_broken(e->track) && !e->track->for_good)))
		begin(s, e);
	return e->track;
}

void track_set_count(const struct track_set *s, int *ret_all, int *ret_tracked, const char **ret_why)
{
	*ret_all = *ret_tracked = 0;
	*ret_why = NULL;
	for (size_t i = 0; i < s->n; i++) {
		const struct entry *e = &s->entries[i];
		const char *why = e->track ? track_broken(e->track) : e->why[0] ? e->why : "it is new";

		if (e->round != s->round)
			continue;
		++*ret_all;
		*ret_tracked += !why;
		if (why && !*ret_why)
			*ret_why = why;
	}
}

bool track_set_by_bits(const struct track_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->entries[i].round == s->round && s->entries[i].track && track_by_bits(s->entries[i].track))
			return true;
	return false;
}

int track_set_refused(const struct track_set *s, struct error *err)
{
	return s->refused.reason ? error_reason(err, -ENOTSUP, s->refused.reason, "%s", s->refused.message) : 0;
}

int64_t track_set_stopped_us(const struct track_set *s)
{
	return s->stopped_us;
}
