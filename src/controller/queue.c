/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"

#define BUCKETS 4096
#define NOT_IN_HEAP (-1)

struct item {
	struct item *hash_next, *ready_next;
	bool dirty;                     /* wants a look */
	bool processing;                /* a worker has it */
	int failures;
	int64_t due_us;                 /* in the heap: when; else when it became ready */
	int heap_at;                    /* place in the heap, or NOT_IN_HEAP */
	char key[];
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct item *bucket[BUCKETS];
	struct item *first, *last;      /* ready, in order of arrival */
	int n_ready;
	struct item **heap;             /* waiting, by due_us */
	int n_heap, cap_heap;
	bool stopped;
};

int queue_new(struct queue **ret, struct error *err)
{
	struct queue *q = calloc(1, sizeof(*q));
	pthread_condattr_t mono;

	if (!q)
		return error_set(err, -ENOMEM, "out of memory");
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &mono);
	pthread_condattr_destroy(&mono);
	*ret = q;
	return 0;
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	for (int i = 0; i < BUCKETS; i++)
		while (q->bucket[i]) {
			struct item *it = q->bucket[i];

			q->bucket[i] = it->hash_next;
			free(it);
		}
	free(q->heap);
	pthread_cond_destroy(&q->changed);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

/* --- the table of keys --- */

static size_t hash(const char *s)
{
	return (size_t)(text_hash(TEXT_HASH, s) % BUCKETS);
}

static struct item *find(struct queue *q, const char *key, bool make)
{
	struct item **b = &q->bucket[hash(key)], *it;
	size_t len = strlen(key);

	for (it = *b; it; it = it->hash_next)
		if (!strcmp(it->key, key))
			return it;
	if (!make || len >= QUEUE_KEY_SIZE)
		return NULL;
	it = calloc(1, sizeof(*it) + len + 1);
	if (!it)
		return NULL;
	memcpy(it->key, key, len + 1);
	it->heap_at = NOT_IN_HEAP;
	it->hash_next = *b;
	*b = it;
	return it;
}

/* Forgets a key of which nothing is left to remember. */
static void drop_idle(struct queue *q, struct item *it)
{
	struct item **p = &q->bucket[hash(it->key)];

	if (it->dirty || it->processing || it->failures || it->heap_at != NOT_IN_HEAP)
		return;
	while (*p != it)
		p = &(*p)->hash_next;
	*p = it->hash_next;
	free(it);
}

/* --- the heap of keys that wait --- */

static void put(struct queue *q, int i, struct item *it)
{
	q->heap[i] = it;
	it->heap_at = i;
}

static void sift_up(struct queue *q, int i)
{
	struct item *it = q->heap[i];

	for (; i > 0 && q->heap[(i - 1) / 2]->due_us > it->due_us; i = (i - 1) / 2)
		put(q, i, q->heap[(i - 1) / 2]);
	put(q, i, it);
}

static void sift_down(struct queue *q, int i)
{
	struct item *it = q->heap[i];

	for (;;) {
		int child = 2 * i + 1;

		if (child + 1 < q->n_heap && q->heap[child + 1]->due_us < q->heap[child]->due_us)
			child++;
		if (child >= q->n_heap || q->heap[child]->due_us >= it->due_us)
			break;
		put(q, i, q->heap[child]);
		i = child;
	}
	put(q, i, it);
}

static void heap_remove(struct queue *q, struct item *it)
{
	int i = it->heap_at;
	struct item *last;

	if (i == NOT_IN_HEAP)
		return;
	it->heap_at = NOT_IN_HEAP;
	last = q->heap[--q->n_heap];
	if (last == it)
		return;
	put(q, i, last);
	sift_up(q, i);
	sift_down(q, last->heap_at);
}

static void heap_add(struct queue *q, struct item *it, int64_t due_us)
{
	if (it->heap_at != NOT_IN_HEAP) {
		if (due_us >= it->due_us)
			return;
		heap_remove(q, it);
	}
	if (q->n_heap == q->cap_heap) {
		int cap = q->cap_heap ? q->cap_heap * 2 : 64;
		struct item **h = realloc(q->heap, (size_t)cap * sizeof(*h));

		if (!h)
			return;
		q->heap = h;
		q->cap_heap = cap;
	}
	it->due_us = due_us;
	put(q, q->n_heap++, it);
	sift_up(q, it->heap_at);
}

