/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "kube/lease.h"

/* Leases between processes: each holder is this program again ("hold"), which says what happens to it on its output. */

static void say_leading(void *ctx, int64_t epoch)
{
	(void)ctx;
	printf("leading %lld\n", (long long)epoch);
	fflush(stdout);
}

static void say_lost(void *ctx)
{
	(void)ctx;
	printf("lost\n");
	fflush(stdout);
	_exit(3);
}

/* hold KUBECONFIG NAMESPACE NAME IDENTITY: 3 s lease; SIGTERM releases. */
int lease_holder_main(int argc, char **argv)
{
	struct kube_lease_spec spec = { .lease_seconds = 3, .renew_seconds = 2, .retry_ms = 400, .on_leading = say_leading, .on_lost = say_lost };
	struct kube_config *config = NULL;
	struct kube_lease *lease = NULL;
	struct error err = { 0 };
	sigset_t term;
	int sig;

	if (argc != 6)
		return 2;
	log_init("lease-holder", LOG_ERROR, STDERR_FILENO);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	spec.ns = argv[3];
	spec.name = argv[4];
	spec.identity = argv[5];
	if (kube_config_load(argv[2], NULL, &config, &err) < 0 || kube_lease_start(config, &spec, &lease, &err) < 0) {
		printf("error %s\n", err.message);
		return 1;
	}
	sigwait(&term, &sig);
	kube_lease_stop(lease, true);
	kube_config_free(config);
	printf("released\n");
	return 0;
}

struct holder {
	struct process p;
	struct buf out;
};

static int holder_start(struct world *w, struct holder *h, const char *name, const char *identity)
{
	const char *argv[] = { w->self, "hold", w->kubeconfig, w->ns, name, identity, NULL };
	struct process_spec spec = { .argv = argv, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .die_with_parent = 1 };
	struct error err = { 0 };

	h->out = (struct buf)BUF_INIT(4096);
	if (process_start(&spec, true, &h->p, &err) < 0) {
		CHECK(w, false, "lease: start a holder", "%s", err.message);
		return -1;
	}
	return 0;
}

/* Reads its output until it holds want. */
static bool holder_says(struct holder *h, const char *want, int ms)
{
	int64_t until = clock_mono_us() + (int64_t)ms * 1000;

	while (!(h->out.data && strstr(h->out.data, want)) && clock_mono_us() < until) {
		struct process copy = { h->p.pid, dup(h->p.pidfd), dup(h->p.out_fd) };
		fd_set fds;
		struct timeval t = { 0, 50000 };
		char chunk[256];
		ssize_t n;

		close(copy.pidfd);
		FD_ZERO(&fds);
		FD_SET(copy.out_fd, &fds);
		if (select(copy.out_fd + 1, &fds, NULL, NULL, &t) > 0) {
			n = read(copy.out_fd, chunk, sizeof(chunk));
			if (n > 0)
				buf_append(&h->out, chunk, (size_t)n);
			if (n == 0)
				until = 0;
		}
		close(copy.out_fd);
	}
	return h->out.data && strstr(h->out.data, want);
}

static int holder_end(struct holder *h, int sig)
{
	int status = -1;

	if (sig)
		kill(h->p.pid, sig);
	process_wait(&h->p, clock_mono_us() + 10000000, &h->out, &status, NULL);
	return status;
}

static cJSON *read_lease(struct world *w, const char *name)
{
	struct error err = { 0 };
	cJSON *o = NULL;
	char path[512];

	kube_path(path, sizeof(path), "coordination.k8s.io/v1", w->ns, "leases", name, NULL);
	kube_get(w->client, path, &o, &err);
	return o;
}

