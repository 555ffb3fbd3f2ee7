/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "controller.h"
#include "kube/lease.h"
#include "kube/watch.h"
#include "migration/names.h"
#include "names.h"
#include "net/http.h"
#include "view.h"

#define WORKERS_DEFAULT 4
#define WORKERS_MAX 64
#define PORT_DEFAULT 8080

struct options {
	const char *kubeconfig, *ns, *agent_ns;
	char identity[128];
	int workers, lease_seconds, renew_seconds, retry_ms;
	uint16_t port;
	enum log_level level;
};

/* The process: the controller and what feeds it. */
struct program {
	struct options o;
	struct controller c;
	struct kube_watch *migrations, *pods;
	struct kube_lease *lease;
	struct http_server *http;
	struct worker workers[WORKERS_MAX];
	int n_workers;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool migrations_synced, pods_synced, leading, stop;
};

/* --- from the watches' threads --- */

static void on_migration(void *ctx, const cJSON *object)
{
	struct program *p = ctx;
	char key[STORE_KEY_SIZE];

	store_put_migration(p->c.store, object);
	if (store_key(object, key) == 0)
		queue_add(p->c.queue, key);
}

static void on_migration_gone(void *ctx, const cJSON *object)
{
	struct program *p = ctx;

	store_remove_migration(p->c.store, object);
}

static void on_pod(void *ctx, const cJSON *object)
{
	struct program *p = ctx;
	char key[STORE_KEY_SIZE];

	if (store_put_pod(p->c.store, object, key))
		queue_add(p->c.queue, key);
}

static void on_pod_gone(void *ctx, const cJSON *object)
{
	struct program *p = ctx;
	char key[STORE_KEY_SIZE];

	if (store_remove_pod(p->c.store, object, key))
		queue_add(p->c.queue, key);
}

static void set_flag(struct program *p, bool *flag)
{
	pthread_mutex_lock(&p->lock);
	*flag = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static void on_migrations_synced(void *ctx)
{
	struct program *p = ctx;

	set_flag(p, &p->migrations_synced);
}

static void on_pods_synced(void *ctx)
{
	struct program *p = ctx;

	set_flag(p, &p->pods_synced);
}

/* --- from the lease's thread --- */

static void on_leading(void *ctx, int64_t epoch)
{
	struct program *p = ctx;

	p->c.epoch = epoch;
	metrics_leading(p->c.metrics, true);
	set_flag(p, &p->leading);
}

/* Another may lead already: nothing more is written, not even a farewell. */
static void on_lost(void *ctx)
{
	(void)ctx;
	log_error("leader election lost");
	_exit(1);
}

/* --- workers --- */

static bool wait_for_start(struct program *p)
{
	bool go;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && !(p->leading && p->migrations_synced && p->pods_synced))
		pthread_cond_wait(&p->changed, &p->lock);
	go = !p->stop;
	pthread_mutex_unlock(&p->lock);
	return go;
}

static void work(struct worker *w, const char *key, int64_t waited_us)
{
	struct error err = { 0 };
	int64_t begun = clock_mono_us();
	int r;

	metrics_reconcile_begin(w->c->metrics, waited_us);
	r = reconcile(w, key, &err);
	if (r < 0)
		log_error("reconciliation failed, it is tried again", LOG_S("PodMigration", key), LOG_N("code", r), LOG_S("err", err.message));
	metrics_reconcile_end(w->c->metrics, clock_mono_us() - begun, r < 0);
	queue_done(w->c->queue, key, r < 0);
}

struct start {
	struct program *p;
	struct worker *w;
};

static void *worker_main(void *arg)
{
	struct start *s = arg;
	struct program *p = s->p;
	struct worker *w = s->w;
	char key[QUEUE_KEY_SIZE];
	int64_t waited_us;

	free(s);
	if (wait_for_start(p))
		while (queue_get(p->c.queue, key, &waited_us))
			work(w, key, waited_us);
	return NULL;
}

static int start_worker(struct program *p, struct error *err)
{
	struct worker *w = &p->workers[p->n_workers];
	struct start *s = malloc(sizeof(*s));
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	*s = (struct start){ p, w };
	w->c = &p->c;
	r = kube_client_new(p->c.config, CONTROLLER_NAME, &w->client, err);
	if (r == 0) {
		r = -pthread_create(&w->thread, NULL, worker_main, s);
		if (r < 0) {
			kube_client_free(w->client);
			error_set(err, r, "cannot start a thread");
		}
	}
	if (r < 0) {
		free(s);
		return r;
	}
	p->n_workers++;
	return 0;
}

/* --- probes and metrics --- */

static int health(struct program *p, struct buf *body)
{
	bool ok = !p->lease || kube_lease_healthy(p->lease);

	buf_printf(body, ok ? "ok\n" : "the lease was not renewed in time\n");
	return ok ? 200 : 503;
}

