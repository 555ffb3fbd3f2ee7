/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_CLIENT_H
#define KUBE_CLIENT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/buf.h"
#include "kube/config.h"

/*
 * Unary requests to one API server.  A client is used by one thread at a time (it holds a connection pool); make one per thread
 * from the same config. Paths are absolute ("/api/v1/namespaces/x/pods/y"); build them with kube_path so that names are
 * checked.
 *
 * Failures: -ENOENT 404, -EEXIST 409 AlreadyExists, -EAGAIN 409 Conflict, -EINVAL 422/400, -EACCES 401/403, -ESTALE 410, -EBUSY
 * 429 after its retries, -ECONNREFUSED/-ETIMEDOUT/-EIO transport and 5xx.  err holds the server's own message.  429 and 5xx
 * with Retry-After are retried (bounded by the timeout); GET is retried once on a broken connection, nothing else is: after
 * -EIO or -ETIMEDOUT a write may have been done, the caller finds out by reading.
 */
struct kube_client;

/* config must outlive the client.  user_agent: the program's name; the version is added. */
int kube_client_new(struct kube_config *config, const char *user_agent, struct kube_client **ret, struct error *err);
void kube_client_free(struct kube_client *c);

#define KUBE_TIMEOUT_MS 10000

/* ret (may be NULL) gets the parsed object, owned by the caller. */
int kube_get(struct kube_client *c, const char *path, cJSON **ret, struct error *err);
int kube_create(struct kube_client *c, const char *path, const cJSON *object, cJSON **ret, struct error *err);
/* Server-side apply; path may end in /status. force takes fields over from other managers. */
int kube_apply(struct kube_client *c, const char *path, const char *manager, bool force, const cJSON *object, cJSON **ret, struct error *err);
/* JSON merge patch (RFC 7386); a metadata.resourceVersion inside makes it a compare-and-swap (-EAGAIN). manager may be NULL. */
int kube_merge_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err);
/* Strategic merge patch, of built-in kinds only: lists are merged by their keys, such as a pod's conditions by type; else as a merge patch. */
int kube_strategic_patch(struct kube_client *c, const char *path, const char *manager, const cJSON *patch, cJSON **ret, struct error *err);
/* JSON patch (RFC 6902) with its own tests; -EINVAL when a test fails. */
int kube_json_patch(struct kube_client *c, const char *path, const cJSON *ops, cJSON **ret, struct error *err);
/* uid NULL: no precondition (only for objects that cannot be replaced). grace_seconds < 0: the object's default. */
int kube_delete(struct kube_client *c, const char *path, const char *uid, int grace_seconds, struct error *err);
/* PUT, for leases. */
int kube_replace(struct kube_client *c, const char *path, const cJSON *object, cJSON **ret, struct error *err);
/* Any GET as text (for /readyz, pod logs..); of a longer answer the first max bytes. */
int kube_get_raw(struct kube_client *c, const char *path, size_t max, struct buf *out, struct error *err);
void kube_set_timeout(struct kube_client *c, int64_t ms);       /* of each call, its retries included; KUBE_TIMEOUT_MS at first */
/* once: from now on nothing is sent twice, whatever the answer: for who must know from a write's error whether it can have been done. */
void kube_set_once(struct kube_client *c, bool once);

/*
 * "/api/v1/namespaces/NS/PLURAL/NAME[/SUB]" or the /apis form; group_version "v1" or "podmigration.dev/v1alpha1".  ns NULL:
 * cluster-scoped; name, sub may be NULL.  Names must be valid DNS subdomains: -EINVAL.
 */
int kube_path(char *out, size_t size, const char *group_version, const char *ns, const char *plural, const char *name, const char *sub);

#endif
