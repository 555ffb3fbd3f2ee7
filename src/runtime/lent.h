/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LENT_H
#define RUNTIME_LENT_H

#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/*
 * The bind mounts of a container in a user namespace, as CRIU is to find them.  CRIU binds them from inside of that namespace: there the node's folders on the way are closed to it, and what it binds
 * has the ids that are on the disk, where runc maps them (OCI runtime specification, mounts: uidMappings; mount_setattr(2)).  So each gets a mount of its own in a folder that only root of the node and
 * the namespace's root group may enter, with its ids mapped, and CRIU is told of that instead.  Between setns(2) and setresgid(2) CRIU's task is the node's root still, who owns the folder.  It is there for no longer than CRIU
 * needs it, and only ever emptied by umount and rmdir.
 */
#define LENT_DIR "/run/podmigration-lent"
#define LENT_MAX 256

enum lent_ids { LENT_AS_THEY_ARE, LENT_MAPPED, LENT_MAPPED_BELOW };     /* BELOW: those of the mounts below it, too */

struct lent {
	char dir[512];                  /* LENT_DIR/ID; "": none */
	gid_t gid;                      /* the namespace's 0, as the node has it */
	char *sources[LENT_MAX];        /* as in config.json; its mount is dir/INDEX */
	enum lent_ids ids[LENT_MAX];
	int n;
};

/*
 * What will be lent to container id of this bundle, and whether it can be; nothing is mounted yet.  userns: the namespace's file.  Errors: -EINVAL: config.json does not say who its group 0 is; -ENOTSUP: one source with its ids mapped and as they are (CRIU is told by source);
 * -E2BIG; the kernel's; lent_end in any case.
 */
int lent_plan(struct lent *l, const char *bundle, const char *id, const char *userns, struct error *err);
/* Mounts it; nothing planned: nothing to do.  What was made before an error is taken away by lent_end. */
int lent_make(struct lent *l, const char *userns, struct error *err);
/* Appends to CRIU's request (criu_rpc.h) what it is to take instead of the sources that the request names.  -EBADMSG, -ENOSPC. */
int lent_add(const struct lent *l, struct buf *request);
/* Takes the mounts away, also those of a process that was killed (lent_remove). */
void lent_end(struct lent *l);
void lent_remove(const char *id);

#endif
