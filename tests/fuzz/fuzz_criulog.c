/* SPDX-License-Identifier: Apache-2.0 */
/* CRIU's log quotes what the application chose (file names, socket names) and becomes a message of the PodMigration.  The first byte: how much room there is. */
#include "fuzz.h"

#include "container/criu_log.h"
#include "migration/reason.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf out = BUF_INIT(2048);
	int reason = REASON_CheckpointFailed;

	if (size == 0)
		return 0;
	criu_log_quote((const char *)data + 1, size - 1, data[0] * 8u, &out, &reason);
	must(reason > REASON_NONE && reason < REASON_COUNT && out.len <= data[0] * 8u + 3);
	buf_free(&out);
	return 0;
}
