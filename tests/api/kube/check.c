/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"

void check_result(struct checks *c, bool ok, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (ok) {
		c->passed++;
		printf("ok   %s\n", name);
	} else {
		c->failed++;
		printf("FAIL %s: ", name);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		printf("\n");
	}
	fflush(stdout);
}

int64_t ms_since(int64_t mono_us)
{
	return (clock_mono_us() - mono_us) / 1000;
}

void record_init(struct record *r)
{
	pthread_condattr_t mono;

	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&r->changed, &mono);
	pthread_condattr_destroy(&mono);
}

static void note(struct record *r, char sign, const cJSON *o)
{
	pthread_mutex_lock(&r->lock);
	if (o) {
		snprintf(r->last_kind, sizeof(r->last_kind), "%s", json_str_or(o, "kind", "?"));
		snprintf(r->last_note, sizeof(r->last_note), "%s", json_str_or(o, "note", ""));
	}
	r->len += (size_t)snprintf(r->text + r->len, sizeof(r->text) - r->len, "%c%s%s%s ", sign, o ? json_str_or(o, "metadata/name", "?") : "",
				   o ? "/" : "", o ? json_str_or(o, "metadata/uid", "?") : "");
	if (r->len >= sizeof(r->text) - 400)
		r->len = 0;
	r->upserts += sign == '+';
	r->deletes += sign == '-';
	r->synced += sign == '!';
	r->at_us = clock_mono_us();
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static void on_upsert(void *ctx, const cJSON *o)
{
	note(ctx, '+', o);
}

static void on_delete(void *ctx, const cJSON *o)
{
	note(ctx, '-', o);
}

static void on_synced(void *ctx)
{
	note(ctx, '!', NULL);
}

void record_spec(struct record *r, const char *path, struct kube_watch_spec *ret)
{
	*ret = (struct kube_watch_spec){ .path = path, .name = strrchr(path, '/') + 1, .on_upsert = on_upsert, .on_delete = on_delete,
					 .on_synced = on_synced, .ctx = r };
}

bool record_wait(struct record *r, const char *want, int ms)
{
	int64_t until = clock_mono_us() + (int64_t)ms * 1000;
	struct timespec t = { until / 1000000, until % 1000000 * 1000 };
	bool found;

	pthread_mutex_lock(&r->lock);
	while (!(found = strstr(r->text, want) != NULL) && clock_mono_us() < until)
		pthread_cond_timedwait(&r->changed, &r->lock, &t);
	pthread_mutex_unlock(&r->lock);
	return found;
}

const char *record_text(struct record *r, char *out, size_t size)
{
	pthread_mutex_lock(&r->lock);
	snprintf(out, size, "%s", r->text);
	pthread_mutex_unlock(&r->lock);
	return out;
}
