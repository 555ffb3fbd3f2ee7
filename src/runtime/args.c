/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "runtime.h"

/*
 * Flags that take a value (runc 1.0 to 1.4), before the command and after it: only with them can a value be told from an operand.  Flags written
 * "--flag=value", and flags that are not here, stand alone.
 */
static const char *const global_values[] = { "root", "log", "log-format", "criu", "rootless" };
static const char *const command_values[] = {
	"bundle", "b", "console-socket", "pidfd-socket", "pid-file", "preserve-fds", "process", "p", "cwd", "env", "e", "user", "u",
	"additional-gids", "g", "process-label", "apparmor", "cap", "c", "cgroup", "format", "resources", "r", "image-path", "work-path",
	"parent-path", "status-fd", "page-server", "manage-cgroups-mode", "empty-ns", "interval", "lsm-profile", "lsm-mount-context",
	"blkio-weight", "cpu-period", "cpu-quota", "cpu-burst", "cpu-share", "cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems",
	"memory", "memory-reservation", "memory-swap", "pids-limit", "l3-cache-schema", "mem-bw-schema", "cpu-idle",
};

/* Where what we care about goes. */
struct slot {
	bool global;
	const char *name;
	const char **value;
	bool *set;
};

static bool takes_value(bool global, const char *name, size_t len)
{
	const char *const *list = global ? global_values : command_values;
	size_t n = global ? sizeof(global_values) / sizeof(global_values[0]) : sizeof(command_values) / sizeof(command_values[0]);

	for (size_t i = 0; i < n; i++)
		if (strlen(list[i]) == len && !memcmp(list[i], name, len))
			return true;
	return false;
}

static void store(struct oci_args *a, bool global, const char *name, size_t len, const char *value)
{
	const struct slot slots[] = {
		{ true, "root", &a->root, NULL },
		{ true, "log", &a->log, NULL },
		{ true, "log-format", &a->log_format, NULL },
		{ true, "systemd-cgroup", NULL, &a->systemd_cgroup },
		{ false, "bundle", &a->bundle, NULL },
		{ false, "b", &a->bundle, NULL },
		{ false, "pid-file", &a->pid_file, NULL },
		{ false, "process", &a->process, NULL },
		{ false, "p", &a->process, NULL },
		{ false, "console-socket", &a->console_socket, NULL },
		{ false, "force", NULL, &a->force },
		{ false, "f", NULL, &a->force },
		{ false, "detach", NULL, &a->detach },
		{ false, "d", NULL, &a->detach },
	};

	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		if (slots[i].global != global || strlen(slots[i].name) != len || memcmp(slots[i].name, name, len))
			continue;
		if (slots[i].value)
			*slots[i].value = value;
		else
			*slots[i].set = !value || strcmp(value, "false");
	}
}

/* Flags may be written with one or two dashes (runc's command line parser is Go's).  Returns the index of the last word used. */
static int take_flag(struct oci_args *a, int i)
{
	const char *name = a->argv[i] + (a->argv[i][1] == '-' ? 2 : 1);
	const char *equals = strchr(name, '='), *value = equals ? equals + 1 : NULL;
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	bool global = !a->command;

	if (!equals && takes_value(global, name, len) && i + 1 < a->argc)
		value = a->argv[++i];
	store(a, global, name, len, value);
	return i;
}

void args_parse(int argc, char **argv, struct oci_args *ret)
{
	bool flags = true;

	*ret = (struct oci_args){ .argc = argc, .argv = argv };
	for (int i = 1; i < argc; i++) {
		if (flags && !strcmp(argv[i], "--"))
			flags = false;
		else if (flags && argv[i][0] == '-' && argv[i][1])
			i = take_flag(ret, i);
		else if (!ret->command)
			ret->command = argv[i];
		else if (!ret->id)
			ret->id = argv[i];
		else if (!ret->operand)
			ret->operand = argv[i];
		/* exec ID CMD --flag-of-CMD: the flags end with the first operand. */
		if (ret->id)
			flags = false;
	}
}
