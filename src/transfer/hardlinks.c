/* SPDX-License-Identifier: Apache-2.0 */
#include "hardlinks.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
	struct hardlinks bigger = { .size = h->size ? h->size * 2 : 64, .used = h->used };

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

const char *hardlinks_seen(struct hardlinks *h, dev_t dev, ino_t ino, const char *path, int *ret_error)
{
	struct hardlink *l;

	*ret_error = 0;
	if ((h->used + 1) * 2 > h->size && grow(h) < 0) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	l = find(h, dev, ino);
	if (l->path)
		return l->path;
	l->path = strdup(path);
	if (!l->path) {
		*ret_error = -ENOMEM;
		return NULL;
	}
	l->dev = dev;
	l->ino = ino;
	h->used++;
	return NULL;
}

void hardlinks_free(struct hardlinks *h)
{
	for (size_t i = 0; i < h->size; i++)
		free(h->table[i].path);
	free(h->table);
	*h = (struct hardlinks){ 0 };
}
