/* SPDX-License-Identifier: Apache-2.0 */
#include "health.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "container/containerd.h"
#include "container/cri.h"
#include "container/runc.h"
#include "net/http.h"
#include "net/metrics.h"

enum { M_SOURCE_OK, M_SOURCE_FAILED, M_DESTINATION_OK, M_DESTINATION_FAILED, M_ACTIVE_SOURCE, M_ACTIVE_DESTINATION, M_COUNT };

struct health {
	const struct agent_options *o;
	struct http_server *server;
	_Atomic(struct kube_watch *) watch;
	struct metric table[M_COUNT];
};

static const struct metric declared[M_COUNT] = {
	[M_SOURCE_OK] = { .name = "podmigration_agent_workers_total", .labels = "side=\"source\",result=\"success\"",
			  .help = "Migrations this node took part in, by side and result.", .type = METRIC_COUNTER },
	[M_SOURCE_FAILED] = { .name = "podmigration_agent_workers_total", .labels = "side=\"source\",result=\"error\"", .type = METRIC_COUNTER },
	[M_DESTINATION_OK] = { .name = "podmigration_agent_workers_total", .labels = "side=\"destination\",result=\"success\"",
			       .type = METRIC_COUNTER },
	[M_DESTINATION_FAILED] = { .name = "podmigration_agent_workers_total", .labels = "side=\"destination\",result=\"error\"",
				   .type = METRIC_COUNTER },
	[M_ACTIVE_SOURCE] = { .name = "podmigration_agent_active", .labels = "side=\"source\"", .help = "Migrations going on, by side.",
			      .type = METRIC_GAUGE },
	[M_ACTIVE_DESTINATION] = { .name = "podmigration_agent_active", .labels = "side=\"destination\"", .type = METRIC_GAUGE },
};

static int check_criu(const struct agent_options *o, struct error *err)
{
	char text[64];
	int version;

	return criu_version(o->host_pid, &version, text, sizeof(text), err);
}

static int check_containerd(const struct agent_options *o, struct error *err)
{
	struct containerd *c = NULL;
	char socket[4096], text[64];
	int r;

	if (agent_host_path(o, socket, sizeof(socket), "%s", o->containerd_socket) < 0)
		return error_set(err, -ENAMETOOLONG, "socket path too long");
	r = containerd_open(socket, &c, err);
	if (r == 0)
		r = containerd_version(c, text, sizeof(text), err);
	containerd_close(c);
	return r;
}

/* Not known before containerd was restarted after the installation (install.c). */
static int check_runtime(const struct agent_options *o, struct error *err)
{
	struct cri_runtime found;
	char socket[4096];

	if (agent_host_path(o, socket, sizeof(socket), "%s", o->containerd_socket) < 0)
		return error_set(err, -ENAMETOOLONG, "socket path too long");
	return cri_runtime(socket, PM_RUNTIME_CLASS, &found, err);
}

static const struct {
	const char *name;
	int (*fn)(const struct agent_options *o, struct error *err);
} check[] = { { "criu", check_criu }, { "containerd", check_containerd }, { "runtime", check_runtime } };

/*
 * Without it nothing is moved away from here by this cluster's API server; what comes here, and what another cluster orders, goes on.  So it is told, for who asks why no agent has reported, but a node is not taken
 * for unfit because the API server does not answer just now.
 */
static void tell_watch(const struct kube_watch *w, struct buf *body)
{
	char why[512] = "it has not begun: another agent works on this node";
	bool synced = w && kube_watch_synced(w);

	if (w)
		kube_watch_status(w, why, sizeof(why));
	buf_printf(body, "[%c] watch of PodMigrations%s%s\n", synced && !why[0] ? '+' : '!', why[0] ? ": " : synced ? " ok" : ": not synced", why);
}

static int readyz(struct health *h, struct buf *body)
{
	int status = 200;

	for (size_t i = 0; i < sizeof(check) / sizeof(check[0]); i++) {
		struct error err = { 0 };
		int r = check[i].fn(h->o, &err);

		if (r < 0)
			status = 503;
		buf_printf(body, "[%s] %s%s%s\n", r < 0 ? "-" : "+", check[i].name, r < 0 ? " failed: " : " ok", r < 0 ? err.message : "");
	}
	tell_watch(h->watch, body);
	return status;
}

static int handle(void *ctx, const char *path, const char *query, struct buf *body, const char **type)
{
	struct health *h = ctx;

	(void)query;
	*type = "text/plain; charset=utf-8";
	if (!strcmp(path, "/healthz"))
		return buf_puts(body, "ok\n") < 0 ? 500 : 200;
	if (!strcmp(path, "/readyz"))
		return readyz(h, body);
	if (!strcmp(path, "/metrics")) {
		*type = "text/plain; version=0.0.4";
		return metrics_write(h->table, M_COUNT, body) < 0 ? 500 : 200;
	}
	return 404;
}

int health_start(const struct agent_options *o, struct health **ret, struct error *err)
{
	struct health *h = calloc(1, sizeof(*h));
	uint16_t port;
	int r;

	if (!h)
		return error_set(err, -ENOMEM, "out of memory");
	h->o = o;
	memcpy(h->table, declared, sizeof(declared));
	r = http_server_start(o->health_port, handle, h, &h->server, &port, err);
	if (r < 0) {
		free(h);
		return r;
	}
	*ret = h;
	return 0;
}

void health_stop(struct health *h)
{
	if (!h)
		return;
	http_server_stop(h->server);
	free(h);
}

void health_watch(struct health *h, struct kube_watch *w)
{
	h->watch = w;
}

void health_count(struct health *h, bool source, bool ok)
{
	static const int id[2][2] = { { M_DESTINATION_FAILED, M_DESTINATION_OK }, { M_SOURCE_FAILED, M_SOURCE_OK } };

	metric_add(&h->table[id[source][ok]], 1);
}

void health_set_active(struct health *h, int sources, int destinations)
{
	metric_set(&h->table[M_ACTIVE_SOURCE], sources);
	metric_set(&h->table[M_ACTIVE_DESTINATION], destinations);
}
