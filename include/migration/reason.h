/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MIGRATION_REASON_H
#define MIGRATION_REASON_H

/*
 * Every reason a PodMigration can show, with the sentence that tells a person what to do.  docs/troubleshooting.md is checked
 * against this list.  R(name, advice).
 */
#define REASON_LIST(R)                                                                                                  \
	/* the pod */                                                                                                   \
	R(PodNotFound, "Name a pod that exists in the PodMigration's namespace.")                                        \
	R(PodNotRunning, "Wait until every container of the pod runs, then create a new PodMigration.")                  \
	R(PodTerminating, "The pod is being deleted; there is nothing to move.")                                         \
	R(PodReplaced, "A pod of this name exists, but it is another one than podUID names; create a new PodMigration.") \
	R(AlreadyMigrating, "Wait for the other PodMigration of this pod to end, or cancel it.")                         \
	R(OwnedPod, "Only bare pods and those of a ReplicaSet (Deployment) can be moved; other controllers know theirs by name, node or end.") \
	R(StaticPod, "Static pods belong to their node and cannot be moved.")                                            \
	R(HostNamespace, "Remove hostNetwork, hostPID and hostIPC from the pod.")                                        \
	R(UnsupportedVolume, "Only emptyDir, ConfigMap, Secret, projected and downwardAPI volumes can be moved.")        \
	R(DeviceInUse, "Devices and GPUs cannot be moved; remove the device from the pod.")                              \
	R(TerminalAttached, "Remove stdin and tty from the container.")                                                  \
	R(UnsupportedContainer, "Do without what the message names; docs/troubleshooting.md has the ways out. Nothing was touched.")\
	R(UnsupportedRuntime, "Only containers of runc can be moved: give the pod no RuntimeClass of its own, on a node whose default runtime is runc.") \
	R(UnsupportedSource, "Create the pod on a node of this cluster, for instance by a nodeSelector, and move it from there: of a pod in another cluster only one that a PodMigration brought there can be moved.")            \
	/* the destination */                                                                                           \
	R(NoSuchDestination, "Name a Liqo peer of this cluster or a node that exists.")                                  \
	R(DestinationNotReady, "Wait until the destination node is Ready and schedulable.")                              \
	R(NamespaceNotOffloaded, "Offload the namespace to that cluster with a NamespaceOffloading.")                    \
	R(RuntimeClassMissing, "Install podmigration in the destination cluster (RuntimeClass podmigration).")           \
	R(AgentUnavailable, "Check the podmigration-agent on that node and that pod IPs reach it.")                      \
	R(AgentRestarted, "Nothing but to create a new PodMigration: an agent ended in the middle of it, and the pod goes on.")   \
	R(ImageMissing, "Make the pod's images available at the destination under the same digest.")                     \
	R(ImageMismatch, "The destination's image of this name differs; use digests.")                                   \
	R(DestinationPodFailed, "Read the destination pod's events; the source pod goes on.")                            \
	R(InsufficientResources, "Free CPU, memory or disk at the destination or raise its quota.")                      \
	R(RequestRefused, "Let what the message names (a policy, a webhook, a missing right) pass what podmigration writes; docs/security.md lists it.") \
	/* the nodes */                                                                                                 \
	R(CPUIncompatible, "Choose a destination node whose CPU has all features of the source's.")                      \
	R(CRIUIncompatible, "Install CRIU 4.2 or newer, on the destination not older than on the source.")               \
	R(KernelIncompatible, "Choose a destination node of the same architecture with a kernel not older than the source's.") \
	R(CgroupIncompatible, "Both nodes must use the same cgroup version.")                                            \
	R(IOUringInUse, "CRIU cannot dump io_uring; turn it off in the application.")                                    \
	R(UnsupportedFile, "CRIU cannot dump this kind of open file; see the message.")                                  \
	R(ExternalUnixSocket, "A unix socket is connected to a process outside the container; close it before.")         \
	R(NoSpace, "Free space on the node, see the message for the path.")                                              \
	/* on the way */                                                                                                \
	R(FreezeFailed, "The containers could not be frozen; the source goes on.")                                       \
	R(CheckpointFailed, "CRIU could not dump the container; the message quotes CRIU.")                               \
	R(RestoreFailed, "CRIU could not restore the container; the message quotes CRIU.")                               \
	R(TransferFailed, "The connection to the destination broke; create a new PodMigration to try again.")            \
	R(AuthenticationFailed, "The destination holds another key; create a new PodMigration.")                         \
	R(ProtocolError, "The two agents do not understand each other; run the same podmigration version on both.")      \
	R(TimedOut, "Raise spec.timeout, or find in the phases what took so long.")                                      \
	R(Cancelled, "Cancelled by a person; the source goes on.")                                                       \
	R(DryRun, "Nothing: the pod can be moved, and was not touched.")                                                  \
	R(SourceLost, "The source pod or its node was lost before the commit; nothing was moved.")                       \
	R(DestinationLost, "The destination was lost.")                                                                  \
	R(InternalError, "Report the message as a bug.")

enum reason {
	REASON_NONE = 0,
#define R(name, advice) REASON_##name,
	REASON_LIST(R)
#undef R
	REASON_COUNT
};

const char *reason_name(int reason);            /* "InternalError" for numbers out of range; never NULL */
const char *reason_advice(int reason);          /* one sentence; "" for none */
int reason_from_name(const char *name);         /* REASON_InternalError when unknown or NULL */

#endif
