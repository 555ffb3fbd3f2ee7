/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "migration/reason.h"
#include "transfer/wire.h"

_Static_assert(WIRE_PROTOCOL_OLDEST <= WIRE_PROTOCOL && WIRE_PROTOCOL_OLDEST >= WIRE_PROTOCOL - 1, "one version back, and no more");

int wire_agree(const struct wire_versions *source, const struct wire_versions *destination, int *ret, struct error *err)
{
	int newest = source->newest < destination->newest ? source->newest : destination->newest;
	const char *older = source->newest < destination->newest ? "source" : "destination";

	if (source->oldest > source->newest || destination->oldest > destination->newest)
		return error_reason(err, -EPROTO, REASON_ProtocolError, "the agents' protocol versions make no sense: %d to %d, %d to %d", source->oldest,
				    source->newest, destination->oldest, destination->newest);
	if (newest < source->oldest || newest < destination->oldest)
		return error_reason(err, -EPROTO, REASON_ProtocolError,
				    "the source agent speaks protocol %d (down to %d), the destination agent %d (down to %d): upgrade podmigration in the "
				    "%s's cluster; each version talks with the one before it",
				    source->newest, source->oldest, destination->newest, destination->oldest, older);
	*ret = newest;
	return 0;
}
