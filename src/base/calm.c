/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/calm.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define LOOK_MS 60      /* some ticks (10 ms) of each processor */

int calm_parse(const char *text, struct calm_sample *ret)
{
	int64_t user, nice, system, idle, iowait, irq, softirq, steal;

	if (strncmp(text, "cpu ", 4) != 0 ||
	    sscanf(text, "cpu %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64, &user, &nice, &system, &idle,
		   &iowait, &irq, &softirq, &steal) != 8)
		return -EBADMSG;
	ret->busy = user + nice + system + irq + softirq + steal;
	ret->all = ret->busy + idle + iowait;
	return 0;
}

bool calm_between(const struct calm_sample *from, const struct calm_sample *to)
{
	int64_t all = to->all - from->all, busy = to->busy - from->busy;

	return all > 0 && busy <= all - all / 4;
}

static int look(struct calm_sample *ret)
{
	cleanup_close int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);
	char text[512];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	return calm_parse(text, ret);
}

int64_t calm_wait(int64_t max_us)
{
	int64_t start = clock_mono_us();
	struct calm_sample from, to;

	if (look(&from) < 0)
		return 0;
	for (;;) {
		poll(NULL, 0, LOOK_MS);
		if (look(&to) < 0 || calm_between(&from, &to) || clock_mono_us() - start >= max_us)
			return clock_mono_us() - start;
		from = to;
	}
}