static int readiness(struct program *p, struct buf *body)
{
	const struct {
		const char *name;
		struct kube_watch *watch;
	} parts[] = { { "podmigrations", p->migrations }, { "pods", p->pods } };
	bool ready = true;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		char why[512];
		bool ok = kube_watch_synced(parts[i].watch);

		kube_watch_status(parts[i].watch, why, sizeof(why));
		buf_printf(body, "[%c] watch %s %s\n", ok ? '+' : '-', parts[i].name, why[0] ? why : ok ? "synced" : "not synced");
		ready = ready && ok;
	}
	buf_printf(body, "%s\n", p->c.epoch ? "leading" : "standing by");
	return ready ? 200 : 503;
}

static int print_metrics(struct program *p, struct buf *body, const char **ret_content_type)
{
	int by_phase[PHASE_COUNT], pods;

	store_count(p->c.store, by_phase, &pods);
	metrics_set_counts(p->c.metrics, by_phase, pods, queue_depth(p->c.queue));
	*ret_content_type = "text/plain; version=0.0.4; charset=utf-8";
	return metrics_print(p->c.metrics, body) == 0 ? 200 : 500;
}

static int handle_http(void *ctx, const char *path, const char *query, struct buf *body, const char **ret_content_type)
{
	struct program *p = ctx;

	(void)query;
	*ret_content_type = "text/plain; charset=utf-8";
	if (!strcmp(path, "/healthz"))
		return health(p, body);
	if (!strcmp(path, "/readyz"))
		return readiness(p, body);
	if (!strcmp(path, "/metrics"))
		return print_metrics(p, body, ret_content_type);
	buf_puts(body, "not found\n");
	return 404;
}

/* --- starting and stopping --- */

static int start_watches(struct program *p, struct error *err)
{
	struct kube_watch_spec migrations = { .path = PM_API "/" MIGRATION_PLURAL, .want = store_migration_want, .name = "podmigrations", .on_upsert = on_migration,
					      .on_delete = on_migration_gone, .on_synced = on_migrations_synced, .ctx = p };
	/* Only pods that a migration has marked: the rest of the cluster's pods costs nothing. */
	struct kube_watch_spec pods = { .path = "/api/v1/pods", .label_selector = PM_LABEL_MIGRATION, .want = store_pod_want, .name = "pods",
					.on_upsert = on_pod, .on_delete = on_pod_gone, .on_synced = on_pods_synced, .ctx = p };
	int r = kube_watch_start(p->c.config, &pods, &p->pods, err);

	return r == 0 ? kube_watch_start(p->c.config, &migrations, &p->migrations, err) : r;
}

static int start_lease(struct program *p, struct error *err)
{
	struct kube_lease_spec spec = { .ns = p->o.ns, .name = CONTROLLER_NAME, .identity = p->o.identity, .lease_seconds = p->o.lease_seconds,
					.renew_seconds = p->o.renew_seconds, .retry_ms = p->o.retry_ms, .on_leading = on_leading,
					.on_lost = on_lost, .ctx = p };

	return kube_lease_start(p->c.config, &spec, &p->lease, err);
}

/* Watches first, so that whoever becomes the leader knows everything already; probes last, when all they ask about is there. */
static int start(struct program *p, struct error *err)
{
	struct controller *c = &p->c;
	int r = kube_config_load(p->o.kubeconfig, NULL, &c->config, err);

	if (r == 0)
		r = store_new(&c->store, err);
	if (r == 0)
		r = queue_new(&c->queue, err);
	if (r == 0)
		r = metrics_new(p->o.workers, &c->metrics, err);
	if (r == 0)
		r = kube_events_new(c->config, CONTROLLER_NAME, p->o.identity, &c->events, err);
	if (r == 0)
		r = start_watches(p, err);
	for (int i = 0; r == 0 && i < p->o.workers; i++)
		r = start_worker(p, err);
	if (r == 0)
		r = start_lease(p, err);
	if (r == 0)
		r = http_server_start(p->o.port, handle_http, p, &p->http, NULL, err);
	return r;
}

/* No new keys, workers finish theirs, then the rest; the lease last, when nothing is written any more. */
static void stop(struct program *p)
{
	set_flag(p, &p->stop);
	queue_stop(p->c.queue);
	for (int i = 0; i < p->n_workers; i++) {
		pthread_join(p->workers[i].thread, NULL);
		kube_client_free(p->workers[i].client);
	}
	http_server_stop(p->http);
	kube_watch_stop(p->migrations);
	kube_watch_stop(p->pods);
	kube_events_free(p->c.events);
	kube_lease_stop(p->lease, true);
	metrics_free(p->c.metrics);
	queue_free(p->c.queue);
	store_free(p->c.store);
	kube_config_free(p->c.config);
	explicit_bzero(p->c.master, sizeof(p->c.master));
}

static void wait_for_signal(const sigset_t *set)
{
	int sig = 0;

	sigwait(set, &sig);
	log_info("stopping", LOG_N("signal", sig));
	/* A second one ends the process at once. */
	pthread_sigmask(SIG_UNBLOCK, set, NULL);
}

