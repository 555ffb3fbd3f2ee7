/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_folders.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "migration/reason.h"

#define BUCKETS 64u

struct tree_folder {
	struct tree_folder *chain;
	struct timespec mtime;
	bool due;
	char path[];
};

static size_t bucket(const struct tree_folders *f, const char *path, size_t len)
{
	return (size_t)XXH3_64bits(path, len) & (f->n_buckets - 1);
}

static struct tree_folder *find(const struct tree_folders *f, const char *path, size_t len)
{
	struct tree_folder *e = f->n_buckets ? f->buckets[bucket(f, path, len)] : NULL;

	while (e && (strncmp(e->path, path, len) != 0 || e->path[len] != '\0'))
		e = e->chain;
	return e;
}

static bool grow(struct tree_folders *f)
{
	struct tree_folders more = { .n_buckets = f->n_buckets ? f->n_buckets * 2 : BUCKETS, .n = f->n };

	more.buckets = calloc(more.n_buckets, sizeof(*more.buckets));
	if (!more.buckets)
		return false;
	for (size_t i = 0; i < f->n_buckets; i++)
		for (struct tree_folder *e = f->buckets[i], *next; e; e = next) {
			size_t at = bucket(&more, e->path, strlen(e->path));

			next = e->chain;
			e->chain = more.buckets[at];
			more.buckets[at] = e;
		}
	free(f->buckets);
	*f = more;
	return true;
}

int tree_folders_put(struct tree_folders *f, const char *path, struct timespec mtime, uint64_t *used, uint64_t max, struct error *err)
{
	size_t len = strlen(path), size = sizeof(struct tree_folder) + len + 1, at;
	struct tree_folder *e = find(f, path, len);

	if (!e) {
		if (size > max - *used)
			return error_reason(err, -E2BIG, REASON_ProtocolError, "too many folders");
		e = (f->n < f->n_buckets || grow(f)) ? calloc(1, size) : NULL;
		if (!e)
			return error_set(err, -ENOMEM, "out of memory for folders");
		memcpy(e->path, path, len + 1);
		at = bucket(f, path, len);
		e->chain = f->buckets[at];
		f->buckets[at] = e;
		f->n++;
		*used += size;
	}
	e->mtime = mtime;
	e->due = true;
	return 0;
}

void tree_folders_touch(struct tree_folders *f, const char *path, size_t len)
{
	struct tree_folder *e = find(f, path, len);

	if (e)
		e->due = true;
}

static int set_time(const struct tree_folder *e, int dir_fd, struct error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, e->mtime };
	cleanup_close int fd = open_beneath(dir_fd, e->path, O_RDONLY | O_DIRECTORY, 0, true);

	/* Another entry has taken its place. */
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		errno = -fd;
	return fd < 0 || futimens(fd, times) < 0 ? error_errno(err, "set the time of folder %.300s", e->path) : 0;
}

int tree_folders_settle(struct tree_folders *f, int dir_fd, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < f->n_buckets; i++)
		for (struct tree_folder *e = f->buckets[i]; r == 0 && e; e = e->chain) {
			r = e->due ? set_time(e, dir_fd, err) : 0;
			e->due = false;
		}
	return r;
}

void tree_folders_free(struct tree_folders *f)
{
	for (size_t i = 0; i < f->n_buckets; i++)
		while (f->buckets[i]) {
			struct tree_folder *next = f->buckets[i]->chain;

			free(f->buckets[i]);
			f->buckets[i] = next;
		}
	free(f->buckets);
	*f = (struct tree_folders){ 0 };
}
