/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "source.h"

/*
 * What goes on while the pod runs, for who watches: a copy over a slow link can take hours.  Nothing is told while the pod stands still, and nothing by a remote source, whose other side
 * tells how much has come.  A thread of its own: those that send are busy for minutes.
 */
#define LIVE_MS 5000

struct source_live {
	struct source *source;
	int end_fd;                     /* eventfd */
	pthread_t thread;
};

static void add_rounds(const struct source_container *c, cJSON *e)
{
	uint64_t pages = 0, bytes = 0;
	cJSON *rounds = cJSON_AddArrayToObject(e, "rounds");

	for (int i = 0; i < c->rounds_told; i++) {
		cJSON_AddItemToArray(rounds, source_report_round(&c->rounds[i]));
		pages += c->rounds[i].pages;
		bytes += c->rounds[i].bytes;
	}
	cJSON_AddNumberToObject(e, "pages", (double)pages);
	cJSON_AddNumberToObject(e, "bytes", (double)bytes);
}

void source_live_tell(struct source *s)
{
	cJSON *list = s->record ? cJSON_CreateArray() : NULL;

	for (int i = 0; list && i < s->n; i++) {
		const struct source_container *c = &s->containers[i];
		cJSON *e = cJSON_CreateObject();

		cJSON_AddStringToObject(e, "name", c->info.name);
		source_throttle_report(c, e);
		if (c->rounds_told)
			add_rounds(c, e);
		cJSON_AddItemToArray(list, e);
	}
	if (list)
		record_live(s->record, s->wire ? (int64_t)wire_bytes_sent(s->wire) : -1, list);
}

void source_live_round(struct source_container *c)
{
	pthread_mutex_lock(&c->source->throttle_lock);
	c->rounds_told = c->n_rounds;
	pthread_mutex_unlock(&c->source->throttle_lock);
}

static void *live_main(void *arg)
{
	struct source_live *l = arg;
	struct pollfd p = { l->end_fd, POLLIN, 0 };

	while (poll(&p, 1, LIVE_MS) == 0) {
		pthread_mutex_lock(&l->source->throttle_lock);
		source_live_tell(l->source);
		pthread_mutex_unlock(&l->source->throttle_lock);
	}
	return NULL;
}

struct source_live *source_live_begin(struct source *s)
{
	struct source_live *l = s->record ? calloc(1, sizeof(*l)) : NULL;

	if (!l)
		return NULL;
	*l = (struct source_live){ .source = s, .end_fd = eventfd(0, EFD_CLOEXEC) };
	if (l->end_fd >= 0 && pthread_create(&l->thread, NULL, live_main, l) == 0)
		return l;
	log_warning("how far the copy is will not be told", LOG_S("migration", s->journal.migration));
	if (l->end_fd >= 0)
		close(l->end_fd);
	free(l);
	return NULL;
}

void source_live_end(struct source_live *l)
{
	const uint64_t one = 1;

	if (!l)
		return;
	write_full(l->end_fd, &one, sizeof(one));
	pthread_join(l->thread, NULL);
	close(l->end_fd);
	free(l);
}
