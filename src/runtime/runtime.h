/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

/*
 * podmigration-runtime stands between containerd's shim and runc.  It never stays in between: what is not about a container that waits for its migrated
 * state is runc's, with the same arguments in the same process.
 */

/* The command line that containerd's shim gives an OCI runtime (go-runc): global flags, a command, its flags and operands. */
struct oci_args {
	int argc;
	char **argv;                    /* as given: what is not ours goes to runc unchanged */
	const char *root, *log, *log_format;
	bool systemd_cgroup;
	const char *command;            /* NULL: none */
	const char *bundle, *pid_file, *process, *console_socket;
	bool force, detach;
	const char *id;                 /* NULL when there is none */
	const char *operand;            /* what follows the id; kill: the signal */
};

void args_parse(int argc, char **argv, struct oci_args *ret);

/* --- runc --- */

/* The folder of this program, links resolved. */
int program_dir(char *out, size_t size);
/* `runc` beside this program (in dir) when there is one, else in the usual places; -ENOENT. */
int runc_find(const char *dir, char *out, size_t size);
/* Replaces this process by runc, with the same arguments.  Returns only on failure: reported, the exit status. */
int runc_exec(const struct oci_args *a);
/* The same arguments in a child, with our stdio; returns its exit status. */
int runc_wait(const struct oci_args *a);
/* `runc delete --force` with its output dropped: nothing of the container is left.  An unknown container is fine. */
int runc_delete(const char *dir, const char *root, bool systemd_cgroup, const char *id, struct error *err);

/* An error for the shim: a line in --log (it shows the last one), and on stderr unless that is the container's.  Returns 1, the exit status. */
int report_error(const struct oci_args *a, const struct error *err);

/* --- the commands; each returns the exit status --- */

int command_create(const struct oci_args *a);
int command_start(const struct oci_args *a);
int command_kill(const struct oci_args *a);
int command_delete(const struct oci_args *a);
int command_state(const struct oci_args *a);
int command_exec(const struct oci_args *a);
int command_ps(const struct oci_args *a);
int command_update(const struct oci_args *a);
int command_refused(const struct oci_args *a);  /* needs the application: refused as long as it is not there */

#endif
