/* SPDX-License-Identifier: Apache-2.0 */
#include "pace.h"

#define BURST_US 50000

int64_t pace_take(struct pace *p, size_t bytes, int64_t now_us)
{
	int64_t wait;

	if (p->rate == 0)
		return 0;
	if (p->due_us < now_us - BURST_US)
		p->due_us = now_us - BURST_US;
	wait = p->due_us > now_us ? p->due_us - now_us : 0;
	p->due_us += (int64_t)((double)bytes * 1e6 / (double)p->rate);
	return wait;
}
