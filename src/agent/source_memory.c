/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/calm.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "container/process_info.h"
#include "migration/reason.h"
#include "source.h"

/* Of the pause that is allowed, the part that memory may take; the rest is CRIU's, here and at the destination. */
#define MEMORY_SHARE 4
#define CALM_US 100000

/*
 * A round can take minutes, and a busy node uses a number again within one: what was in the list when it began may be a process of another pod by now.  Those that were put into the
 * container (source_strangers.c) are not dumped either.
 */
int source_hold_process(const struct source_container *c, pid_t pid, struct error *err)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd >= 0 && process_descends(pid, c->init_pid))
		return fd;
	if (fd >= 0)
		close(fd);
	return error_set(err, -ESRCH, "process %d is not the container's", (int)pid);
}

static int send_process(struct source_container *c, pid_t pid, enum pages_which which, bool running, struct error *err)
{
	struct pages_source from = { .container = c->index, .pid = pid, .running = running, .known = c->known, .packer = c->packer };
	cleanup_close int held = running ? source_hold_process(c, pid, err) : -1;
	int r = running && held < 0 ? held : process_ns_pid(pid, &from.ns_pid, err);

	from.pidfd = held;
	if (r < 0)
		return r;
	from.later = c->later && !running;
	from.sysv = running ? NULL : &c->sysv;
	from.track = c->tracks ? track_set_get(c->tracks, pid, running) : NULL;
	r = c->tracks && running ? track_set_refused(c->tracks, err) : 0;
	if (r < 0)
		return r;
	/* Large memory holds no code. */
	if (!running && which == PAGES_NOT_EXECUTABLE) {
		source_blinkers_look(c, pid);
		from.found = source_blinkers_found;
		from.found_ctx = c->blinkers;
	}
	return pages_send(c->source->wire, &from, which, &c->pages, err);
}

int source_list_processes(struct source_container *c, pid_t *pids, struct error *err)
{
	int n = freezer_pids(&c->source->freezer, c->index, pids, SOURCE_PROCESSES_MAX);

	if (n <= 0 || n == SOURCE_PROCESSES_MAX)
		return error_reason(err, -E2BIG, REASON_UnsupportedContainer, "it has no or too many processes (limit %d)",
				    SOURCE_PROCESSES_MAX - 1);
	return n;
}

static void count_round(struct source_round *round, const struct source_container *c, const struct pages_stats *before, int64_t start)
{
	round->pages += c->pages.pages - before->pages;
	round->bytes += c->pages.bytes - before->bytes;
	round->micros += clock_mono_us() - start;
}

/* Why not all processes are tracked, for people. */
static void note_tracking(struct source_container *c)
{
	int all, tracked;
	const char *why;

	track_set_count(c->tracks, &all, &tracked, &why);
	c->tracking[0] = '\0';
	if (why)
		snprintf(c->tracking, sizeof(c->tracking), "%d of %d processes: %.180s", all - tracked, all, why);
}

int source_send_memory(struct source_container *c, enum pages_which which, bool running, struct error *err)
{
	struct source_round *round = running ? &c->rounds[c->n_rounds] : &c->last;
	struct pages_stats before = c->pages;
	pid_t pids[SOURCE_PROCESSES_MAX];
	int64_t start = clock_mono_us();
	int n = source_list_processes(c, pids, err);

	if (n < 0)
		return n;
	if (c->tracks)
		track_set_round(c->tracks);
	for (int i = 0; i < n; i++) {
		int r;

		/* Put into the frozen container; it may even end while CRIU lets the group run.  (While the pod runs, source_hold_process sees to that.) */
		if (!running && !process_descends(pids[i], c->init_pid))
			continue;
		r = send_process(c, pids[i], which, running, err);
		/* One that ended meanwhile, its number too. */
		if (running && (r == -ESRCH || r == -ENOENT))
			continue;
		if (r < 0)
			return error_wrap(err, r, "memory of process %d", pids[i]);
	}
	count_round(round, c, &before, start);
	round->cpu_percent = running ? c->cpu_percent : 0;
	if (c->tracks)
		note_tracking(c);
	return 0;
}

/* --- while it runs --- */

/* Bytes that a round would have to look at now; -1 when nobody knows, since a process is not tracked. */
static int64_t count_written(struct source_container *c)
{
	pid_t pids[SOURCE_PROCESSES_MAX];
	int n = source_list_processes(c, pids, NULL);
	uint64_t pages = 0;

	for (int i = 0; i < n; i++) {
		struct pages_source from = { .pid = pids[i], .track = track_set_get(c->tracks, pids[i], false) };
		int r = pages_count_written(&from, &pages, NULL);

		if (r < 0 && r != -ESRCH)
			return -1;
	}
	return n < 0 ? -1 : (int64_t)(pages * 4096);
}

/* Microseconds that so many bytes took on the average of all rounds so far. */
static int64_t estimate(const struct source_container *c, int64_t bytes)
{
	uint64_t sum = 1;
	int64_t us = 0;

	for (int i = 0; i < c->n_rounds; i++) {
		sum += c->rounds[i].bytes;
		us += c->rounds[i].micros;
	}
	return (int64_t)((double)bytes * (double)us / (double)sum);
}

/*
 * The first round sends everything, each further one what changed during the one before.  The last round finds the pod frozen.  Other rounds are worth it
 * as long as what is left is too much for the pause that is wanted, and gets less: a program that writes faster than the link carries would be followed for ever,
 * unless it may be slowed down (source_throttle.c).
 * Where nobody tells what was written, or only what was ever written, a round takes as long as looking at all of that does, and its own length is all that can be judged.
 */
