/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_KNOWN_H
#define KUBE_KNOWN_H

#include <stddef.h>

/*
 * The names and UIDs of the objects a watch has seen, so that those that are missing after a relist can be reported as deleted.
 */
struct known;

struct known *known_new(void);
void known_free(struct known *k);
/* Its UID as long as it is not changed; NULL when it is not known. */
const char *known_uid(const struct known *k, const char *ns, const char *name);
int known_put(struct known *k, const char *ns, const char *name, const char *uid);     /* 0 or -ENOMEM */
void known_remove(struct known *k, const char *ns, const char *name);
size_t known_count(const struct known *k);

/* mark: a complete set begins.  sweep: it has ended; what was not put since mark is reported and forgotten. */
void known_mark(struct known *k);
typedef void known_gone_fn(void *ctx, const char *ns, const char *name, const char *uid);
void known_sweep(struct known *k, known_gone_fn *gone, void *ctx);

#endif
