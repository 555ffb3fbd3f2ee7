/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_KUBE_CHECK_H
#define TEST_KUBE_CHECK_H

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kube/client.h"
#include "kube/watch_internal.h"

/* One line per check: "ok  name" or "FAIL name: what". */
struct checks {
	int passed, failed;
};

void check_result(struct checks *c, bool ok, const char *name, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* What a test has. */
struct world {
	struct checks *checks;
	struct kube_config *config;
	struct kube_client *client;
	const char *dir;                /* scratch, with the fake's certificates */
	const char *self;               /* this program, for second processes */
	const char *kubeconfig;
	const char *const *restart;     /* command that restarts the API server, or NULL */
	char ns[64];
};

#define CHECK(w, ok, name, ...) check_result((w)->checks, (ok), (name), __VA_ARGS__)

/* What a watch reported, as text: "+name/uid" upsert, "-name/uid" delete, "!" synced, each followed by a space. */
struct record {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	char text[65536];
	size_t len;
	int upserts, deletes, synced;
	char last_kind[64], last_note[256];
	int64_t at_us;                  /* of the last one */
};

void record_init(struct record *r);
void record_spec(struct record *r, const char *path, struct kube_watch_spec *ret);
/* Waits until the text holds want, at most ms; false when it never does. */
bool record_wait(struct record *r, const char *want, int ms);
/* Copies the text. */
const char *record_text(struct record *r, char *out, size_t size);

int64_t ms_since(int64_t mono_us);

void fake_client_suite(struct world *w);
void fake_watch_suite(struct world *w);
void real_client_suite(struct world *w);
void real_watch_suite(struct world *w);
void real_lease_suite(struct world *w);
void real_event_suite(struct world *w);
int lease_holder_main(int argc, char **argv);
int flood_main(int argc, char **argv);

#endif
