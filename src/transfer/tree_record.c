/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_record.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <xxhash.h>

#define BUCKETS 1024u
#define MALLOC_HEAD 16u                 /* what malloc(3) takes besides */
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/*
 * What the record relies on, of the file system: each change of an inode, of its names too, sets its ctime; so does the first write through a mapping after a
 * page was clean or was mapped anew (ext4_page_mkwrite in fs/ext4/inode.c, xfs_write_fault in fs/xfs/xfs_file.c, btrfs_page_mkwrite in fs/btrfs/file.c:
 * file_update_time).  tmpfs has no page_mkwrite: what is written through a mapping to a page that was read before leaves no trace there (do_read_fault in mm/memory.c maps it
 * writable at once).  All else sets the ctime there as well, but for extended attributes on older kernels (shmem_xattr_handler_set in mm/shmem.c).
 */
enum tree_tells tree_tells(int dir_fd)
{
	static const struct {
		unsigned long magic;
		enum tree_tells tells;
	} known[] = {
		{ EXT4_SUPER_MAGIC, TREE_TELLS_ALL },
		{ XFS_SUPER_MAGIC, TREE_TELLS_ALL },
		{ BTRFS_SUPER_MAGIC, TREE_TELLS_ALL },
		{ TMPFS_MAGIC, TREE_TELLS_ATTRIBUTES },
	};
	struct statfs st;

	for (size_t i = 0; fstatfs(dir_fd, &st) == 0 && i < sizeof(known) / sizeof(known[0]); i++)
		if ((unsigned long)st.f_type == known[i].magic)
			return known[i].tells;
	return TREE_TELLS_NOTHING;
}

/* A tmpfs without a limit says that it has no blocks (shmem_statfs in mm/shmem.c). */
uint64_t tree_room(int dir_fd)
{
	struct statfs st;

	if (fstatfs(dir_fd, &st) < 0 || st.f_type != TMPFS_MAGIC || st.f_blocks == 0)
		return UINT64_MAX;
	return (uint64_t)st.f_blocks * (uint64_t)st.f_bsize;
}

static bool take(struct tree_record *r, size_t bytes)
{
	if (bytes > r->ahead->memory_max - r->ahead->memory)
		return false;
	r->ahead->memory += bytes;
	return true;
}

static size_t known_bytes(const char *name)
{
	return sizeof(struct known) + strlen(name) + 1 + MALLOC_HEAD;
}

static size_t blocks(const struct tree_record *r, uint64_t size)
{
	return (size_t)((size + r->block - 1) / r->block);
}

static size_t digest_bytes(size_t n)
{
	return n ? n * sizeof(struct tree_digest) + MALLOC_HEAD : 0;
}

static size_t bucket(const struct tree_record *r, const struct known *parent, const char *name)
{
	return (size_t)XXH3_64bits_withSeed(name, strlen(name), (uint64_t)(uintptr_t)parent) & (r->n_buckets - 1);
}

int tree_record_new(struct tree_ahead *ahead, enum tree_tells tells, uint64_t room, struct tree_record **ret, struct error *err)
{
	struct tree_record *r = calloc(1, sizeof(*r));

	if (r) {
		r->ahead = ahead;
		r->compares = tells == TREE_TELLS_ATTRIBUTES;
		r->block = r->compares ? TREE_PAGE : TREE_BLOCK;
		r->room = room;
		r->n_buckets = BUCKETS;
		r->buckets = calloc(BUCKETS, sizeof(struct known *));
		r->root = calloc(1, sizeof(struct known) + 1);
	}
	if (!r || !r->buckets || !r->root) {
		tree_record_free(r);
		return error_set(err, -ENOMEM, "out of memory for a record of files");
	}
	*ret = r;
	return 0;
}

void tree_record_free(struct tree_record *r)
{
	if (!r)
		return;
	if (r->root)
		known_drop_children(r, r->root);
	free(r->root);
	free(r->buckets);
	free(r);
}

struct known *known_find(const struct tree_record *r, const struct known *parent, const char *name)
{
	struct known *k = r && parent ? r->buckets[bucket(r, parent, name)] : NULL;

	while (k && (k->parent != parent || strcmp(k->name, name) != 0))
		k = k->chain;
	return k;
}

struct known *known_by_path(const struct tree_record *r, const char *path)
{
	struct known *k = r ? r->root : NULL;

	while (k && *path) {
		size_t n = strcspn(path, "/");
		char name[256];

		if (n >= sizeof(name))
			return NULL;
		memcpy(name, path, n);
		name[n] = '\0';
		k = known_find(r, k, name);
		path += n + (path[n] == '/');
	}
	return k;
}

