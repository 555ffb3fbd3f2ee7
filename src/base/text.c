/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <errno.h>
#include <string.h>

uint64_t text_hash(uint64_t h, const char *s)
{
	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 0x100000001b3u;
	return h;
}

int text_copy(char *out, size_t size, const char *s)
{
	size_t len = s ? strlen(s) : 0;

	if (!s || len >= size)
		return -EINVAL;
	memcpy(out, s, len + 1);
	return 0;
}
