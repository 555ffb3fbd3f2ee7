/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent reads of a monitor.  Parts: info.json, state, then packets of its socket. */
#include "agent/monitors.c"

#include "fuzz.h"

#include "agent_root.h"

#define DIR_NAME "run/podmigration/containers/c1"

static const struct agent_options options;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	must(dir_make(AT_FDCWD, fuzz_path(DIR_NAME), 0700, NULL) == 0);
	return 0;
}

static void packets(struct parts *in)
{
	struct monitor m = { 0 };
	struct error err;
	int pair[2];

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	m.fd = pair[0];
	for (int i = 0; i < 4 && in->left; i++) {
		const uint8_t *part;
		size_t len = parts_next(in, &part);

		must(send(pair[1], part, len, MSG_NOSIGNAL) == (ssize_t)len);
	}
	close(pair[1]);
	must(monitor_wait(&m, "barrier", 0, &err) <= 0 && memchr(m.state, '\0', sizeof(m.state)));
	close(m.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parts in = { data, size };
	struct monitor_info m[2];
	const uint8_t *part;
	struct error err;
	size_t len = parts_next(&in, &part);

	fuzz_file(DIR_NAME "/info.json", part, len);
	len = parts_next(&in, &part);
	fuzz_file(DIR_NAME "/state", part, len);
	if (monitors_list(&options, m, 2, &err) == 1)
		must(!strcmp(m[0].id, "c1") && memchr(m[0].state, '\0', sizeof(m[0].state)));
	packets(&in);
	return 0;
}
