/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "container/freezer.h"
#include "container/runc.h"
#include "node.h"

#define STATE_MAX (4u << 20)

/* runc's own note of where it has put the container: by hierarchy with cgroup v1, under the empty name with v2. */
static const char *freezer_path(const cJSON *state, bool *ret_v2)
{
	const cJSON *paths = cJSON_GetObjectItemCaseSensitive(state, "cgroup_paths");
	const cJSON *v1 = cJSON_GetObjectItemCaseSensitive(paths, "freezer"), *found = v1 ? v1 : cJSON_GetObjectItemCaseSensitive(paths, "");

	*ret_v2 = !v1;
	return cJSON_IsString(found) && found->valuestring[0] == '/' && !strstr(found->valuestring, "..") ? found->valuestring : NULL;
}

static int thaw_if_dead(const char *group, bool v2, struct error *err)
{
	struct freezer f = { .pod_fd = -1, .group_fd = { open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }, .n = 1, .v2 = v2 };
	bool frozen = false;
	pid_t any;
	int r;

	if (f.group_fd[0] < 0)
		return errno == ENOENT ? 0 : error_errno(err, "open the cgroup %s", group);
	r = freezer_is_frozen(&f, 0, &frozen, err);
	/* Nobody can come into it any more: a process that is alive is never thawed here. */
	if (r == 0 && frozen && freezer_pids(&f, 0, &any, 1) == 0) {
		r = freezer_thaw(&f, err);
		r = r < 0 ? r : 1;
	}
	freezer_close(&f);
	return r;
}

int runc_thaw_dead(const struct runc *r, const char *id, struct error *err)
{
	cleanup_buf struct buf text = BUF_INIT(STATE_MAX);
	cleanup_json cJSON *state = NULL;
	char path[1024], host[4096];
	const char *group;
	bool v2;
	int e;

	if (!name_is_safe(id) || path_format(path, sizeof(path), "%s/%s/state.json", r->root, id) < 0 || node_path(r->host_pid, path, host, sizeof(host)) < 0)
		return error_set(err, -EINVAL, "not a container id");
	e = file_read(AT_FDCWD, host, &text, err);
	if (e == -ENOENT)
		return 0;       /* runc has deleted it */
	if (e == 0)
		e = json_parse(text.data, text.len, STATE_MAX, &state, err);
	if (e < 0)
		return error_wrap(err, e, "runc's state of %s", id);
	group = freezer_path(state, &v2);
	if (!group || node_path(r->host_pid, group, host, sizeof(host)) < 0)
		return error_set(err, -EPROTO, "runc's state of %s names no cgroup", id);
	return thaw_if_dead(host, v2, err);
}
