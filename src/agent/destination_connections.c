/* SPDX-License-Identifier: Apache-2.0 */
#include "destination.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "net/loopback.h"

/*
 * The ends of a connection are restored one after the other, by one CRIU each when they are of two containers.  Whatever an end sends before the other one is there (a timer is
 * enough) would be answered by the kernel with a reset, and the connection would be gone.  So nothing passes the pod's loopback until all are there; what is lost meanwhile TCP
 * sends again.
 */

static int open_netns(struct destination *d, struct error *err)
{
	char path[4096];
	int fd;

	if (agent_host_path(d->o, path, sizeof(path), "%s", d->first.netns) < 0)
		return error_set(err, -ENAMETOOLONG, "path of the network namespace is too long");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? error_errno(err, "open the pod's network namespace") : fd;
}

int destination_connections_begin(struct destination *d, int64_t n, struct error *err)
{
	cleanup_close int netns = open_netns(d, err);
	struct error why = { 0 };

	if (netns < 0)
		return netns;
	d->keeps = loopback_cut(netns, &why) == 0;
	if (!d->keeps)
		log_warning("connections inside the pod are closed", LOG_S("migration", d->note.migration), LOG_N("connections", n), LOG_S("err", why.message));
	return 0;
}

int destination_connections_end(struct destination *d, struct error *err)
{
	cleanup_close int netns = -1;
	int r;

	/* Of a worker before us nobody knows. */
	if (!d->keeps && d->hello)
		return 0;
	netns = open_netns(d, err);
	r = netns < 0 ? netns : loopback_mend(netns, err);
	if (r == 0)
		d->keeps = false;
	return r;
}
