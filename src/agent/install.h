/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_AGENT_INSTALL_H
#define SRC_AGENT_INSTALL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

/* Where things lie on the node. The path is in the node's containerd configuration, so it stays the same over versions. */
#define INSTALL_DIR "/opt/podmigration"
#define INSTALL_BIN "bin"
#define INSTALL_RUNTIME_PATH INSTALL_DIR "/" INSTALL_BIN "/podmigration-runtime"
/* Our tar, apart from the other programs: the folder comes first in PATH of the runc and CRIU that we start, and of nothing else. */
#define INSTALL_LIBEXEC "libexec"

struct node {
	int root_fd;                    /* the node's root folder */
	pid_t host_pid;                 /* a process in the node's namespaces; 0: we are there */
	char socket[4096];              /* containerd's, as seen from here */
	const char *drop_in;            /* path on the node of the file that is ours */
	const char *config;             /* containerd's main file on the node; NULL: as the running containerd was told, or its default */
	const char *service;            /* systemd unit of containerd */
	bool restart;                   /* containerd may be restarted */
};

/*
 * Files of the node (install_files.c).  Every path is found below the node's root with its own symbolic links, absolute ones too: they must not lead
 * into the agent's root.
 */
int node_dir(const struct node *n, const char *path, bool make, struct error *err);             /* an fd; -ENOENT */
int node_read(const struct node *n, const char *path, struct buf *out, struct error *err);      /* -ENOENT */
/* Writes durably by rename, only when the content differs: 1 written, 0 was so already. */
int node_write(const struct node *n, const char *path, const struct buf *data, mode_t mode, struct error *err);
int node_remove(const struct node *n, const char *path, struct error *err);                     /* file; a missing one is fine */
bool node_exists(const struct node *n, const char *path);
/*
 * Makes the node's INSTALL_DIR/name the same as the folder of that name below from_fd (plain files only), in one step: whoever starts the runtime finds the
 * old files or the new ones, never a mixture.  1 replaced, 0 was so already.
 */
int node_replace_folder(const struct node *n, int from_fd, const char *name, struct error *err);
int node_remove_folder(const struct node *n, const char *name, struct error *err);
/* All folders of the build's node folder from_fd.  1 something was replaced, 0 all was so already. */
int node_install(const struct node *n, int from_fd, struct error *err);
int node_uninstall(const struct node *n, struct error *err);

/* containerd's entry of the runtime (install_containerd.c). */
int containerd_entry_install(const struct node *n, struct error *err);
int containerd_entry_remove(const struct node *n, struct error *err);

#endif
