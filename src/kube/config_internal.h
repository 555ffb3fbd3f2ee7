/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CONFIG_INTERNAL_H
#define KUBE_CONFIG_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "kube/config.h"

/*
 * What we show the server and what we check it with: a text (PEM, or the bearer token) and the file it came from, when it may
 * be read again.
 */
enum { CRED_CA, CRED_CERT, CRED_KEY, CRED_TOKEN, CRED_N };

struct credential {
	char *file;                     /* NULL: given inline */
	struct buf text;                /* empty: none */
};

struct kube_config {
	char server[512];               /* as it was written, without a final slash */
	char url[512];                  /* the start of request URLs: server, with tls-server-name as its host */
	char connect_to[600];           /* "NAME:PORT:HOST:PORT" when url is not server, else "" */
	char ns[254];
	bool insecure;
	struct credential cred[CRED_N];
	pthread_mutex_t lock;           /* of cred[].text and read_us */
	int64_t read_us;                /* clock_mono_us of the last reading of the files */
};

struct kube_config *kube_config_alloc(void);

/* Checks and takes the server's URL; tls_server_name may be NULL. */
int kube_config_set_server(struct kube_config *c, const char *server, const char *tls_server_name, struct error *err);

/* Reads a credential's file for the first time; from then on it is read again. */
int kube_config_set_file(struct kube_config *c, int which, const char *path, struct error *err);

/* Takes a credential's text; it is checked to be what it should be. */
int kube_config_set_text(struct kube_config *c, int which, const char *text, size_t len, struct error *err);

#endif
