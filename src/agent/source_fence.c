/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include <errno.h>

#include "base/log.h"

static int cgroup_root(struct source *s, char *out, size_t size, struct error *err)
{
	return agent_host_path(s->o, out, size, "/sys/fs/cgroup") < 0 ? error_set(err, -ENAMETOOLONG, "cgroup path too long") : 0;
}

void source_fence_look(struct source *s)
{
	struct error why = { 0 };
	char root[4096];
	int r = cgroup_root(s, root, sizeof(root), &why);

	if (r == 0)
		r = fence_look(root, s->containers[0].init_pid, &s->journal.fence, &why);
	if (r < 0)
		log_warning("a kubelet that kills the frozen source for a failing liveness probe could start it anew beside the destination", LOG_S("pod", s->journal.pod_name),
			    LOG_S("err", why.message));
}

int source_fence_close(struct source *s, struct error *err)
{
	struct error why = { 0 };
	char root[4096];
	int r = cgroup_root(s, root, sizeof(root), err);

	if (r == 0)
		r = fence_close(root, &s->journal.fence, err);
	if (r == 0 && !s->fence_guard && fence_guard_start(root, &s->journal.fence, &s->fence_guard, &why) < 0)
		log_warning("a fence that somebody else opens stays open", LOG_S("pod", s->journal.pod_name), LOG_S("err", why.message));
	return r;
}

int source_fence_lift(struct source *s, struct error *err)
{
	char root[4096];
	int r = cgroup_root(s, root, sizeof(root), err);

	/* It is freed at the end: that takes longer than all the rest of a thaw. */
	fence_guard_end(s->fence_guard);
	return r < 0 ? r : fence_lift(root, &s->journal.fence, err);
}

void source_fence_end(struct source *s)
{
	fence_guard_stop(s->fence_guard);
	s->fence_guard = NULL;
}
