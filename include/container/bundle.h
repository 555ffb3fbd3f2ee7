/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_BUNDLE_H
#define CONTAINER_BUNDLE_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/ids.h"

/* An OCI bundle's config.json, read from outside bytes: bounded (1 MiB) and checked. */
#define BUNDLE_MOUNTS_MAX 256

struct bundle_mount {
	char destination[1024];
	char source[1024];
	bool bind;
	bool mapped;    /* the ids of its files are those inside of the user namespace */
};

struct bundle {
	cJSON *config; /* whole, owned */
	struct bundle_mount mounts[BUNDLE_MOUNTS_MAX];
	int n_mounts;
	char cgroups_path[1024];
	char netns[512]; /* path of the joined network namespace, "" when none */
	bool terminal;
	struct id_range ids;    /* of a user namespace of its own, or of its pod */
};

/*
 * bundle_dir is found below dirfd even when it starts with "/" (dirfd: the node's root); AT_FDCWD: as it is. *ret is freed by
 * bundle_free.
 */
int bundle_load(int dirfd, const char *bundle_dir, struct bundle **ret, struct error *err);
void bundle_free(struct bundle *b);                                     /* NULL is fine */
const char *bundle_annotation(const struct bundle *b, const char *key); /* NULL when absent */

#endif
