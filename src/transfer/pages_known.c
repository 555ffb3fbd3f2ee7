/* SPDX-License-Identifier: Apache-2.0 */
#include "pages_known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "base/cleanup.h"

/*
 * The digests lie in blocks of 512 neighbouring pages (2 MiB) of one process, found by a hash table: pages come in ascending runs, so the last block is
 * nearly always the right one.  XXH3 with 128 bits and a secret start: two different pages are taken for the same with a probability of 2^-128.
 */
#define PAGE 4096u
#define BLOCK_PAGES 512u
#define BLOCK_SHIFT 21

struct known_block {
	uint64_t number;                /* address >> BLOCK_SHIFT */
	pid_t ns_pid;
	XXH128_hash_t digest[BLOCK_PAGES];      /* all zero: not known */
	uint64_t *frames;               /* where each page was, 0: not known; NULL: of none */
};

struct pages_known {
	uint64_t seed;
	struct known_block **table;     /* open addressing, a power of two, at most half full */
	size_t size, blocks;
	struct known_block *last;
	uint64_t *index;                /* by digest: place of the block in the table and page in it, + 1; open addressing, at most half full; NULL: there is none */
	size_t index_size;
};

int pages_known_new(struct pages_known **ret, struct error *err)
{
	struct pages_known *k = calloc(1, sizeof(*k));

	if (k)
		k->size = 64;
	if (k)
		k->table = calloc(k->size, sizeof(struct known_block *));
	if (!k || !k->table || getrandom(&k->seed, sizeof(k->seed), 0) != sizeof(k->seed)) {
		pages_known_free(k);
		return error_set(err, -ENOMEM, "out of memory for the digests of pages");
	}
	*ret = k;
	return 0;
}

void pages_known_free(struct pages_known *k)
{
	if (!k)
		return;
	for (size_t i = 0; k->table && i < k->size; i++) {
		if (k->table[i])
			free(k->table[i]->frames);
		free(k->table[i]);
	}
	free(k->table);
	free(k->index);
	free(k);
}

static struct known_block **find(const struct pages_known *k, pid_t ns_pid, uint64_t number)
{
	uint64_t key[2] = { number, (uint64_t)ns_pid };
	size_t i = (size_t)XXH3_64bits_withSeed(key, sizeof(key), k->seed) & (k->size - 1);

	while (k->table[i] && (k->table[i]->number != number || k->table[i]->ns_pid != ns_pid))
		i = (i + 1) & (k->size - 1);
	return &k->table[i];
}

static int grow(struct pages_known *k)
{
	struct known_block **old = k->table;
	size_t old_size = k->size;

	k->table = calloc(old_size * 2, sizeof(struct known_block *));
	if (!k->table) {
		k->table = old;
		return -ENOMEM;
	}
	k->size = old_size * 2;
	free(k->index);
	k->index = NULL;
	for (size_t i = 0; i < old_size; i++)
		if (old[i])
			*find(k, old[i]->ns_pid, old[i]->number) = old[i];
	free(old);
	return 0;
}

static struct known_block *block_of(struct pages_known *k, pid_t ns_pid, uint64_t number, bool make)
{
	struct known_block **place;

	if (k->last && k->last->number == number && k->last->ns_pid == ns_pid)
		return k->last;
	if (make && (k->blocks + 1) * 2 > k->size && grow(k) < 0)
		return NULL;
	place = find(k, ns_pid, number);
	if (!*place && make) {
		*place = calloc(1, sizeof(**place));
		if (!*place)
			return NULL;
		(*place)->number = number;
		(*place)->ns_pid = ns_pid;
		k->blocks++;
	}
	if (*place)
		k->last = *place;
	return *place;
}

/* All zero stands for "not known". */
static XXH128_hash_t digest_of(const struct pages_known *k, const uint8_t *page)
{
	XXH128_hash_t d = XXH3_128bits_withSeed(page, PAGE, k->seed);

	if (d.low64 == 0 && d.high64 == 0)
		d.low64 = 1;
	return d;
}

int pages_known_same(struct pages_known *k, pid_t ns_pid, uint64_t address, const uint8_t *page, bool *ret_same)
{
	XXH128_hash_t d = digest_of(k, page), *mine;
	struct known_block *b = block_of(k, ns_pid, address >> BLOCK_SHIFT, true);

	if (!b)
		return -ENOMEM;
	mine = &b->digest[address / PAGE % BLOCK_PAGES];
	*ret_same = XXH128_isEqual(*mine, d);
	*mine = d;
	return 0;
}