/* --- the line of keys that are ready --- */

static void make_ready(struct queue *q, struct item *it)
{
	heap_remove(q, it);
	if (it->dirty)
		return;
	it->dirty = true;
	it->due_us = clock_mono_us();
	if (it->processing)
		return;                 /* queue_done puts it into the line */
	it->ready_next = NULL;
	if (q->last)
		q->last->ready_next = it;
	else
		q->first = it;
	q->last = it;
	q->n_ready++;
	pthread_cond_signal(&q->changed);
}

void queue_add(struct queue *q, const char *key)
{
	struct item *it;

	pthread_mutex_lock(&q->lock);
	it = q->stopped ? NULL : find(q, key, true);
	if (it)
		make_ready(q, it);
	pthread_mutex_unlock(&q->lock);
}

void queue_add_after(struct queue *q, const char *key, int64_t delay_us)
{
	struct item *it;

	if (delay_us <= 0) {
		queue_add(q, key);
		return;
	}
	pthread_mutex_lock(&q->lock);
	it = q->stopped ? NULL : find(q, key, true);
	if (it && !it->dirty) {
		heap_add(q, it, clock_mono_us() + delay_us);
		pthread_cond_signal(&q->changed);
	}
	pthread_mutex_unlock(&q->lock);
}

/* Moves what has come due into the line. */
static void take_due(struct queue *q)
{
	int64_t now = clock_mono_us();

	while (q->n_heap && q->heap[0]->due_us <= now)
		make_ready(q, q->heap[0]);
}

static void wait_for_change(struct queue *q)
{
	struct timespec until;

	if (!q->n_heap) {
		pthread_cond_wait(&q->changed, &q->lock);
		return;
	}
	until.tv_sec = (time_t)(q->heap[0]->due_us / 1000000);
	until.tv_nsec = (long)(q->heap[0]->due_us % 1000000) * 1000;
	pthread_cond_timedwait(&q->changed, &q->lock, &until);
}

bool queue_get(struct queue *q, char key[QUEUE_KEY_SIZE], int64_t *ret_waited_us)
{
	struct item *it = NULL;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		take_due(q);
		it = q->first;
		if (it || q->stopped)
			break;
		wait_for_change(q);
	}
	if (it && !q->stopped) {
		q->first = it->ready_next;
		if (!q->first)
			q->last = NULL;
		q->n_ready--;
		it->dirty = false;
		it->processing = true;
		snprintf(key, QUEUE_KEY_SIZE, "%s", it->key);
		*ret_waited_us = clock_mono_us() - it->due_us;
		/* The others may have to wait for a later time now, or for this one's rest. */
		if (q->first || q->n_heap)
			pthread_cond_signal(&q->changed);
	} else {
		it = NULL;
	}
	pthread_mutex_unlock(&q->lock);
	return it != NULL;
}

void queue_done(struct queue *q, const char *key, bool failed)
{
	struct item *it;
	int64_t delay = QUEUE_RETRY_FIRST_US;

	pthread_mutex_lock(&q->lock);
	it = find(q, key, false);
	if (it) {
		it->processing = false;
		for (int i = 0; failed && i < it->failures && delay < QUEUE_RETRY_MAX_US; i++)
			delay *= 2;
		it->failures = failed ? it->failures + 1 : 0;
		if (it->dirty) {
			it->dirty = false;
			make_ready(q, it);
		} else if (failed && !q->stopped) {
			heap_add(q, it, clock_mono_us() + (delay < QUEUE_RETRY_MAX_US ? delay : QUEUE_RETRY_MAX_US));
			pthread_cond_signal(&q->changed);
		}
		drop_idle(q, it);
	}
	pthread_mutex_unlock(&q->lock);
}

void queue_stop(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->stopped = true;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

int queue_depth(struct queue *q)
{
	int n;

	pthread_mutex_lock(&q->lock);
	n = q->n_ready;
	pthread_mutex_unlock(&q->lock);
	return n;
}
