/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "migration/reason.h"
#include "transfer/pages.h"

/*
 * Page data lies in one nameless file, a slot of 4096 bytes per page, in the order it came.  It is written by pwrite (the kernel
 * then need not clear the pages first, as it must for a store through a mapping) and read through one mapping of the file.
 *
 * The index is a hash table of blocks; a block tells the slots of 512 neighbouring pages (2 MiB) of one process.  Pages come in
 * runs, so there are few blocks, and each operation takes the same time whatever the order in which a sender names its pages.
 * Blocks live as long as the store.
 */
#define PAGE 4096u
#define BLOCK_PAGES 512u
#define BLOCK_SHIFT 21

/* Slot numbers in a block: unknown page, zero page, else slot + FIRST. */
enum { UNKNOWN = 0, ALL_ZERO = 1, FIRST = 2 };

struct page_block {
	uint64_t number;                /* address >> BLOCK_SHIFT */
	pid_t ns_pid;
	uint16_t container;
	uint32_t slots[BLOCK_PAGES];
};

struct page_store {
	int fd;
	uint8_t *map;
	size_t map_size;
	uint64_t max_bytes;
	pthread_mutex_t lock;                   /* guards what follows; a block's slots belong to whoever works on its container */
	uint64_t used_bytes;                    /* slots and blocks ever taken */
	uint32_t next_slot;
	uint64_t seed;                          /* so that a sender cannot choose addresses that collide */
	struct page_block **table;              /* open addressing, a power of two, at most half full */
	size_t table_size, blocks;
};

const uint8_t page_store_zero[PAGE];

static size_t hash(const struct page_store *s, uint16_t container, pid_t ns_pid, uint64_t number)
{
	/* The finalizer of MurmurHash3, public domain: every input bit reaches every output bit. */
	uint64_t h = number ^ (uint64_t)(uint32_t)ns_pid << 32 ^ (uint64_t)container << 48 ^ s->seed;

	h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
	return (size_t)(h ^ h >> 33) & (s->table_size - 1);
}

/* The place of this block in the table: where it is, or the free place where it belongs. */
static struct page_block **find(const struct page_store *s, uint16_t container, pid_t ns_pid, uint64_t number)
{
	size_t i = hash(s, container, ns_pid, number);

	while (s->table[i] &&
	       (s->table[i]->number != number || s->table[i]->ns_pid != ns_pid || s->table[i]->container != container))
		i = (i + 1) & (s->table_size - 1);
	return &s->table[i];
}

static int grow(struct page_store *s)
{
	struct page_block **old = s->table;
	size_t old_size = s->table_size;

	s->table = calloc(old_size * 2, sizeof(*s->table));
	if (!s->table) {
		s->table = old;
		return -ENOMEM;
	}
	s->table_size = old_size * 2;
	for (size_t i = 0; i < old_size; i++)
		if (old[i])
			*find(s, old[i]->container, old[i]->ns_pid, old[i]->number) = old[i];
	free(old);
	return 0;
}

/* Under the lock. */
static int take_bytes(struct page_store *s, uint64_t bytes, struct error *err)
{
	if (bytes > s->max_bytes - s->used_bytes)
		return error_reason(err, -ENOSPC, REASON_NoSpace,
				    "the pod's memory does not fit the %" PRIu64 " MiB allowed for it here", s->max_bytes >> 20);
	s->used_bytes += bytes;
	return 0;
}

/* Under the lock. */
static int block_for(struct page_store *s, uint16_t container, pid_t ns_pid, uint64_t number, struct page_block **ret,
		     struct error *err)
{
	struct page_block **place = find(s, container, ns_pid, number);
	struct page_block *b;
	int r;

	if (*place) {
		*ret = *place;
		return 0;
	}
	r = take_bytes(s, sizeof(*b), err);
	if (r < 0)
		return r;
	if ((s->blocks + 1) * 2 > s->table_size) {
		if (grow(s) < 0)
			return error_set(err, -ENOMEM, "out of memory for the page index");
		place = find(s, container, ns_pid, number);
	}
	b = calloc(1, sizeof(*b));
	if (!b)
		return error_set(err, -ENOMEM, "out of memory for the page index");
	b->number = number;
	b->ns_pid = ns_pid;
	b->container = container;
	*place = b;
	s->blocks++;
	*ret = b;
	return 0;
}