static void grow(struct tree_record *r)
{
	struct known **old = r->buckets, **more = calloc(r->n_buckets * 2, sizeof(*more));
	size_t n = r->n_buckets;

	/* Without it the chains get longer, no more. */
	if (!more)
		return;
	r->buckets = more;
	r->n_buckets = n * 2;
	for (size_t i = 0; i < n; i++)
		for (struct known *k = old[i], *next; k; k = next) {
			size_t at = bucket(r, k->parent, k->name);

			next = k->chain;
			k->chain = more[at];
			more[at] = k;
		}
	free(old);
}

struct known *known_add(struct tree_record *r, struct known *parent, const char *name)
{
	size_t len = strlen(name) + 1, at;
	struct known *k;

	if (!parent || !take(r, known_bytes(name)))
		return NULL;
	if (r->n >= r->n_buckets)
		grow(r);
	k = calloc(1, sizeof(*k) + len);
	if (!k) {
		r->ahead->memory -= known_bytes(name);
		return NULL;
	}
	memcpy(k->name, name, len);
	k->parent = parent;
	k->sibling = parent->child;
	parent->child = k;
	k->walk = r->walk;
	at = bucket(r, parent, name);
	k->chain = r->buckets[at];
	r->buckets[at] = k;
	r->n++;
	return k;
}

void known_drop(struct tree_record *r, struct known **at)
{
	struct known *k = *at, **chain = &r->buckets[bucket(r, k->parent, k->name)];

	known_drop_children(r, k);
	known_forget_digests(r, k);
	while (*chain != k)
		chain = &(*chain)->chain;
	*chain = k->chain;
	*at = k->sibling;
	r->n--;
	r->taken -= k->room;
	r->ahead->memory -= known_bytes(k->name);
	free(k);
}

void known_drop_children(struct tree_record *r, struct known *k)
{
	while (k->child)
		known_drop(r, &k->child);
}

void known_forget_digests(struct tree_record *r, struct known *k)
{
	if (k->digests)
		r->ahead->memory -= digest_bytes(blocks(r, k->size));
	free(k->digests);
	k->digests = NULL;
}

bool known_resize(struct tree_record *r, struct known *k, uint64_t size)
{
	size_t had = k->digests ? blocks(r, k->size) : 0, n = blocks(r, size);
	struct tree_digest *more;

	if (n > had && !take(r, digest_bytes(n) - digest_bytes(had))) {
		known_forget_digests(r, k);
		return false;
	}
	more = n ? realloc(k->digests, n * sizeof(*more)) : NULL;
	if (!more) {
		r->ahead->memory -= n > had ? digest_bytes(n) - digest_bytes(had) : 0;
		known_forget_digests(r, k);
		return false;
	}
	if (n > had)
		memset(more + had, 0, (n - had) * sizeof(*more));
	else
		r->ahead->memory -= digest_bytes(had) - digest_bytes(n);
	k->digests = more;
	k->size = size;
	return true;
}

/*
 * Never less than there is in the end or, block after block, on the way there: what was there before and what is here now; which pages of a file with holes are both nobody knows.
 * Pages of zeros become holes there, and a hole stays what it is.
 */
static uint64_t room_of(const struct stat *st, uint64_t had)
{
	uint64_t pages = ((uint64_t)st->st_size + TREE_PAGE - 1) / TREE_PAGE * TREE_PAGE, used = (uint64_t)st->st_blocks * 512;

	if (S_ISLNK(st->st_mode))
		return used;
	if (!S_ISREG(st->st_mode))
		return 0;
	return used + had < pages ? used + had : pages;
}

bool known_take_room(struct tree_record *r, struct known *k, const struct stat *st, bool same)
{
	uint64_t had = k ? k->room : 0, need;

	if (r->room == UINT64_MAX)
		return true;
	/* Where pages have come or gone the times tell. */
	need = room_of(st, same ? 0 : had);
	if (need > r->room || r->taken - had > r->room - need)
		return false;
	r->taken = r->taken - had + need;
	if (k)
		k->room = need;
	return true;
}

void known_count_room(struct tree_record *r, struct known *k)
{
	uint64_t room = 0;

	if (r->room == UINT64_MAX || !k->digests)
		return;
	for (size_t i = 0; i < blocks(r, k->size); i++)
		room += k->digests[i].low || k->digests[i].high ? r->block : 0;
	r->taken = r->taken - k->room + room;
	k->room = room;
}
