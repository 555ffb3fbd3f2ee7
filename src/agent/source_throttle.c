/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "throttle.h"

/* The daemon's limit of a worker comes so much after the controller's of the migration (daemon.c, home_line). */
#define GRACE_US 60000000

static int cgroup_root(const struct source *s, char *out, size_t size, struct error *err)
{
	return agent_host_path(s->o, out, size, "/sys/fs/cgroup") < 0 ? error_set(err, -ENAMETOOLONG, "cgroup path too long") : 0;
}

/* --- what it uses --- */

static int look(struct source_container *c, char *root, size_t size, struct error *err)
{
	int r = cgroup_root(c->source, root, size, err);

	return r == 0 && !c->cpu_limit.group[0] ? cpu_limit_look(root, c->init_pid, &c->cpu_limit, err) : r;
}

struct source_usage source_usage_now(struct source_container *c)
{
	struct source_usage u = { clock_mono_us(), -1 };
	struct error why = { 0 };
	char root[4096];
	int r;

	if (!c->source->auto_converge || c->cpu_percent)
		return u;
	pthread_mutex_lock(&c->source->throttle_lock);
	r = look(c, root, sizeof(root), &why);
	pthread_mutex_unlock(&c->source->throttle_lock);
	if (r == 0)
		r = cpu_limit_used(root, &c->cpu_limit, &u.used_us, &why);
	if (r < 0)
		log_debug("what the container uses of CPU time is not known", LOG_S("container", c->info.name), LOG_S("err", why.message));
	return u;
}

void source_throttle_measure(struct source_container *c, const struct source_usage *before)
{
	struct source_usage now = source_usage_now(c);

	if (before->used_us >= 0 && now.used_us >= before->used_us && now.at_us > before->at_us)
		c->cpu_used = (now.used_us - before->used_us) * 1000000 / (now.at_us - before->at_us);
}

/* --- less --- */

static struct throttle_note *new_note(const struct source *s, struct error *err)
{
	struct throttle_note *n = calloc(1, sizeof(*n));

	for (int i = 0; n && i < s->n; i++)
		if (s->containers[i].cpu_limit.set[1][0])
			n->limits[n->n++] = s->containers[i].cpu_limit;
	if (!n)
		error_set(err, -ENOMEM, "out of memory");
	return n;
}

/* With throttle_lock.  The note is on the disk before the limit is: it never says less than what may have happened. */
static int limit(struct source_container *c, int percent, struct error *err)
{
	cleanup_free struct throttle_note *note = NULL;
	struct source *s = c->source;
	int64_t quota_us;
	char root[4096];
	int r = look(c, root, sizeof(root), err);

	if (r < 0)
		return r;
	quota_us = throttle_quota_us(c->cpu_used, percent, c->cpu_limit.period_us);
	if (!quota_us)
		return error_set(err, -ERANGE, "%d %% of the CPU time that it uses is less than a limit can be", percent);
	r = cpu_limit_plan(root, &c->cpu_limit, quota_us, err);
	if (r == 0)
		note = new_note(s, err);
	if (r == 0)
		r = note ? throttle_note_write(s->o, s->journal.migration, note, err) : -ENOMEM;
	return r == 0 ? cpu_limit_write(root, &c->cpu_limit, err) : r;
}

void source_throttle_left(struct source_container *c, int64_t bytes)
{
	pthread_mutex_lock(&c->source->throttle_lock);
	c->left = bytes;
	pthread_mutex_unlock(&c->source->throttle_lock);
}

/* With throttle_lock.  It may only be late because another one fills the link; slowing it down would win nothing. */
static bool matters(const struct source_container *c)
{
	int64_t all = 0;

	for (int i = 0; i < c->source->n; i++)
		all += c->source->containers[i].left;
	return throttle_matters(c->left, all, c->source->n);
}

bool source_throttle_more(struct source_container *c, int64_t round_us)
{
	struct source *s = c->source;
	struct error why = { 0 };
	int percent = throttle_next(c->cpu_percent ? c->cpu_percent : 100), r;

	if (!s->auto_converge || !percent || !throttle_has_time(round_us, s->deadline_us - GRACE_US - clock_mono_us()))
		return false;
	pthread_mutex_lock(&s->throttle_lock);
	if (!matters(c)) {
		pthread_mutex_unlock(&s->throttle_lock);
		return false;
	}
	r = limit(c, percent, &why);
	if (r == 0) {
		c->cpu_percent = percent;
		source_live_tell(s);
	}
	pthread_mutex_unlock(&s->throttle_lock);
	if (r < 0)
		log_warning("the container writes faster than its memory can be sent, and is not slowed down", LOG_S("container", c->info.name),
			    LOG_S("migration", s->journal.migration), LOG_S("err", why.message));
	else
		log_info("the container writes faster than its memory can be sent, and is slowed down", LOG_S("container", c->info.name),
			 LOG_S("migration", s->journal.migration), LOG_N("cpuPercent", percent), LOG_S("own", c->cpu_limit.own), LOG_S("limit", c->cpu_limit.set[1]));
	FAULT_POINT("source.throttled", s->journal.migration);
	return r == 0;
}

/* --- its own again --- */

int source_throttle_lift(struct source *s, struct error *err)
{
	cleanup_free struct throttle_note *note = new_note(s, err);
	int r = note ? 0 : -ENOMEM;

	if (note && note->n)
		r = throttle_lift(s->o, s->journal.migration, note, err);
	for (int i = 0; r == 0 && i < s->n; i++)
		s->containers[i].cpu_limit = (struct cpu_limit){ 0 };
	return r;
}

void source_throttle_report(const struct source_container *c, cJSON *j)
{
	char text[32];

	if (!c->cpu_percent)
		return;
	cJSON_AddNumberToObject(j, "cpuPercent", c->cpu_percent);
	/* As Kubernetes writes CPU: thousandths of a processor. */
	snprintf(text, sizeof(text), "%" PRId64 "m", c->cpu_used * c->cpu_percent / 100000);
	cJSON_AddStringToObject(j, "cpuLimit", text);
}
