/* SPDX-License-Identifier: Apache-2.0 */
#include "backoff.h"

int64_t backoff_next_ms(struct backoff *b, int64_t now_us, uint32_t random)
{
	int64_t ms;

	if (b->base_ms == 0 || now_us - b->last_us > BACKOFF_QUIET_US)
		b->base_ms = BACKOFF_FIRST_MS;
	ms = b->base_ms + (int64_t)random % b->base_ms;
	/*
	 * Half the limit at most, so that the jitter stays alive at the limit: many clients of one lost server must not come
	 * back together.
	 */
	b->base_ms = b->base_ms * 2 > BACKOFF_LAST_MS / 2 ? BACKOFF_LAST_MS / 2 : b->base_ms * 2;
	b->last_us = now_us + ms * 1000;
	return ms;
}
