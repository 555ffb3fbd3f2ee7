/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CONFIG_H
#define KUBE_CONFIG_H

#include <stddef.h>

#include "base/error.h"

/*
 * Where the API server is and who we are: in-cluster (service account) or a kubeconfig (libyaml; certificate-authority[-data],
 * client-certificate/key[-data] Ed25519 included, token, tokenFile, tls-server-name, insecure-skip-tls-verify; exec,
 * auth-provider and proxy-url are refused by name).  Whatever came from files (CA, certificate and key, token) is read again
 * every minute, as the kubelet rotates them; one that cannot be read then leaves the last good one in force.  Otherwise
 * immutable after loading; thread-safe.
 */
struct kube_config;

/*
 * path NULL: $KUBECONFIG when set (first file of the list that exists), else in-cluster when KUBERNETES_SERVICE_HOST is set,
 * else ~/.kube/config. context NULL: current-context.
 */
int kube_config_load(const char *path, const char *context, struct kube_config **ret, struct error *err);
/* Parses kubeconfig text (at most 1 MiB); base_dir resolves relative paths. For fuzzing and Secrets. */
int kube_config_parse(const char *yaml, size_t len, const char *base_dir, const char *context, struct kube_config **ret, struct error *err);
void kube_config_free(struct kube_config *c);
const char *kube_config_server(const struct kube_config *c);    /* "https://10.0.0.1:6443" */
const char *kube_config_namespace(const struct kube_config *c); /* "default" when none is set */

#endif
