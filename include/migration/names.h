/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_NAMES_H
#define MIGRATION_NAMES_H

/* Names that several programs share; changing one is an API change. */
#define PM_GROUP "podmigration.dev"
#define PM_VERSION "v1alpha1"
#define PM_API "/apis/podmigration.dev/v1alpha1"

#define PM_SYSTEM_NAMESPACE "podmigration-system"       /* controller, master key, lease */
#define PM_AGENT_NAMESPACE "podmigration-agent"         /* agents, keys for source agents */
#define PM_MASTER_SECRET "podmigration-master-key"      /* in the system namespace, data.key: 32 bytes */
#define PM_RUNTIME_CLASS "podmigration"
#define PM_FINALIZER "podmigration.dev/migration"

#define PM_MANAGER_CONTROLLER "podmigration-controller" /* field managers for server-side apply */
#define PM_MANAGER_AGENT "podmigration-agent"

/* Annotations. */
#define PM_ANN_MIGRATION "podmigration.dev/migration"   /* destination pod: UID of the PodMigration that brings it */
#define PM_ANN_ORDER "podmigration.dev/order"           /* pod at home: sealed order for the agent of its node */
#define PM_ANN_START_COLD "podmigration.dev/start-cold" /* destination pod, "true" by a person: what did not come up with its memory may start without */
#define PM_ANN_RECEIPT "podmigration.dev/receipt"       /* Event of a destination pod: sealed receipt that it runs */
#define PM_ANN_ORIGINAL_NAME "podmigration.dev/original-name"   /* destination pod: name of the first pod of the chain */
#define PM_LABEL_MIGRATION "podmigration.dev/migration-uid"     /* label on what a migration made, for finding and GC */

/* The destination pod's own volumes (removed from the container again by the runtime). */
#define PM_VOLUME_KEY "podmigration-key"
#define PM_VOLUME_ORDER "podmigration-order"
#define PM_MOUNT_ROOT "/.podmigration"
#define PM_MOUNT_KEY "/.podmigration/key"               /* Secret volume; file "key" */
#define PM_MOUNT_ORDER "/.podmigration/order"           /* downwardAPI volume; file "order" */
#define PM_START_COLD_FILE "start-cold"                 /* beside "order": annotation PM_ANN_START_COLD */
#define PM_STARTED_COMMAND "/.podmigration/started"     /* exec startup probe that the runtime answers itself */

/* In the agent's error message, when the source is still frozen and cannot be helped; the controller asks for a person by it. */
#define PM_NOT_THAWED "THE SOURCE COULD NOT BE THAWED"
#define PM_NOT_LIFTED "the CPU limit of a container could not be put back"

/* Reason of the condition Ready (False) of a source pod that stands still. */
#define PM_READY_MIGRATING "Migrating"

#define PM_KEY_SIZE 32
#define PM_STREAM_PORT 7117

#define PM_RUN_DIR "/run/podmigration"                  /* on the node, 0700, tmpfs */
#define PM_STATE_DIR "/var/lib/podmigration"            /* on the node, 0700: journals */

#endif
