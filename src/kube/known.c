/* SPDX-License-Identifier: Apache-2.0 */
#include "known.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#define SIZE_FIRST 64

struct entry {
	struct entry *next;
	unsigned generation;
	unsigned name_at, uid_at;       /* within text */
	char text[];                    /* namespace, name, uid, each with its NUL */
};

struct known {
	struct entry **table;
	size_t size, count;             /* size: a power of two */
	unsigned generation;
	uint64_t seed;                  /* names are chosen by users: they shall not choose collisions */
};

static const char *name_of(const struct entry *e)
{
	return e->text + e->name_at;
}

static const char *uid_of(const struct entry *e)
{
	return e->text + e->uid_at;
}

struct known *known_new(void)
{
	struct known *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->size = SIZE_FIRST;
	k->table = calloc(k->size, sizeof(*k->table));
	if (!k->table || getrandom(&k->seed, sizeof(k->seed), 0) != sizeof(k->seed)) {
		known_free(k);
		return NULL;
	}
	return k;
}

void known_free(struct known *k)
{
	if (!k)
		return;
	for (size_t i = 0; k->table && i < k->size; i++)
		while (k->table[i]) {
			struct entry *e = k->table[i];

			k->table[i] = e->next;
			free(e);
		}
	free(k->table);
	free(k);
}

/* Where the entry hangs, or where it would. */
static struct entry **find(const struct known *k, const char *ns, const char *name)
{
	uint64_t h = XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits_withSeed(ns, strlen(ns), k->seed));
	struct entry **p = &k->table[h & (k->size - 1)];

	while (*p && (strcmp(name_of(*p), name) || strcmp((*p)->text, ns)))
		p = &(*p)->next;
	return p;
}

/* A table that cannot grow is only slower. */
static void grow(struct known *k)
{
	struct known bigger = { calloc(k->size * 2, sizeof(*k->table)), k->size * 2, k->count, k->generation, k->seed };

	if (!bigger.table)
		return;
	for (size_t i = 0; i < k->size; i++)
		while (k->table[i]) {
			struct entry *e = k->table[i], **p = find(&bigger, e->text, name_of(e));

			k->table[i] = e->next;
			e->next = NULL;
			*p = e;
		}
	free(k->table);
	*k = bigger;
}

const char *known_uid(const struct known *k, const char *ns, const char *name)
{
	const struct entry *e = *find(k, ns, name);

	return e ? uid_of(e) : NULL;
}

size_t known_count(const struct known *k)
{
	return k->count;
}

static void drop(struct known *k, struct entry **p)
{
	struct entry *e = *p;

	*p = e->next;
	k->count--;
	free(e);
}

int known_put(struct known *k, const char *ns, const char *name, const char *uid)
{
	size_t ns_size = strlen(ns) + 1, name_size = strlen(name) + 1, uid_size = strlen(uid) + 1;
	struct entry **p = find(k, ns, name), *e = *p;

	if (e && !strcmp(uid_of(e), uid)) {
		e->generation = k->generation;
		return 0;
	}
	if (ns_size + name_size + uid_size > UINT16_MAX)
		return -ENOMEM;
	e = malloc(sizeof(*e) + ns_size + name_size + uid_size);
	if (!e)
		return -ENOMEM;
	if (*p)
		drop(k, p);
	if (k->count >= k->size)
		grow(k);
	e->next = NULL;
	e->generation = k->generation;
	e->name_at = (unsigned)ns_size;
	e->uid_at = (unsigned)(ns_size + name_size);
	memcpy(e->text, ns, ns_size);
	memcpy(e->text + e->name_at, name, name_size);
	memcpy(e->text + e->uid_at, uid, uid_size);
	*find(k, ns, name) = e;
	k->count++;
	return 0;
}

void known_remove(struct known *k, const char *ns, const char *name)
{
	struct entry **p = find(k, ns, name);

	if (*p)
		drop(k, p);
}

void known_mark(struct known *k)
{
	k->generation++;
}

void known_sweep(struct known *k, known_gone_fn *gone, void *ctx)
{
	for (size_t i = 0; i < k->size; i++) {
		struct entry **p = &k->table[i];

		while (*p) {
			if ((*p)->generation == k->generation) {
				p = &(*p)->next;
				continue;
			}
			gone(ctx, (*p)->text, name_of(*p), uid_of(*p));
			drop(k, p);
		}
	}
}
