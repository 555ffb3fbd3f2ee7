/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* Flags that take a value, before and after the command (runc 1.3: main.go, create.go, exec.go, delete.go, kill.go ..). */
static const char *const global_values[] = { "root", "log", "log-format", "criu", "rootless" };
static const char *const command_values[] = {
	"bundle", "b", "console-socket", "pidfd-socket", "pid-file", "preserve-fds", "process", "p", "cwd", "env", "e", "user", "u",
	"additional-gids", "g", "process-label", "apparmor", "cap", "c", "cgroup", "format", "f", "resources", "r", "image-path", "work-path",
	"parent-path", "status-fd", "page-server", "manage-cgroups-mode", "empty-ns", "interval", "lsm-profile", "lsm-mount-context",
};

static bool takes_value(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

/* Where the value of a flag we care about goes. */
static const char **slot(struct oci_args *a, bool global, const char *name)
{
	const struct {
		bool global;
		const char *name;
		const char **where;
	} known[] = {
		{ true, "root", &a->root },      { true, "log", &a->log },         { false, "bundle", &a->bundle }, { false, "b", &a->bundle },
		{ false, "pid-file", &a->pid_file }, { false, "process", &a->process }, { false, "p", &a->process },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].global == global && !strcmp(known[i].name, name))
			return known[i].where;
	return NULL;
}

static int take_flag(struct oci_args *a, int i)
{
	bool global = !a->command;
	const char *const *list = global ? global_values : command_values;
	size_t n = global ? sizeof(global_values) / sizeof(global_values[0]) : sizeof(command_values) / sizeof(command_values[0]);
	char *text = a->argv[i] + (a->argv[i][1] == '-' ? 2 : 1), name[64], *eq = strchr(text, '=');
	size_t len = eq ? (size_t)(eq - text) : strlen(text);
	const char **where;

	if (len == 0 || len >= sizeof(name))
		return i;
	memcpy(name, text, len);
	name[len] = '\0';
	where = slot(a, global, name);
	if (!strcmp(name, "systemd-cgroup") && global)
		a->systemd_cgroup = true;
	if (!strcmp(name, "force") || !strcmp(name, "f"))
		a->force = a->command && !strcmp(a->command, "delete");
	if (!takes_value(list, n, name) || (a->force && !strcmp(name, "f")))
		return i;
	if (eq) {
		if (where)
			*where = eq + 1;
		return i;
	}
	if (i + 1 < a->argc && where)
		*where = a->argv[i + 1];
	return i + 1;
}

void args_parse(int argc, char **argv, struct oci_args *ret)
{
	*ret = (struct oci_args){ .argc = argc, .argv = argv };
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] == '-' && argv[i][1])
			i = take_flag(ret, i);
		else if (!ret->command)
			ret->command = argv[i];
		else if (!ret->id)
			ret->id = argv[i];
		else if (!ret->operand2)
			ret->operand2 = argv[i];
	}
}

const char *runc_path(void)
{
	static const char *const places[] = { "/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	return NULL;
}

int runc_exec(const struct oci_args *a)
{
	const char *path = runc_path();

	if (!path)
		return -ENOENT;
	a->argv[0] = (char *)(uintptr_t)"runc";
	execv(path, a->argv);
	return -errno;
}
