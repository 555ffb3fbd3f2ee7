/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cgroup_name.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "migration/fill.h"
#include "migration/reason.h"

/*
 * A container's memory comes into place after the commit.  What can never fit into its memory limit, or its pod's, would be killed then, when nothing can be taken
 * back; so it is refused before.  Only where the cluster there gave the pod other limits than it has here.
 */

#define MEMORY_TEXT_MAX 64

/* The number in a group's file; UINT64_MAX: no limit, or none that could be read. */
static uint64_t read_limit(const char *path)
{
	cleanup_buf struct buf b = BUF_INIT(MEMORY_TEXT_MAX);
	uint64_t bytes;
	char *end;

	if (file_read(AT_FDCWD, path, &b, NULL) < 0)
		return UINT64_MAX;
	bytes = strtoull(b.data, &end, 10);
	return end == b.data ? UINT64_MAX : bytes;
}

/* cgroup v1 and v2; the file of the other one is not there. */
static uint64_t limit_of(const struct agent_options *o, const char *group)
{
	uint64_t v1 = UINT64_MAX, v2 = UINT64_MAX;
	char path[4096];

	if (agent_host_path(o, path, sizeof(path), "/sys/fs/cgroup/memory%s/memory.limit_in_bytes", group) == 0)
		v1 = read_limit(path);
	if (agent_host_path(o, path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group) == 0)
		v2 = read_limit(path);
	return v1 < v2 ? v1 : v2;
}

/* The smallest of the group, named as in config.json by either of the kubelet's drivers, and those above it. */
static uint64_t smallest_limit(const struct agent_options *o, const char *group)
{
	uint64_t least = UINT64_MAX;
	char path[1024], *slash;

	if (cgroup_name_expand(group, path, sizeof(path)) < 0)
		return least;
	while ((slash = strrchr(path, '/'))) {
		uint64_t own = path[1] ? limit_of(o, path) : UINT64_MAX;

		least = own < least ? own : least;
		*slash = '\0';
	}
	return least;
}

int destination_check_limit(const struct destination_container *c, int list, struct error *err)
{
	struct fill_head head;
	uint64_t limit;

	if (pread(list, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		return error_errno(err, "read the list of pages");
	limit = smallest_limit(c->d->o, c->info.cgroup);
	if (head.pages <= limit / FILL_PAGE)
		return 0;
	return error_reason(err, -ENOMEM, REASON_RestoreFailed, "its memory of %llu MiB does not fit into the memory limit there, %llu MiB",
			    (unsigned long long)(head.pages * FILL_PAGE >> 20), (unsigned long long)(limit >> 20));
}
