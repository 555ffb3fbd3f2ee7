/* SPDX-License-Identifier: Apache-2.0 */
#include "hardlinks.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/limits.h"

static struct hardlink *find(const struct hardlinks *h, dev_t dev, ino_t ino)
{
	/* Fibonacci hashing: inode numbers of neighbours differ in their low bits. */
	size_t i = (size_t)(((uint64_t)ino ^ (uint64_t)dev << 40) * 0x9e3779b97f4a7c15ull >> 16) & (h->size - 1);

	while (h->table[i].path && (h->table[i].ino != ino || h->table[i].dev != dev))
		i = (i + 1) & (h->size - 1);
	return &h->table[i];
}

static int grow(struct hardlinks *h)
{
	struct hardlinks bigger = { .size = h->size ? h->size * 2 : 64, .used = h->used, .bytes = h->bytes };

	bigger.table = calloc(bigger.size, sizeof(*bigger.table));
	if (!bigger.table)
		return -ENOMEM;
	for (size_t i = 0; i < h->size; i++)
		if (h->table[i].path)
			*find(&bigger, h->table[i].dev, h->table[i].ino) = h->table[i];
	free(h->table);
	*h = bigger;
	return 0;
}

struct hardlink *hardlinks_get(struct hardlinks *h, dev_t dev, ino_t ino)
{
	struct hardlink *l;

	if ((h->used + 1) * 2 > h->size && grow(h) < 0)
		return NULL;
	l = find(h, dev, ino);
	l->dev = dev;
	l->ino = ino;
	return l;
}

/* With its part of the table, which is half full at most. */
static uint64_t bytes_of(const char *path)
{
	return path ? strlen(path) + 1 + 2 * sizeof(struct hardlink) : 0;
}

int hardlinks_set(struct hardlinks *h, struct hardlink *l, const char *path)
{
	uint64_t bytes = h->bytes - bytes_of(l->path) + bytes_of(path);
	char *copy = bytes <= TREE_LINKS_MAX ? strdup(path) : NULL;

	if (!copy)
		return bytes <= TREE_LINKS_MAX ? -ENOMEM : -E2BIG;
	h->used += !l->path;
	h->bytes = bytes;
	free(l->path);
	l->path = copy;
	return 0;
}

void hardlinks_free(struct hardlinks *h)
{
	for (size_t i = 0; i < h->size; i++)
		free(h->table[i].path);
	free(h->table);
	*h = (struct hardlinks){ 0 };
}
