/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "migration/reason.h"
#include "runtime/monitor.h"
#include "source.h"

/* A little less than the controller waits for a first word of us (LIMIT_AGENT; LIMIT_ORDER of a source in another cluster): it would say that no agent has reported, and nobody what is waited for. */
#define FILL_TIMEOUT_US 25000000
#define FILL_TIMEOUT_REMOTE_US 100000000

/* Of all containers together. */
static int64_t patience(struct source *s)
{
	if (!s->filled_us)
		s->filled_us = clock_mono_us() + (s->journal.remote ? FILL_TIMEOUT_REMOTE_US : FILL_TIMEOUT_US);
	return s->filled_us;
}

/*
 * A container that has just come here, and whose memory its monitor still fills from the page store, cannot be dumped yet: CRIU would take the pages that are
 * missing for pages that were never there.  The monitor's file says so, from before the program runs until nothing is missing.
 */
int source_wait_filled(struct source_container *c, struct error *err)
{
	int64_t deadline = patience(c->source);
	cleanup_close int watch = -1;
	char dir[4096], path[4200], event[4096];

	if (agent_host_path(c->source->o, dir, sizeof(dir), "%s/%s/%s", PM_RUN_DIR, MONITOR_CONTAINERS_DIR, c->info.id) < 0 ||
	    path_format(path, sizeof(path), "%s/%s", dir, MONITOR_FILLING) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the monitor's folder is too long");
	if (access(path, F_OK) < 0)
		return 0;
	watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch < 0 || inotify_add_watch(watch, dir, IN_DELETE | IN_DELETE_SELF) < 0)
		return error_errno(err, "watch %s", dir);
	while (access(path, F_OK) == 0) {
		int64_t left = deadline - clock_mono_us();
		struct pollfd p = { watch, POLLIN, 0 };

		if (left <= 0 || control_check(c->source->control, err) < 0)
			return left <= 0 ? error_reason(err, -ETIMEDOUT, REASON_TimedOut, "its memory has not all come here yet from its last migration; try again in a while") :
					   -ECANCELED;
		/* An abort is looked for in between. */
		if (poll(&p, 1, left < 500000 ? (int)(left / 1000) + 1 : 500) > 0 && read(watch, event, sizeof(event)) < 0 && errno != EAGAIN)
			return error_errno(err, "watch %s", dir);
	}
	return 0;
}
