/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cgroup_name.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

/*
 * systemd's form (kubelet with cgroupDriver systemd): slice "kubepods-burstable-podX.slice" lies in kubepods.slice/kubepods-burstable.slice/.. (systemd.slice(5)), and the group itself is
 * prefix-name.scope.
 */
static int expand_slice(const char *slice, size_t len, struct buf *out)
{
	static const char suffix[] = ".slice";

	if (len <= sizeof(suffix) - 1 || memcmp(slice + len - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1))
		return -EINVAL;
	len -= sizeof(suffix) - 1;
	if (memchr(slice, '/', len) || memchr(slice, '.', len) || slice[0] == '-')
		return -EINVAL;
	for (size_t i = 1; i <= len; i++) {
		if (i < len && slice[i] != '-')
			continue;
		if (buf_printf(out, "/%.*s%s", (int)i, slice, suffix) < 0)
			return -ENAMETOOLONG;
	}
	return 0;
}

int cgroup_name_expand(const char *cgroups_path, char *out, size_t size)
{
	const char *prefix = strchr(cgroups_path, ':'), *name = prefix ? strchr(prefix + 1, ':') : NULL;
	cleanup_buf struct buf b = BUF_INIT(size);
	int r;

	if (strstr(cgroups_path, ".."))
		return -EINVAL;
	if (cgroups_path[0] == '/')
		return cgroups_path[1] ? path_format(out, size, "%s", cgroups_path) : -EINVAL;
	if (!name || !name[1] || strchr(name + 1, ':') || strchr(prefix, '/'))
		return -EINVAL;
	r = expand_slice(cgroups_path, (size_t)(prefix - cgroups_path), &b);
	return r < 0 ? r : path_format(out, size, "%s/%.*s-%s.scope", b.data, (int)(name - prefix - 1), prefix + 1, name + 1);
}
