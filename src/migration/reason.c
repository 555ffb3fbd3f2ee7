/* SPDX-License-Identifier: Apache-2.0 */
#include "migration/reason.h"

#include <string.h>

static const struct {
	const char *name, *advice;
} table[REASON_COUNT] = {
	[REASON_NONE] = { "None", "" },
#define R(name, advice) [REASON_##name] = { #name, advice },
	REASON_LIST(R)
#undef R
};

static int in_range(int reason)
{
	return reason >= 0 && reason < REASON_COUNT ? reason : REASON_InternalError;
}

const char *reason_name(int reason)
{
	return table[in_range(reason)].name;
}

const char *reason_advice(int reason)
{
	return table[in_range(reason)].advice;
}

int reason_from_name(const char *name)
{
	for (int i = REASON_NONE + 1; name && i < REASON_COUNT; i++)
		if (!strcmp(table[i].name, name))
			return i;
	return REASON_InternalError;
}