int page_store_new(int dir_fd, uint64_t max_bytes, struct page_store **ret, struct error *err)
{
	struct page_store *s;

	if (max_bytes == 0 || max_bytes / PAGE > UINT32_MAX - FIRST)
		return error_set(err, -EINVAL, "a page store of %" PRIu64 " bytes", max_bytes);
	s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, -ENOMEM, "out of memory for a page store");
	pthread_mutex_init(&s->lock, NULL);
	s->map = MAP_FAILED;
	s->max_bytes = max_bytes;
	s->map_size = (size_t)((max_bytes + PAGE - 1) / PAGE * PAGE);
	s->table_size = 256;
	s->table = calloc(s->table_size, sizeof(*s->table));
	s->fd = openat(dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	/* Beyond the end of the file for now: only slots that were written are ever looked at. */
	if (s->fd >= 0)
		s->map = mmap(NULL, s->map_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, s->fd, 0);
	if (!s->table || s->fd < 0 || s->map == MAP_FAILED || getrandom(&s->seed, sizeof(s->seed), 0) != sizeof(s->seed)) {
		int r = error_errno(err, "make a page store");

		page_store_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void page_store_free(struct page_store *s)
{
	if (!s)
		return;
	if (s->map != MAP_FAILED)
		munmap(s->map, s->map_size);
	if (s->fd >= 0)
		close(s->fd);
	for (size_t i = 0; s->table && i < s->table_size; i++)
		free(s->table[i]);
	free(s->table);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int write_slots(struct page_store *s, uint32_t slot, const uint8_t *data, uint32_t pages, struct error *err)
{
	size_t len = (size_t)pages * PAGE;
	off_t at = (off_t)slot * PAGE;

	while (len) {
		ssize_t n = pwrite(s->fd, data, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == ENOSPC)
			return error_reason(err, -ENOSPC, REASON_NoSpace, "no memory left on this node for the pod's pages");
		if (n < 0)
			return error_errno(err, "store pages");
		data += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int take_slots(struct page_store *s, uint32_t n, uint32_t *ret, struct error *err)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = take_bytes(s, (uint64_t)n * PAGE, err);
	*ret = s->next_slot;
	s->next_slot += r == 0 ? n : 0;
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* How many of the n slots from here on can be written by one call: all new ones (and zero ones), or old ones that follow each
 * other in the file. */
static uint32_t same_kind(const uint32_t *slots, uint32_t n)
{
	uint32_t i = 1;

	while (i < n && (slots[0] < FIRST ? slots[i] < FIRST : slots[i] == slots[0] + i))
		i++;
	return i;
}

static int put_data(struct page_store *s, uint32_t *slots, uint32_t n, const uint8_t *data, struct error *err)
{
	while (n) {
		uint32_t k = same_kind(slots, n), slot = slots[0] - FIRST;
		bool fresh = slots[0] < FIRST;
		int r = fresh ? take_slots(s, k, &slot, err) : 0;

		if (r == 0)
			r = write_slots(s, slot, data, k, err);
		if (r < 0)
			return r;
		for (uint32_t i = 0; fresh && i < k; i++)
			slots[i] = slot + i + FIRST;
		slots += k;
		n -= k;
		data += (size_t)k * PAGE;
	}
	return 0;
}

/* A slot that turns zero is a hole from now on, but stays the page's own: the next round may fill it again. */
static int put_zeros(struct page_store *s, uint32_t *slots, uint32_t n, struct error *err)
{
	for (uint32_t i = 0; i < n; i++) {
		if (slots[i] < FIRST)
			slots[i] = ALL_ZERO;
		else if (fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(slots[i] - FIRST) * PAGE, PAGE) < 0)
			return error_errno(err, "store zero pages");
	}
	return 0;
}

/* The part of a frame that lies in one block. */
static int put_in_block(struct page_store *s, const struct wire_frame *f, const struct wire_pages *p, struct error *err)
{
	uint64_t page = p->address / PAGE;
	struct page_block *b = NULL;
	uint32_t *slots;
	int r;

	pthread_mutex_lock(&s->lock);
	r = block_for(s, f->container, p->ns_pid, page / BLOCK_PAGES, &b, err);
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		return r;
	slots = b->slots + page % BLOCK_PAGES;
	return f->type == WIRE_ZEROS ? put_zeros(s, slots, p->pages, err) : put_data(s, slots, p->pages, p->data, err);
}

int page_store_put(struct page_store *s, const struct wire_frame *f, struct error *err)
{
	struct wire_pages all;
	uint32_t done = 0;
	int r;

	if (f->type != WIRE_PAGES && f->type != WIRE_ZEROS)
		return error_set(err, -EINVAL, "not a frame of pages");
	r = wire_pages_unpack(f, &all, err);
	while (r == 0 && done < all.pages) {
		struct wire_pages part = all;
		uint32_t room;

		part.address += (uint64_t)done * PAGE;
		part.data += f->type == WIRE_PAGES ? (size_t)done * PAGE : 0;
		room = BLOCK_PAGES - (uint32_t)(part.address / PAGE % BLOCK_PAGES);
		part.pages = all.pages - done < room ? all.pages - done : room;
		r = put_in_block(s, f, &part, err);
		done += part.pages;
	}
	return r;
}

/* Slot number of a page (UNKNOWN, ALL_ZERO, ..). */
static uint32_t slot_of(struct page_store_view *v, uint64_t vaddr)
{
	struct page_block *b = v->last;
	uint64_t number = vaddr >> BLOCK_SHIFT;

	if (!b || b->number != number || b->ns_pid != v->ns_pid || b->container != v->container) {
		pthread_mutex_lock(&v->store->lock);
		b = *find(v->store, v->container, v->ns_pid, number);
		pthread_mutex_unlock(&v->store->lock);
		if (!b)
			return UNKNOWN;
		v->last = b;
	}
	return b->slots[vaddr / PAGE % BLOCK_PAGES];
}

const void *page_store_lookup(void *view, uint64_t vaddr)
{
	struct page_store_view *v = view;
	uint32_t slot = slot_of(v, vaddr);

	if (slot < FIRST)
		return slot == ALL_ZERO ? page_store_zero : NULL;
	return v->store->map + (size_t)(slot - FIRST) * PAGE;
}

int page_store_offset(struct page_store_view *v, uint64_t vaddr, uint64_t *ret)
{
	uint32_t slot = slot_of(v, vaddr);

	if (slot < FIRST)
		return slot == ALL_ZERO ? 0 : -ENODATA;
	*ret = (uint64_t)(slot - FIRST) * PAGE;
	return 1;
}

int page_store_reserve(struct page_store_view *v, uint64_t vaddr, uint64_t *ret, struct error *err)
{
	struct page_store *s = v->store;
	struct page_block *b = NULL;
	uint32_t slot = 0;
	int r;

	pthread_mutex_lock(&s->lock);
	r = block_for(s, v->container, v->ns_pid, vaddr >> BLOCK_SHIFT, &b, err);
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = take_slots(s, 1, &slot, err);
	if (r < 0)
		return r;
	b->slots[vaddr / PAGE % BLOCK_PAGES] = slot + FIRST;
	*ret = (uint64_t)slot * PAGE;
	return 0;
}

/* By a byte that nobody has written yet: the file may grow in another thread meanwhile, and must not be cut. */
int page_store_reach(struct page_store *s, uint64_t end, struct error *err)
{
	return pwrite(s->fd, "", 1, (off_t)(end - 1)) == 1 ? 0 : error_errno(err, "make room for pages that come later");
}

uint64_t page_store_used(struct page_store *s)
{
	uint64_t used;

	pthread_mutex_lock(&s->lock);
	used = s->used_bytes;
	pthread_mutex_unlock(&s->lock);
	return used;
}

int page_store_fd(const struct page_store *s, struct error *err)
{
	int fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? error_errno(err, "page store") : fd;
}

static void drop_block(struct page_store *s, struct page_block *b)
{
	for (uint32_t i = 0; i < BLOCK_PAGES;) {
		uint32_t n = same_kind(b->slots + i, BLOCK_PAGES - i);

		if (b->slots[i] >= FIRST)
			fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(b->slots[i] - FIRST) * PAGE,
				  (off_t)n * PAGE);
		i += n;
	}
	memset(b->slots, 0, sizeof(b->slots));
}

void page_store_drop(struct page_store *s, uint16_t container)
{
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->table_size; i++)
		if (s->table[i] && s->table[i]->container == container)
			drop_block(s, s->table[i]);
	pthread_mutex_unlock(&s->lock);
}
