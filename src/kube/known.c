/* SPDX-License-Identifier: Apache-2.0 */
#include "known.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct entry {
	struct entry *next;
	unsigned generation;
	char *ns, *name, *uid;          /* one allocation, behind the entry */
};

struct known {
	struct entry **table;
	size_t size, count;             /* size: a power of two */
	unsigned generation;
};

struct known *known_new(void)
{
	struct known *k = calloc(1, sizeof(*k));

	if (k) {
		k->size = 256;
		k->table = calloc(k->size, sizeof(*k->table));
		if (!k->table) {
			free(k);
			k = NULL;
		}
	}
	return k;
}

void known_free(struct known *k)
{
	for (size_t i = 0; k && i < k->size; i++)
		while (k->table[i]) {
			struct entry *e = k->table[i];

			k->table[i] = e->next;
			free(e);
		}
	if (k)
		free(k->table);
	free(k);
}

static struct entry **find(const struct known *k, const char *ns, const char *name)
{
	uint64_t h = XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(ns, strlen(ns)));
	struct entry **p = &k->table[h & (k->size - 1)];

	while (*p && (strcmp((*p)->name, name) || strcmp((*p)->ns, ns)))
		p = &(*p)->next;
	return p;
}

static void grow(struct known *k)
{
	struct known bigger = { calloc(k->size * 2, sizeof(*k->table)), k->size * 2, k->count, k->generation };

	/* A full table is only slower. */
	if (!bigger.table)
		return;
	for (size_t i = 0; i < k->size; i++)
		while (k->table[i]) {
			struct entry *e = k->table[i], **p;

			k->table[i] = e->next;
			p = find(&bigger, e->ns, e->name);
			e->next = NULL;
			*p = e;
		}
	free(k->table);
	*k = bigger;
}

int known_put(struct known *k, const char *ns, const char *name, const char *uid)
{
	size_t a = strlen(ns) + 1, b = strlen(name) + 1, c = strlen(uid) + 1;
	struct entry **p, *e;

	known_remove(k, ns, name);
	if (k->count > k->size)
		grow(k);
	p = find(k, ns, name);
	e = malloc(sizeof(*e) + a + b + c);
	if (!e)
		return -ENOMEM;
	*e = (struct entry){ NULL, k->generation, (char *)(e + 1), (char *)(e + 1) + a, (char *)(e + 1) + a + b };
	memcpy(e->ns, ns, a);
	memcpy(e->name, name, b);
	memcpy(e->uid, uid, c);
	*p = e;
	k->count++;
	return 0;
}

static void drop(struct known *k, struct entry **p)
{
	struct entry *e = *p;

	*p = e->next;
	k->count--;
	free(e);
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

void known_sweep(struct known *k, void (*gone)(void *ctx, const cJSON *object), void *ctx)
{
	for (size_t i = 0; i < k->size; i++) {
		struct entry **p = &k->table[i];

		while (*p) {
			cJSON *o, *meta;

			if ((*p)->generation == k->generation) {
				p = &(*p)->next;
				continue;
			}
			o = cJSON_CreateObject();
			meta = cJSON_AddObjectToObject(o, "metadata");
			cJSON_AddStringToObject(meta, "namespace", (*p)->ns);
			cJSON_AddStringToObject(meta, "name", (*p)->name);
			cJSON_AddStringToObject(meta, "uid", (*p)->uid);
			gone(ctx, o);
			cJSON_Delete(o);
			drop(k, p);
		}
	}
}