void pages_known_clear(struct pages_known *k, pid_t ns_pid, uint64_t start, uint64_t end)
{
	for (uint64_t at = start, next; at < end; at = next) {
		struct known_block *b = block_of(k, ns_pid, at >> BLOCK_SHIFT, false);

		next = ((at >> BLOCK_SHIFT) + 1) << BLOCK_SHIFT;
		if (next > end)
			next = end;
		if (b)
			memset(&b->digest[at / PAGE % BLOCK_PAGES], 0, (next - at) / PAGE * sizeof(b->digest[0]));
	}
}

int pages_known_note(struct pages_known *k, pid_t ns_pid, uint64_t address, uint64_t where)
{
	struct known_block *b = block_of(k, ns_pid, address >> BLOCK_SHIFT, where != 0);

	if (b && !b->frames && where)
		b->frames = calloc(BLOCK_PAGES, sizeof(*b->frames));
	if (b && b->frames)
		b->frames[address / PAGE % BLOCK_PAGES] = where;
	return where && (!b || !b->frames) ? -ENOMEM : 0;
}

uint64_t pages_known_noted(struct pages_known *k, pid_t ns_pid, uint64_t address)
{
	const struct known_block *b = block_of(k, ns_pid, address >> BLOCK_SHIFT, false);

	return b && b->frames ? b->frames[address / PAGE % BLOCK_PAGES] : 0;
}

void pages_known_forget_frames(struct pages_known *k, pid_t ns_pid)
{
	for (size_t i = 0; i < k->size; i++)
		if (k->table[i] && k->table[i]->ns_pid == ns_pid)
			free(take_ptr(k->table[i]->frames));
}

void pages_known_forget(struct pages_known *k, pid_t ns_pid)
{
	pages_known_forget_frames(k, ns_pid);
	for (size_t i = 0; i < k->size; i++)
		if (k->table[i] && k->table[i]->ns_pid == ns_pid)
			memset(k->table[i]->digest, 0, sizeof(k->table[i]->digest));
}

static bool is_known(const XXH128_hash_t *d)
{
	return d->low64 || d->high64;
}

static size_t count_known(const struct pages_known *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->size; i++)
		for (size_t j = 0; k->table[i] && j < BLOCK_PAGES; j++)
			n += is_known(&k->table[i]->digest[j]);
	return n;
}

static void add_to_index(struct pages_known *k, size_t block, size_t page)
{
	size_t i = (size_t)k->table[block]->digest[page].low64 & (k->index_size - 1);

	while (k->index[i])
		i = (i + 1) & (k->index_size - 1);
	k->index[i] = (uint64_t)block * BLOCK_PAGES + page + 1;
}

int pages_known_index(struct pages_known *k)
{
	size_t n = count_known(k), size = 64;

	while (size < n * 2)
		size *= 2;
	free(k->index);
	k->index = calloc(size, sizeof(*k->index));
	if (!k->index)
		return -ENOMEM;
	k->index_size = size;
	for (size_t i = 0; i < k->size; i++)
		for (size_t j = 0; k->table[i] && j < BLOCK_PAGES; j++)
			if (is_known(&k->table[i]->digest[j]))
				add_to_index(k, i, j);
	return 0;
}

/* What an entry leads to is compared as it is now: an index that is not of today finds less, and nothing wrong. */
bool pages_known_find(struct pages_known *k, const uint8_t *page, pid_t *ns_pid, uint64_t *address)
{
	XXH128_hash_t d = digest_of(k, page);
	const struct known_block *b = k->index && *ns_pid ? block_of(k, *ns_pid, *address >> BLOCK_SHIFT, false) : NULL;

	if (b && XXH128_isEqual(b->digest[*address / PAGE % BLOCK_PAGES], d))
		return true;
	for (size_t i = (size_t)d.low64; k->index && k->index[i & (k->index_size - 1)]; i++) {
		uint64_t at = k->index[i & (k->index_size - 1)] - 1;

		b = k->table[at / BLOCK_PAGES];
		if (!XXH128_isEqual(b->digest[at % BLOCK_PAGES], d))
			continue;
		*ns_pid = b->ns_pid;
		*address = (b->number << BLOCK_SHIFT) + at % BLOCK_PAGES * PAGE;
		return true;
	}
	return false;
}
