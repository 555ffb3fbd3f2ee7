/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_LENT_H
#define RUNTIME_LENT_H

#include "base/buf.h"
#include "base/error.h"

/*
 * The bind mounts of a container in a user namespace, as CRIU is to find them.  CRIU binds them from inside of that namespace: there the node's folders on the way are closed to it, and what it binds
 * has the ids that are on the disk, where runc maps them (OCI runtime specification, mounts: uidMappings; mount_setattr(2)).  So each gets a mount of its own in a folder that anybody may enter,
 * with its ids mapped, and CRIU is told of that instead.  The folder is only ever emptied by umount and rmdir.
 */
#define LENT_DIR "/run/podmigration-lent"
#define LENT_MAX 256

struct lent {
	char dir[512];                  /* LENT_DIR/ID; "": none */
	char *sources[LENT_MAX];        /* as in config.json; its mount is dir/INDEX */
	int n;
};

/* userns: its file; bundle, id: of the container.  What was made before an error is taken away by lent_end. */
int lent_make(struct lent *l, const char *bundle, const char *id, const char *userns, struct error *err);
/* Appends to CRIU's request (criu_rpc.h) what it is to take instead of the sources that the request names.  -EBADMSG, -ENOSPC. */
int lent_add(const struct lent *l, struct buf *request);
/* Takes the mounts away, also those of a process that was killed (lent_remove). */
void lent_end(struct lent *l);
void lent_remove(const char *id);

#endif
