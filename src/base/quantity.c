/* SPDX-License-Identifier: Apache-2.0 */
#include "base/quantity.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *suffix;
	double factor;
} units[] = {
	{ "", 1 }, { "k", 1e3 }, { "M", 1e6 }, { "G", 1e9 }, { "T", 1e12 }, { "Ki", 1024 }, { "Mi", 1048576 }, { "Gi", 1073741824 }, { "Ti", 1099511627776.0 },
};

/* Digits from *s on; how many there were. */
static int digits(const char **s, double scale, double *value)
{
	int n = 0;

	for (; **s >= '0' && **s <= '9'; ++*s, n++) {
		*value = scale < 1 ? *value + (**s - '0') * scale : *value * 10 + (**s - '0');
		scale /= scale < 1 ? 10 : 1;
	}
	return n;
}

int quantity_parse(const char *s, int64_t *ret)
{
	double value = 0;
	int n = s ? digits(&s, 1, &value) : 0;

	if (n == 0 || n > 18)
		return -EINVAL;
	if (*s == '.') {
		s++;
		if (digits(&s, 0.1, &value) == 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(s, units[i].suffix))
			continue;
		if (value * units[i].factor > 4611686018427387904.0)
			return -ERANGE;
		*ret = (int64_t)(value * units[i].factor + 1e-6);
		return 0;
	}
	return -EINVAL;
}
