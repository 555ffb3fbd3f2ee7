/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_AGENT_ROOT_H
#define TESTS_FUZZ_AGENT_ROOT_H

#include <stdarg.h>

#include "agent/agent.h"

/* The node is the fuzzer's own folder. */
int agent_host_path(const struct agent_options *o, char *out, size_t size, const char *fmt, ...)
{
	char path[4096];
	va_list ap;
	int n;

	(void)o;
	va_start(ap, fmt);
	n = vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return n < 0 || (size_t)n >= sizeof(path) ? -ENAMETOOLONG : path_format(out, size, "%s%s", fuzz_dir, path);
}

#endif
