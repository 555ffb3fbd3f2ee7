/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/statvfs.h>

#include "agent.h"
#include "migration/reason.h"

#define NO_SPACE_BYTES (64 << 10)

static bool says_little(int reason)
{
	return reason == REASON_NONE || reason == REASON_InternalError || reason == REASON_CheckpointFailed || reason == REASON_RestoreFailed;
}

/* CRIU and runc write their logs where the images are: when there is no room left, they end without a word. */
void agent_blame_space(const struct agent_options *o, struct error *err)
{
	char path[4096];
	struct statvfs v;

	if (!says_little(err->reason) || agent_host_path(o, path, sizeof(path), "%s", PM_RUN_DIR) < 0 || statvfs(path, &v) < 0 ||
	    (uint64_t)v.f_bavail * v.f_frsize >= NO_SPACE_BYTES)
		return;
	err->reason = REASON_NoSpace;
	error_wrap(err, 0, "node %s: the file system of %s is full", o->node, PM_RUN_DIR);
}
