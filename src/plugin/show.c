/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "migration/phase.h"
#include "plugin.h"

static const cJSON *condition(const cJSON *m, const char *type)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, json_at(m, "status/conditions"))
		if (!strcmp(json_str_or(c, "type", ""), type))
			return c;
	return NULL;
}

/* Text of the API server on a person's terminal: one line, no control characters. */
static void print_text(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 127 ? ' ' : *s);
}

/* "2026-11-24T16:22:47.123456Z" in microseconds; 0 when it is none. */
static int64_t time_us(const char *text)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t us = 0, digit = 100000;

	if (!rest)
		return 0;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9' && digit; rest++, digit /= 10)
			us += (*rest - '0') * digit;
	return (int64_t)timegm(&tm) * 1000000 + us;
}

static void show_end(struct progress *p, const cJSON *m, enum phase phase)
{
	const cJSON *c = condition(m, "Succeeded");

	p->result = phase == PHASE_Succeeded ? PLUGIN_SUCCEEDED : phase == PHASE_Cancelled ? PLUGIN_CANCELLED : PLUGIN_FAILED;
	if (phase == PHASE_Succeeded && json_str(m, "status/downtime"))
		printf("downtime %s, %s sent, pod %s\n", json_str_or(m, "status/downtime", "?"), json_str_or(m, "status/transferred", "?"),
		       json_str_or(m, "status/destinationPod/name", "?"));
	if (phase != PHASE_Succeeded && !strstr(p->said, json_str_or(c, "reason", "")))
		printf("%s\n", json_str_or(c, "reason", ""));
}

static void show_slowed(struct progress *p, const cJSON *m)
{
	const cJSON *c = condition(m, "SourceThrottled");
	const char *said = json_str_or(c, "message", "");

	if (strcmp(json_str_or(c, "status", ""), "True") || !strncmp(p->slowed, said, sizeof(p->slowed) - 1))
		return;
	snprintf(p->slowed, sizeof(p->slowed), "%s", said);
	printf("%-12s  ", "Throttled");
	print_text(p->slowed);
	putchar('\n');
}

/* What has gone over so far; status tells it every few seconds.  The end tells the whole. */
static void show_sent(struct progress *p, const cJSON *m, enum phase phase)
{
	const char *sent = json_str_or(m, "status/transferred", "");

	if (phase != PHASE_Transferring || !strncmp(p->sent, sent, sizeof(p->sent) - 1))
		return;
	snprintf(p->sent, sizeof(p->sent), "%s", sent);
	printf("%-12s  ", phase_name(phase));
	print_text(p->sent);
	printf(" sent, the pod runs\n");
}

bool show_progress(struct progress *p, const cJSON *m)
{
	const char *name = json_str_or(m, "status/phase", "Pending"), *said = json_str_or(condition(m, "Succeeded"), "message", "waiting for podmigration-controller");
	enum phase phase = phase_from_name(name);

	if (strcmp(p->phase, name) || strncmp(p->said, said, sizeof(p->said) - 1)) {
		snprintf(p->phase, sizeof(p->phase), "%s", name);
		snprintf(p->said, sizeof(p->said), "%s", said);
		printf("%-12s  ", phase_name(phase));
		print_text(p->said);
		putchar('\n');
	}
	show_slowed(p, m);
	show_sent(p, m, phase);
	if (phase_ended(phase))
		show_end(p, m, phase);
	fflush(stdout);
	return phase_ended(phase);
}

/* Each line: when, and how long after the one before. */
static void show_times(const cJSON *list, const char *key)
{
	int64_t last = 0;
	const cJSON *e;

	cJSON_ArrayForEach(e, list)
	{
		const char *when = json_str_or(e, "time", "");
		int64_t at = time_us(when);

		printf("  %-14.40s %-28.40s", json_str_or(e, key, "?"), when);
		if (last && at)
			printf(" +%" PRId64 ".%03" PRId64 " ms", (at - last) / 1000, (at - last) % 1000);
		putchar('\n');
		last = at;
	}
}

void show_timeline(const cJSON *m)
{
	const cJSON *c, *list = json_at(m, "status/source/timeline");

	printf("phases\n");
	show_times(json_at(m, "status/phaseTransitionTimestamps"), "phase");
	if (cJSON_GetArraySize(list))
		printf("cut-over\n");
	show_times(list, "step");
	cJSON_ArrayForEach(c, json_at(m, "status/source/containers"))
	{
		int64_t dump = 0, restore = 0, bytes = 0;

		json_int(c, "dumpMicros", 0, INT64_MAX, &dump);
		json_int(c, "restoreMicros", 0, INT64_MAX, &restore);
		json_int(c, "bytes", 0, INT64_MAX, &bytes);
		printf("container %.253s: dump %" PRId64 " ms, restore %" PRId64 " ms, %" PRId64 " KiB of memory\n", json_str_or(c, "name", "?"),
		       dump / 1000, restore / 1000, bytes / 1024);
	}
	printf("conditions\n");
	cJSON_ArrayForEach(c, json_at(m, "status/conditions"))
	{
		printf("  %-20.60s %-7.10s %-22.60s ", json_str_or(c, "type", "?"), json_str_or(c, "status", "?"), json_str_or(c, "reason", ""));
		print_text(json_str_or(c, "message", ""));
		putchar('\n');
	}
}
