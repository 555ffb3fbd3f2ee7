/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "migration/names.h"

/* Settings of one agent process, from its command line; the workers get the same ones. */
struct agent_options {
	const char *node;               /* this node's name in its cluster */
	const char *host_root;          /* the node's root as seen from here: "/proc/1/root" in the pod */
	pid_t host_pid;                 /* a process in the node's namespaces: 1 in the pod; 0: we are there already */
	const char *kubeconfig;         /* NULL: in-cluster */
	const char *runc_root;          /* containerd's runc state */
	const char *containerd_socket;  /* on the node */
	uint16_t stream_port;
	uint16_t health_port;
	uint64_t max_bytes;             /* limit of memory and files one migration may send here */
};

/* A path of the node as seen from the agent, in out; -ENAMETOOLONG. */
int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Of a failed dump or restore: says so in *err when the file system of the images is full. */
void agent_blame_space(const struct agent_options *o, struct error *err);                 /* space.c */

int agent_daemon(const struct agent_options *o);                                        /* daemon.c */
int agent_source(const struct agent_options *o, int control_fd);                        /* source.c: one migration, a child of the daemon */
int agent_destination(const struct agent_options *o, const char *sandbox);              /* destination.c */
int agent_install(int argc, char **argv);                                               /* install.c */
int agent_uninstall(int argc, char **argv);

#endif