/* A leads, B waits; A is released, killed or stopped, and B takes over with a larger epoch. */
static void clean_handover(struct world *w)
{
	struct holder a, b;
	int64_t began;
	cJSON *o;
	int status;

	if (holder_start(w, &a, "clean", "a") < 0)
		return;
	CHECK(w, holder_says(&a, "leading 1\n", 5000), "lease: the first leads with epoch 1", "%s", a.out.data ? a.out.data : "");
	if (holder_start(w, &b, "clean", "b") < 0)
		return;
	CHECK(w, !holder_says(&b, "leading", 4500), "lease: the second does not while the first renews", "%s", b.out.data ? b.out.data : "");
	began = clock_mono_us();
	status = holder_end(&a, SIGTERM);
	CHECK(w, status == 0 && holder_says(&b, "leading 2\n", 5000) && ms_since(began) < 2500, "lease: released: the second leads soon, with epoch 2",
	      "status %d, %lld ms, %s", status, (long long)ms_since(began), b.out.data ? b.out.data : "");
	printf("     taken over %lld ms after SIGTERM\n", (long long)ms_since(began));
	o = read_lease(w, "clean");
	CHECK(w, !strcmp(json_str_or(o, "spec/holderIdentity", ""), "b") && strlen(json_str_or(o, "spec/renewTime", "")) == 27, "lease: record", "%s",
	      json_str_or(o, "spec/renewTime", ""));
	cJSON_Delete(o);
	holder_end(&b, SIGTERM);
	o = read_lease(w, "clean");
	CHECK(w, !strcmp(json_str_or(o, "spec/holderIdentity", "?"), ""), "lease: released record has no holder", "%s",
	      json_str_or(o, "spec/holderIdentity", "?"));
	cJSON_Delete(o);
	buf_free(&a.out);
	buf_free(&b.out);
}

static void crash_handover(struct world *w)
{
	struct holder a, b;
	int64_t began;

	if (holder_start(w, &a, "crash", "a") < 0 || !holder_says(&a, "leading", 5000) || holder_start(w, &b, "crash", "b") < 0)
		return;
	holder_says(&b, "leading", 1500);
	began = clock_mono_us();
	holder_end(&a, SIGKILL);
	CHECK(w, holder_says(&b, "leading 2\n", 8000) && ms_since(began) > 1800, "lease: killed: the second leads after the lease ran out",
	      "%lld ms, %s", (long long)ms_since(began), b.out.data ? b.out.data : "");
	printf("     taken over %lld ms after SIGKILL (3 s lease)\n", (long long)ms_since(began));
	holder_end(&b, SIGTERM);
	buf_free(&a.out);
	buf_free(&b.out);
}

/* The fencing test: a leader that was stopped for a while must not believe that it still leads. */
static void paused_leader(struct world *w)
{
	struct holder a, b;
	int status;

	if (holder_start(w, &a, "paused", "a") < 0 || !holder_says(&a, "leading", 5000) || holder_start(w, &b, "paused", "b") < 0)
		return;
	kill(a.p.pid, SIGSTOP);
	CHECK(w, holder_says(&b, "leading 2\n", 8000), "lease: stopped leader: the second leads", "%s", b.out.data ? b.out.data : "");
	kill(a.p.pid, SIGCONT);
	status = holder_says(&a, "lost\n", 3000) ? holder_end(&a, 0) : -1;
	CHECK(w, status == 3, "lease: .. and the first, when it goes on, knows that it lost", "status %d, %s", status, a.out.data ? a.out.data : "");
	holder_end(&b, SIGTERM);
	buf_free(&a.out);
	buf_free(&b.out);
}

/* A person deletes the Lease, then writes another holder into it. */
static void meddling(struct world *w)
{
	cleanup_json cJSON *patch = cJSON_Parse("{\"spec\":{\"holderIdentity\":\"stranger\"}}");
	struct error err = { 0 };
	struct holder a;
	char path[512];
	cJSON *o;

	if (holder_start(w, &a, "meddled", "a") < 0 || !holder_says(&a, "leading 1", 5000))
		return;
	kube_path(path, sizeof(path), "coordination.k8s.io/v1", w->ns, "leases", "meddled", NULL);
	kube_delete(w->client, path, NULL, 0, &err);
	CHECK(w, !holder_says(&a, "lost", 1500), "lease: deleted: the leader writes it again", "%s", a.out.data ? a.out.data : "");
	o = read_lease(w, "meddled");
	CHECK(w, !strcmp(json_str_or(o, "spec/holderIdentity", ""), "a"), "lease: .. and still holds it", "%s", json_str_or(o, "spec/holderIdentity", ""));
	cJSON_Delete(o);
	kube_merge_patch(w->client, path, NULL, patch, NULL, &err);
	CHECK(w, holder_says(&a, "lost", 3000), "lease: another holder: the leader knows that it lost", "%s", a.out.data ? a.out.data : "");
	holder_end(&a, 0);
	buf_free(&a.out);
}

void real_lease_suite(struct world *w)
{
	clean_handover(w);
	crash_handover(w);
	paused_leader(w);
	meddling(w);
}
