/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KUBE_KNOWN_H
#define KUBE_KNOWN_H

#include <cjson/cJSON.h>

/* The names of the objects a watch has seen, so that those that are missing after a relist can be reported as deleted. */
struct known;

struct known *known_new(void);
void known_free(struct known *k);
int known_put(struct known *k, const char *ns, const char *name, const char *uid);     /* 0 or -ENOMEM */
void known_remove(struct known *k, const char *ns, const char *name);
/* mark: a complete set begins.  sweep: it has ended; what was not put since mark is reported and forgotten. */
void known_mark(struct known *k);
void known_sweep(struct known *k, void (*gone)(void *ctx, const cJSON *object), void *ctx);

#endif
