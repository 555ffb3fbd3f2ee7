/* SPDX-License-Identifier: Apache-2.0 */
#include "base/quantity.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A decimal number, then a suffix or an exponent, not both. */
int quantity_parse(const char *s, double *ret)
{
	static const struct {
		const char *suffix;
		double factor;
	} units[] = {
		{ "", 1 }, { "n", 1e-9 }, { "u", 1e-6 }, { "m", 1e-3 }, { "k", 1e3 }, { "M", 1e6 }, { "G", 1e9 }, { "T", 1e12 }, { "P", 1e15 }, { "E", 1e18 },
		{ "Ki", 0x1p10 }, { "Mi", 0x1p20 }, { "Gi", 0x1p30 }, { "Ti", 0x1p40 }, { "Pi", 0x1p50 }, { "Ei", 0x1p60 },
	};
	char *end;
	double v;

	/* What strtod(3) knows beyond decimal numbers. */
	if (!s || !s[0] || !strchr("+-.0123456789", s[0]) || strpbrk(s, "xXpP") == s + 1)
		return -EINVAL;
	v = strtod(s, &end);
	if (end == s || !isfinite(v))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(end, units[i].suffix)) {
			*ret = v * units[i].factor;
			return 0;
		}
	return -EINVAL;
}

int quantity_bytes(const char *s, int64_t *ret)
{
	double v;

	if (quantity_parse(s, &v) < 0)
		return -EINVAL;
	if (v < 0 || v > 0x1p62)
		return -ERANGE;
	*ret = (int64_t)(v + 1e-6);
	return 0;
}
