/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>

#include "base/clock.h"
#include "transfer/packer.h"

#define SAMPLE 65536u                   /* of data, to look how it would do */
#define SAMPLE_EACH 32u                 /* chunks */
#define WORTH 0.9                       /* of the time without: less is not worth the risk */
#define FORGET 0.25                     /* weight of the newest measurement */

/* All costs in microseconds per byte of data. */
struct packer {
	uint8_t *out;
	double cost, ratio;             /* of packing, and what comes of a byte; 0: not known yet */
	unsigned turn;                  /* chunks since it was looked at */
};

int packer_new(struct packer **ret, struct error *err)
{
	struct packer *p = calloc(1, sizeof(*p));

	if (p)
		p->out = malloc((size_t)LZ4_compressBound(PACKER_MAX));
	if (!p || !p->out) {
		packer_free(p);
		return error_set(err, -ENOMEM, "out of memory for compression");
	}
	*ret = p;
	return 0;
}

void packer_free(struct packer *p)
{
	if (!p)
		return;
	free(p->out);
	free(p);
}

static double mean(double old, double now)
{
	return old > 0 ? old + (now - old) * FORGET : now;
}

static size_t pack(struct packer *p, const void *data, size_t len)
{
	int64_t start = clock_mono_us();
	int n = LZ4_compress_default(data, (char *)p->out, (int)len, LZ4_compressBound(PACKER_MAX));

	p->cost = mean(p->cost, (double)(clock_mono_us() - start) / (double)len);
	p->ratio = mean(p->ratio, (double)n / (double)len);
	p->turn = 0;
	return n > 0 ? (size_t)n : len;
}

bool packer_pays(double cost, double ratio, double link)
{
	return cost > 0 && cost + ratio * link < WORTH * link;
}

size_t packer_pack(struct packer *p, const void *data, size_t len, double link, const uint8_t **ret)
{
	size_t n;

	if (len < PACKER_MIN || len > PACKER_MAX || link <= 0)
		return 0;
	if (!packer_pays(p->cost, p->ratio, link)) {
		if (p->cost <= 0 || ++p->turn >= SAMPLE_EACH)
			pack(p, data, len < SAMPLE ? len : SAMPLE);
		return 0;
	}
	n = pack(p, data, len);
	*ret = p->out;
	return (double)n < WORTH * (double)len ? n : 0;
}
