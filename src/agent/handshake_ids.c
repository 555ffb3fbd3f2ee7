/* SPDX-License-Identifier: Apache-2.0 */
#include "handshake.h"

#include <errno.h>

#include "base/json.h"
#include "migration/reason.h"

#define IDS "userIds"

void ids_put(cJSON *out, uint32_t count)
{
	cJSON_AddNumberToObject(out, IDS, count);
}

/* -1: not told. */
static int64_t ids_told(const cJSON *words)
{
	int64_t count;

	return json_int(words, IDS, 0, UINT32_MAX, &count) < 0 ? -1 : count;
}

void ids_check(const cJSON *hello, uint32_t count, struct obstacles *out)
{
	int64_t theirs = ids_told(hello);

	if (theirs < 0 && count)
		obstacles_add(out, REASON_UnsupportedContainer, "the destination pod has a user namespace of its own (hostUsers: false), of which the source's agent, an older one, knows nothing");
	else if (theirs >= 0 && !theirs != !count)
		obstacles_add(out, REASON_KernelIncompatible, "the source pod has %s user namespace of its own, the destination pod has %s", theirs ? "a" : "no", theirs ? "none" : "one");
	else if (theirs >= 0 && theirs != count)
		obstacles_add(out, REASON_KernelIncompatible, "the source pod's user namespace has %lld ids, the destination pod's %u", (long long)theirs, count);
}

int ids_known(const cJSON *welcome, uint32_t count, struct error *err)
{
	if (count && ids_told(welcome) < 0)
		return error_reason(err, -ENOTSUP, REASON_UnsupportedContainer, "the pod has a user namespace of its own (hostUsers: false), of which the destination's agent, an older one, knows nothing");
	return 0;
}
