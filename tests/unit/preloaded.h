/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_PRELOADED_H
#define TESTS_UNIT_PRELOADED_H

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <unistd.h>

/* One of the libraries of src/preload, loaded into the test as into CRIU; name: of its file, beside the programs of this build. */
static inline void *preloaded(const char *name)
{
	char exe[4096], path[5000];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	void *library;

	assert_true(n > 0);
	exe[n] = '\0';
	snprintf(path, sizeof(path), "%s/../lib/%s", dirname(exe), name);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	assert_non_null(library);
	return library;
}

#endif
