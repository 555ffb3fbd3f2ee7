/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_PACE_H
#define SRC_TRANSFER_PACE_H

#include <stddef.h>
#include <stdint.h>

/* A token bucket: so many bytes a second on the average, and what was not used for a moment may follow at once. */
struct pace {
	uint64_t rate;                  /* bytes/s; 0: no limit */
	int64_t due_us;                 /* when what was sent so far is used up */
};

/* Microseconds to wait before so many bytes may go; they count as gone then. */
int64_t pace_take(struct pace *p, size_t bytes, int64_t now_us);

#endif
