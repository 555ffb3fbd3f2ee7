/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

/* The command line that containerd's shim gives an OCI runtime (go-runc): global flags, a command, its flags, the container's id. */
struct oci_args {
	int argc;
	char **argv;                    /* as given: what is not ours goes to runc unchanged */
	const char *root, *log;
	bool systemd_cgroup;
	const char *command;            /* NULL: none */
	const char *bundle, *pid_file, *process;
	bool force;
	const char *id;                 /* first operand, NULL when there is none */
	const char *operand2;           /* kill: the signal */
};

void args_parse(int argc, char **argv, struct oci_args *ret);

/* Replaces this process by runc, with the same arguments.  Returns only on failure. */
int runc_exec(const struct oci_args *a);
const char *runc_path(void);            /* NULL when no runc is found in the usual places */

/* Error for the shim: a line in --log (it shows the last one) and on stderr. Returns 1, the exit status. */
int report_error(const struct oci_args *a, const struct error *err);

/* The container's folder below PM_RUN_DIR; false when it has none (it is not ours). */
bool container_dir(const char *id, char *out, size_t size);
/* First word of the state file, "" when there is none. */
void container_state(const char *id, char *out, size_t size);
int container_set_state(const char *id, const char *state);
pid_t container_monitor_pid(const char *id);

int command_create(const struct oci_args *a);
int command_exec(const struct oci_args *a);
int command_start(const struct oci_args *a);
int command_kill(const struct oci_args *a);
int command_delete(const struct oci_args *a);
int command_state(const struct oci_args *a);
int command_other(const struct oci_args *a);    /* what needs the application: refused before it is there */


/* What the monitor must know; strings live as long as the process. */
struct monitor_spec {
	const char *id, *root, *bundle, *cgroups_path;
	bool systemd_cgroup;
};
/* Runs until the container has ended; ready_fd gets one byte when the shim may be told that the container is created. */
int monitor_main(const struct monitor_spec *s, cJSON *info, int ready_fd);

#endif
