/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROLLER_NAMES_H
#define CONTROLLER_NAMES_H

#include "migration/names.h"

/* Names only the controller uses. */

/* A pod with an order: "<UID of the PodMigration> <action> <time>", which order was written last and when; the order itself is sealed and cannot be compared. */
#define ANN_ORDERED "podmigration.dev/ordered"
/* While the order is that of a dry run: "<order> <ordered>" as both were before, and will be again (order_withdraw_patch). */
#define ANN_ORDER_BEFORE "podmigration.dev/order-before"

/*
 * Destination pod of a pod that has an owner: {"owner": {..}, "labels": {..}}, what it gets when it takes the source's place (handover.h).  Not there any more
 * afterwards.
 */
#define ANN_WITHHELD "podmigration.dev/withheld"
/* Of two pods that are alike to it a ReplicaSet deletes the one of lower cost (Kubernetes, "Pod deletion cost"). */
#define ANN_DELETION_COST "controller.kubernetes.io/pod-deletion-cost"
#define DELETION_COST_LOWEST "-2147483648"

/* Liqo 1.x (its API types and the labels its virtual kubelet puts on a node). */
#define LIQO_LABEL_TYPE "liqo.io/type"
#define LIQO_TYPE_VIRTUAL_NODE "virtual-node"
#define LIQO_LABEL_CLUSTER "liqo.io/remote-cluster-id"
#define LIQO_TAINT "virtual-node.liqo.io/not-allowed"
#define LIQO_ANN_RUNTIME_CLASS "liqo.io/remote-runtime-class-name"
#define LIQO_RUNTIME_CLASS "liqo"                       /* steers pods to virtual nodes; not a runtime */
#define LIQO_OFFLOADING_API "offloading.liqo.io/v1beta1"
#define LIQO_CORE_API "core.liqo.io/v1beta1"

#define CONTROLLER_NAME "podmigration-controller"
#define MIGRATION_API PM_GROUP "/" PM_VERSION
#define MIGRATION_PLURAL "podmigrations"
#define MIGRATION_KIND "PodMigration"

#endif
