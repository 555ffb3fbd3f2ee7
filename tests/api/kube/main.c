/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube-client fake KUBECONFIG DIR                  against fake.py, whose certificates and ports are in DIR
 * kube-client real KUBECONFIG [RESTART-COMMAND..]  against a real API server; makes a namespace of its own
 * kube-client hold ..                              a second process of the lease tests
 * kube-client flood KUBECONFIG EVENTS              how fast a watch reads
 */
#include "check.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

static int make_namespace(struct world *w)
{
	cleanup_json cJSON *o = cJSON_CreateObject();
	struct error err = { 0 };
	int r;

	snprintf(w->ns, sizeof(w->ns), "kube-test-%llx", (unsigned long long)clock_real_us());
	cJSON_AddStringToObject(o, "apiVersion", "v1");
	cJSON_AddStringToObject(o, "kind", "Namespace");
	cJSON_AddStringToObject(cJSON_AddObjectToObject(o, "metadata"), "name", w->ns);
	r = kube_create(w->client, "/api/v1/namespaces", o, NULL, &err);
	CHECK(w, r == 0, "real: namespace", "%s", err.message);
	return r;
}

static void make_account(struct world *w)
{
	cleanup_json cJSON *o = cJSON_Parse("{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}");
	struct error err = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s/serviceaccounts", w->ns);
	kube_create(w->client, path, o, NULL, &err);
}

static void drop_namespace(struct world *w)
{
	struct error err = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "/api/v1/namespaces/%s", w->ns);
	kube_delete(w->client, path, NULL, -1, &err);
}

static void run_real(struct world *w)
{
	if (make_namespace(w) < 0)
		return;
	/* No controller-manager runs here, and a pod needs it (ServiceAccount admission). */
	make_account(w);
	real_client_suite(w);
	real_watch_suite(w);
	real_lease_suite(w);
	real_event_suite(w);
	drop_namespace(w);
}

/* Events a second of one watch, its handler only counting. */
int flood_main(int argc, char **argv)
{
	struct watch_timing timing = { 150000, 30000, 300, 600, 15000, 500 };
	struct kube_watch_spec spec;
	struct kube_config *config = NULL;
	struct kube_watch *watch = NULL;
	struct error err = { 0 };
	char selector[32];
	struct record r;
	int64_t began;
	bool found;

	if (argc != 4 || kube_config_load(argv[2], NULL, &config, &err) < 0) {
		printf("%s\n", err.message);
		return 2;
	}
	record_init(&r);
	record_spec(&r, "/apis/fake.test/v1/flood", &spec);
	snprintf(selector, sizeof(selector), "n=%.10s", argv[3]);
	spec.label_selector = selector;
	if (kube_watch_start_timed(config, &spec, &timing, &watch, &err) < 0)
		return 2;
	record_wait(&r, "! ", 20000);
	began = clock_mono_us();
	found = record_wait(&r, "+end/", 60000);
	printf("%s: %d events in %lld ms\n", found ? "all came" : "NOT all came", r.upserts, (long long)ms_since(began));
	kube_watch_stop(watch);
	kube_config_free(config);
	return found ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct checks checks = { 0 };
	struct world w = { .checks = &checks, .self = argv[0] };
	struct error err = { 0 };

	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && !strcmp(argv[1], "hold"))
		return lease_holder_main(argc, argv);
	log_init("kube-test", LOG_ERROR, STDERR_FILENO);
	if (argc > 1 && !strcmp(argv[1], "flood"))
		return flood_main(argc, argv);
	if (argc < 3)
		return 2;
	w.kubeconfig = argv[2];
	if (kube_config_load(argv[2], NULL, &w.config, &err) < 0 || kube_client_new(w.config, "kube-test", &w.client, &err) < 0) {
		printf("FAIL config: %s\n", err.message);
		return 2;
	}
	if (!strcmp(argv[1], "fake") && argc == 4) {
		w.dir = argv[3];
		fake_client_suite(&w);
		fake_watch_suite(&w);
	} else if (!strcmp(argv[1], "real")) {
		w.restart = argc > 3 ? (const char *const *)&argv[3] : NULL;
		run_real(&w);
	}
	kube_client_free(w.client);
	kube_config_free(w.config);
	printf("%d passed, %d failed\n", checks.passed, checks.failed);
	return checks.failed || !checks.passed;
}
