/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_BACKOFF_H
#define KUBE_BACKOFF_H

#include <stdint.h>

/*
 * How long to wait after a failure, as client-go's reflector does: 800 ms, doubled each time, with jitter, never above 30 s,
 * and from the start again after two minutes without failure.  No clock and no randomness in here.
 */
#define BACKOFF_FIRST_MS 800
#define BACKOFF_LAST_MS 30000
#define BACKOFF_QUIET_US 120000000

struct backoff {
	int64_t base_ms;                /* 0: fresh */
	int64_t last_us;                /* when the last wait was to end */
};

/* random: any number.  The wait is in [base, 2 base). */
int64_t backoff_next_ms(struct backoff *b, int64_t now_us, uint32_t random);

#endif
