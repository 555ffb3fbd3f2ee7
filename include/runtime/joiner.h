/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_JOINER_H
#define RUNTIME_JOINER_H

/*
 * A pod with a user namespace of its own (hostUsers: false): the namespace belongs to the sandbox, and owns the pod's network, IPC and UTS namespaces.  CRIU makes a new one for what it restores, which has
 * no right over those; or enters a given one (join-ns) after it has made the mount and process namespaces, which are then the node's, so that it may mount nothing in them (criu/cr-restore.c,
 * __restore_task_with_children).  The library libexec/joiner.so (src/preload/) lets CRIU's call that makes the first task of a container make it in the pod's user namespace instead of in a new one.
 * Without the library, or in a CRIU that is linked statically, such a restore fails: before the commit.
 */
#define JOINER_LIBRARY "joiner.so"
#define JOINER_ENV "PODMIGRATION_USERNS"        /* path of the user namespace, in the environment of runc and so of CRIU */

#endif
