/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*fn)(const struct oci_args *a);
} command[] = {
	{ "create", command_create }, { "start", command_start }, { "kill", command_kill },   { "delete", command_delete }, { "exec", command_exec },
	{ "state", command_state },   { "pause", command_other }, { "resume", command_other }, { "update", command_other },  { "checkpoint", command_other },
	{ "ps", command_other },      { "events", command_other },
};

int main(int argc, char **argv)
{
	struct oci_args a;
	int r;

	args_parse(argc, argv, &a);
	for (size_t i = 0; a.command && i < sizeof(command) / sizeof(command[0]); i++)
		if (!strcmp(a.command, command[i].name)) {
			/* Negative: runc was to take over and could not be run. */
			r = command[i].fn(&a);
			if (r >= 0)
				return r;
			fprintf(stderr, "podmigration-runtime: cannot run runc: %s\n", strerror(-r));
			return 127;
		}
	r = runc_exec(&a);
	fprintf(stderr, "podmigration-runtime: cannot run runc: %s\n", strerror(-r));
	return 127;
}
