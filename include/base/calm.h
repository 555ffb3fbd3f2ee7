/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CALM_H
#define BASE_CALM_H

#include <stdbool.h>
#include <stdint.h>

/* Of all processors' time since boot, in clock ticks: what was used, and all of it (proc(5), /proc/stat; waiting for a disk is not use). */
struct calm_sample {
	int64_t busy, all;
};

/* text: /proc/stat.  -EBADMSG when its first line is not that of all processors. */
int calm_parse(const char *text, struct calm_sample *ret);
/* A quarter of the processors' time was free between the two; false also when hardly any time went by. */
bool calm_between(const struct calm_sample *from, const struct calm_sample *to);

/*
 * Waits until this node has processor time to spare, at most max_us: what stops an application is best begun when nothing else wants to run.  A node that
 * never has any costs that long and no more.  Returns the microseconds it waited; 0 when /proc/stat cannot be read.
 */
int64_t calm_wait(int64_t max_us);

#endif
