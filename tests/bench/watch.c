/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a watch event costs the controller: its own watch of pods and its own store, fed by tests/bench/watch.py, which says where the parts of the run begin by pods named mark-PART and tells
 * in an event's version when it was sent (microseconds, CLOCK_MONOTONIC).  usage: watch KUBECONFIG.  A line for each part: name, events, processor time in us, mean and longest way in us, and
 * how much more of memory is resident than before, in bytes.
 */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "controller/store.h"
#include "kube/watch.h"
#include "migration/names.h"

struct part {
	char name[32];
	int64_t events, cpu_us, way_us, longest_us, resident;
};

struct bench {
	struct store *store;
	struct part part;               /* the one that is running */
	sem_t over;
};

/* Of this thread: the watch's. */
static int64_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t resident(void)
{
	long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f) {
		if (fscanf(f, "%*s %lld", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return pages * sysconf(_SC_PAGESIZE);
}

static void next_part(struct bench *b, const char *name)
{
	struct part *p = &b->part;

	if (p->events)
		printf("%s %lld %lld %lld %lld %lld\n", p->name, (long long)p->events, (long long)(cpu_us() - p->cpu_us), (long long)(p->way_us / p->events),
		       (long long)p->longest_us, (long long)(resident() - p->resident));
	fflush(stdout);
	*p = (struct part){ .cpu_us = cpu_us(), .resident = resident() };
	snprintf(p->name, sizeof(p->name), "%s", name);
	if (!strcmp(name, "end"))
		sem_post(&b->over);
}

static void on_pod(void *ctx, const cJSON *object)
{
	struct bench *b = ctx;
	const char *name = json_str_or(object, "metadata/name", "");
	char key[STORE_KEY_SIZE];
	int64_t way;

	if (!strncmp(name, "mark-", 5)) {
		next_part(b, name + 5);
		return;
	}
	store_put_pod(b->store, object, key);
	way = clock_mono_us() - strtoll(json_str_or(object, "metadata/resourceVersion", "0"), NULL, 10);
	b->part.events++;
	b->part.way_us += way;
	if (way > b->part.longest_us)
		b->part.longest_us = way;
}

static void on_gone(void *ctx, const cJSON *object)
{
	(void)ctx;
	(void)object;
}

int main(int argc, char **argv)
{
	struct bench b = { 0 };
	struct kube_watch_spec spec = { .path = "/api/v1/pods", .label_selector = PM_LABEL_MIGRATION, .want = store_pod_want, .name = "pods", .on_upsert = on_pod, .on_delete = on_gone, .ctx = &b };
	struct kube_config *config = NULL;
	struct kube_watch *watch = NULL;
	struct error err = { 0 };

	if (argc != 2)
		return 2;
	log_init("watch", LOG_WARNING, 2);
	sem_init(&b.over, 0, 0);
	if (store_new(&b.store, &err) < 0 || kube_config_load(argv[1], NULL, &config, &err) < 0 || kube_watch_start(config, &spec, &watch, &err) < 0) {
		fprintf(stderr, "%s\n", err.message);
		return 1;
	}
	sem_wait(&b.over);
	kube_watch_stop(watch);
	kube_config_free(config);
	store_free(b.store);
	return 0;
}
