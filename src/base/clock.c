/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"

static int64_t now_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

int64_t clock_real_us(void)
{
	return now_us(CLOCK_REALTIME) + FAULT_CLOCK_US();
}

void clock_rfc3339(int64_t real_us, int seconds_only, char out[CLOCK_RFC3339_SIZE])
{
	time_t s = (time_t)(real_us / 1000000);
	struct tm tm;
	size_t n;

	gmtime_r(&s, &tm);
	n = strftime(out, CLOCK_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	if (seconds_only)
		snprintf(out + n, CLOCK_RFC3339_SIZE - n, "Z");
	else
		snprintf(out + n, CLOCK_RFC3339_SIZE - n, ".%06dZ", (int)(real_us % 1000000));
}

static const struct {
	const char *name;
	int64_t us;
} unit[] = {
	{ "ns", 0 }, { "us", 1 }, { "ms", 1000 }, { "s", 1000000 }, { "m", 60000000 }, { "h", 3600000000 },
};

/* The longest unit name that stands at s ("ms" before "m"); NULL when none does. */
static const char *match_unit(const char *s, int64_t *ret_us)
{
	const char *best = NULL;

	for (size_t i = 0; i < sizeof(unit) / sizeof(unit[0]); i++) {
		size_t len = strlen(unit[i].name);

		if (strncmp(s, unit[i].name, len) || (best && s + len <= best))
			continue;
		best = s + len;
		*ret_us = unit[i].us;
	}
	return best;
}

/* The grammar of Go's time.ParseDuration without sign, as Kubernetes durations use it. */
int duration_parse(const char *s, int64_t max_us, int64_t *ret_us)
{
	int64_t total = 0;

	if (!s || !*s)
		return -EINVAL;
	while (*s) {
		int64_t whole = 0, frac = 0, scale = 1, us = 0;
		int digits = 0;

		for (; *s >= '0' && *s <= '9'; s++, digits++) {
			if (whole > INT64_MAX / 16)
				return -EINVAL;
			whole = whole * 10 + (*s - '0');
		}
		if (*s == '.')
			for (s++; *s >= '0' && *s <= '9'; s++, digits++)
				if (scale < 1000000) {
					frac = frac * 10 + (*s - '0');
					scale *= 10;
				}
		if (!digits)
			return -EINVAL;
		s = match_unit(s, &us);
		if (!s || (us && whole > max_us / us))
			return -EINVAL;
		total += us ? whole * us + frac * us / scale : whole / 1000;
		if (total > max_us)
			return -EINVAL;
	}
	*ret_us = total;
	return 0;
}

void duration_format(int64_t us, char *out, size_t size)
{
	if (us < 0)
		us = 0;
	if (us < 1000)
		snprintf(out, size, "%" PRId64 "us", us);
	else if (us < 1000000)
		snprintf(out, size, "%" PRId64 "ms", (us + 500) / 1000);
	else if (us < 60000000)
		snprintf(out, size, "%" PRId64 ".%01ds", us / 1000000, (int)(us % 1000000 / 100000));
	else
		snprintf(out, size, "%" PRId64 "m%ds", us / 60000000, (int)(us % 60000000 / 1000000));
}
