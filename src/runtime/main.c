/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "relay.h"
#include "runtime.h"
#include "tar.h"

static const struct {
	const char *name;
	int (*run)(const struct oci_args *a);
} commands[] = {
	{ "create", command_create },   { "start", command_start },   { "kill", command_kill },
	{ "delete", command_delete },   { "state", command_state },   { "exec", command_exec },
	{ "update", command_update },   { "pause", command_refused }, { "resume", command_refused },
	{ "ps", command_ps },           { "events", command_refused }, { "checkpoint", command_refused },
};

/* One program under several names. */
static bool is_named(const char *name, const char *program)
{
	const char *slash = name ? strrchr(name, '/') : NULL;

	return name && !strcmp(slash ? slash + 1 : name, program);
}

int main(int argc, char **argv)
{
	struct oci_args a;

	if (is_named(argv[0], RELAY_PROGRAM))
		return criu_main(argc, argv);
	if (is_named(argv[0], TAR_PROGRAM))
		return tar_main(argc, argv);
	args_parse(argc, argv, &a);
	for (size_t i = 0; a.command && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(a.command, commands[i].name))
			return commands[i].run(&a);
	return runc_exec(&a);
}