static bool another_round(struct source_container *c, int64_t *left)
{
	const struct source_round *now = &c->rounds[c->n_rounds - 1];
	int64_t written = count_written(c), before = *left;

	/* Soft-dirty bits gather; what had to be sent of them tells how fast it goes. */
	if (written < 0 || (track_set_by_bits(c->tracks) && written > (int64_t)now->bytes))
		written = (int64_t)now->bytes;
	*left = written;
	source_throttle_left(c, written);
	if (estimate(c, written) <= c->source->downtime_us / MEMORY_SHARE)
		return false;
	if (c->n_rounds < 2 || written < before / 10 * 7)
		return true;
	if (!c->source->auto_converge || c->n_rounds == c->source->rounds_max)
		return false;
	/* Up to now it had to share the link with what goes of others for the first time: that is no fault of its own. */
	return source_wait_memory(c->source) || source_throttle_more(c, estimate(c, written));
}

/* One round, and whether another one is worth it. */
static int precopy_round(struct source_container *c, int64_t *left, bool *ret_another, struct error *err)
{
	struct source_usage before = source_usage_now(c);
	int r = source_send_memory(c, PAGES_ALL, true, err);

	source_throttle_measure(c, &before);
	if (c->n_rounds++ == 0) {
		/* What it has of it is the most that can be left. */
		source_throttle_left(c, (int64_t)c->rounds[0].bytes);
		source_tell_memory(c->source);
	}
	source_live_round(c);
	/* What is written while we wait for a good moment belongs to the next round. */
	if (c->n_rounds == 1)
		calm_wait(CALM_US + (int64_t)c->source->n * CALM_US / 2);
	*ret_another = r == 0 && another_round(c, left);
	return r;
}

/* One round more, if it is worth one. */
static int catch_up(struct source_container *c, struct error *err)
{
	int r;

	if (c->n_rounds >= c->source->rounds_max || estimate(c, count_written(c)) <= c->source->downtime_us / MEMORY_SHARE)
		return 0;
	r = source_send_memory(c, PAGES_ALL, true, err);
	c->n_rounds++;
	return r;
}

int source_precopy_container(struct source_container *c, struct error *err)
{
	int64_t left = INT64_MAX;
	bool another = true;
	int r = pages_known_new(&c->known, err);

	if (r == 0)
		r = track_set_new(&c->tracks, err);
	if (r == 0)
		r = source_shared_ahead(c, err);
	while (r == 0 && another && c->n_rounds < c->source->rounds_max)
		r = precopy_round(c, &left, &another, err);
	if (c->n_rounds == 0)
		source_tell_memory(c->source);
	source_wait_files(c->source);
	source_end_rounds(c->source, r == 0);
	if (r == 0)
		r = source_shared_again(c, err);
	/* What was written while files were looked at, or others slowed down. */
	if (r == 0)
		r = catch_up(c, err);
	/* .. and while Services were told: short, since the pod gets nothing from them any more. */
	if (source_end_running(c->source, r == 0) && r == 0)
		r = catch_up(c, err);
	c->ahead = c->pages.pages;
	return r;
}

/* --- the report --- */

/* "Name:   123 kB" of /proc/PID/smaps_rollup (proc(5)). */
static uint64_t rollup_kib(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* What this process maps of anonymous memory, but its share of it. */
static uint64_t shared_bytes(pid_t pid)
{
	cleanup_buf struct buf b = BUF_INIT(16384);
	char path[64];
	uint64_t all, own;

	path_format(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if (file_read(AT_FDCWD, path, &b, NULL) < 0)
		return 0;
	all = rollup_kib(b.data, "\nAnonymous:");
	own = rollup_kib(b.data, "\nPss_Anon:");
	return all > own ? (all - own) << 10 : 0;
}

void source_report_shared(struct source *s, cJSON *started)
{
	cJSON *list = cJSON_AddArrayToObject(started, "shared");

	for (int i = 0; i < s->n; i++) {
		pid_t pids[SOURCE_PROCESSES_MAX];
		int n = source_list_processes(&s->containers[i], pids, NULL);
		uint64_t sum = 0;

		for (int k = 0; n > 1 && k < n; k++)
			sum += shared_bytes(pids[k]);
		cJSON_AddItemToArray(list, cJSON_CreateNumber((double)sum));
	}
}

cJSON *source_report_round(const struct source_round *r)
{
	cJSON *j = cJSON_CreateObject();

	cJSON_AddNumberToObject(j, "pages", (double)r->pages);
	cJSON_AddNumberToObject(j, "bytes", (double)r->bytes);
	cJSON_AddNumberToObject(j, "micros", (double)r->micros);
	if (r->cpu_percent)
		cJSON_AddNumberToObject(j, "cpuPercent", r->cpu_percent);
	return j;
}

void source_report_memory(const struct source_container *c, cJSON *j)
{
	cJSON *list;

	cJSON_AddNumberToObject(j, "pagesAhead", (double)c->ahead);
	if (c->shared)
		cJSON_AddNumberToObject(j, "sharedAhead", (double)c->shared_ahead.bytes);
	source_throttle_report(c, j);
	if (!c->tracks)
		return;
	cJSON_AddStringToObject(j, "tracking", c->tracking[0] ? "Digests" : track_set_by_bits(c->tracks) ? "SoftDirty" : "WriteProtect");
	if (c->tracking[0])
		cJSON_AddStringToObject(j, "trackingMessage", c->tracking);
	list = cJSON_AddArrayToObject(j, "rounds");
	for (int i = 0; i <= c->n_rounds && i <= SOURCE_ROUNDS_MAX; i++)
		cJSON_AddItemToArray(list, source_report_round(i < c->n_rounds ? &c->rounds[i] : &c->last));
}
