/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_SPEC_H
#define RUNTIME_SPEC_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"
#include "json_scan.h"

/* What matters here of a bundle's config.json (OCI runtime specification), with the annotations that containerd's CRI puts in. */
struct spec {
	struct buf text;
	struct span root;               /* in text */
	char type[16];                  /* "container", "sandbox" */
	char name[256], sandbox[256];
	char pod_ns[256], pod_name[256], pod_uid[64];
	char migration[64];             /* UID of the PodMigration that brings the pod, "" when none does */
	char cgroups_path[1024];
	char netns[1024];               /* "" when the container has one of its own */
	char pidns[1024];               /* the same of the process namespace */
	char userns[1024];              /* and of the user namespace */
	char key_dir[1024], order_dir[1024];    /* host folders of our volumes, "" when this container does not mount them */
	char pod_dir[1024];             /* the kubelet's folder of the pod, "" when it cannot be told */
};

#define SPEC_MAX (4u << 20)

/* Bounded and checked: -EINVAL for anything that is not such a file.  spec_free in any case. */
int spec_load(const char *bundle, struct spec *ret, struct error *err);
void spec_free(struct spec *s);
/* A container that is to get its state from a migration. */
bool spec_is_migrated(const struct spec *s);
/*
 * Our two volumes are there so that the kubelet puts their files on the node; the application never sees them: their mounts are taken out of config.json,
 * everything else stays as it is to the byte.
 */
int spec_cut_mounts(struct spec *s, const char *bundle, struct error *err);
/* A person has said so by annotation PM_ANN_START_COLD, which the kubelet has brought to the node. */
bool spec_may_start_cold(const struct spec *s);
bool spec_is_bind(struct span mount);    /* one of config.json's mounts */
/* The bind mounts, as [{"destination", "source"}]. */
int spec_put_mounts(const struct spec *s, struct buf *out);

#endif