/* --- options --- */

static const char usage[] =
	"podmigration-controller: carries out PodMigrations (several may run, one leads)\n"
	"\n"
	"  --kubeconfig FILE        default: $KUBECONFIG, else in-cluster\n"
	"  --namespace NS           of the lease and the master key (default: $POD_NAMESPACE, else podmigration-system)\n"
	"  --agent-namespace NS     where source agents read their keys (default: podmigration-agent)\n"
	"  --port N                 /healthz /readyz /metrics (default: 8080)\n"
	"  --workers N              migrations looked after at the same time (default: 4)\n"
	"  --lease-seconds N        another takes over after so long (default: 15)\n"
	"  --renew-seconds N        gives up leading when not renewed for so long (default: 10)\n"
	"  --retry-ms N             between tries to get or renew the lease (default: 2000)\n"
	"  -v                       debug messages\n";

enum { OPT_KUBECONFIG = 256, OPT_NAMESPACE, OPT_AGENT_NAMESPACE, OPT_PORT, OPT_WORKERS, OPT_LEASE, OPT_RENEW, OPT_RETRY };

static const struct option long_options[] = {
	{ "kubeconfig", required_argument, NULL, OPT_KUBECONFIG },
	{ "namespace", required_argument, NULL, OPT_NAMESPACE },
	{ "agent-namespace", required_argument, NULL, OPT_AGENT_NAMESPACE },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "workers", required_argument, NULL, OPT_WORKERS },
	{ "lease-seconds", required_argument, NULL, OPT_LEASE },
	{ "renew-seconds", required_argument, NULL, OPT_RENEW },
	{ "retry-ms", required_argument, NULL, OPT_RETRY },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int number(const char *text, int min, int max)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || v < min || v > max) {
		fprintf(stderr, CONTROLLER_NAME ": %s is not a number from %d to %d\n", text, min, max);
		exit(2);
	}
	return (int)v;
}

static void take_option(struct options *o, int opt)
{
	switch (opt) {
	case OPT_KUBECONFIG:
		o->kubeconfig = optarg;
		break;
	case OPT_NAMESPACE:
		o->ns = optarg;
		break;
	case OPT_AGENT_NAMESPACE:
		o->agent_ns = optarg;
		break;
	case OPT_PORT:
		o->port = (uint16_t)number(optarg, 0, 65535);
		break;
	case OPT_WORKERS:
		o->workers = number(optarg, 1, WORKERS_MAX);
		break;
	case OPT_LEASE:
		o->lease_seconds = number(optarg, 1, 3600);
		break;
	case OPT_RENEW:
		o->renew_seconds = number(optarg, 1, 3600);
		break;
	case OPT_RETRY:
		o->retry_ms = number(optarg, 10, 60000);
		break;
	case 'v':
		o->level = LOG_DEBUG;
		break;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

/* "<host>_<random>": a process that comes again under the same host name is another candidate. */
static void make_identity(char *out, size_t size)
{
	char host[65] = "";
	uint64_t random = 0;

	gethostname(host, sizeof(host) - 1);
	if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
		random = (uint64_t)clock_real_us();
	snprintf(out, size, "%s_%016llx", host[0] ? host : "controller", (unsigned long long)random);
}

/* Keys are in memory here: no core file may ever hold them. */
static void forbid_cores(void)
{
	struct rlimit none = { 0, 0 };

	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &none);
}

int main(int argc, char **argv)
{
	const char *ns = getenv("POD_NAMESPACE");
	cleanup_free struct program *p = calloc(1, sizeof(*p));
	struct error err = { 0 };
	sigset_t set;
	int opt;

	if (!p)
		return 1;
	p->o = (struct options){ .ns = ns && *ns ? ns : PM_SYSTEM_NAMESPACE, .agent_ns = PM_AGENT_NAMESPACE, .workers = WORKERS_DEFAULT,
				 .port = PORT_DEFAULT, .level = LOG_INFO };
	while ((opt = getopt_long(argc, argv, "hv", long_options, NULL)) != -1)
		take_option(&p->o, opt);
	log_init("controller", p->o.level, STDERR_FILENO);
	forbid_cores();
	/* The C library's arena for each thread keeps what was free there for ever (mallopt(3)); our threads mostly wait, and can share one. */
	mallopt(M_ARENA_MAX, 1);
	make_identity(p->o.identity, sizeof(p->o.identity));
	p->c.ns = p->o.ns;
	p->c.agent_ns = p->o.agent_ns;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->c.lock, NULL);
	pthread_cond_init(&p->changed, NULL);

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);         /* inherited by all threads: only this one takes them */
	if (start(p, &err) < 0) {
		log_error("cannot start", LOG_S("err", err.message));
		_exit(1);               /* threads may be about already */
	}
	log_info("started", LOG_S("version", PM_VERSION_STRING), LOG_S("server", kube_config_server(p->c.config)), LOG_N("workers", p->n_workers));
	wait_for_signal(&set);
	stop(p);
	return 0;
}
