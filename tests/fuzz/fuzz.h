/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold whatever the input: a broken one is a finding. */
static inline void must(int ok)
{
	if (!ok)
		abort();
}

/* A folder of this process alone, on tmpfs, gone at the end. */
static char fuzz_dir[] = "/dev/shm/podmigration-fuzz-XXXXXX";

static inline void fuzz_dir_remove(void)
{
	if (chdir("/") == 0)
		tree_remove(AT_FDCWD, fuzz_dir, NULL);
}

static inline void fuzz_dir_make(void)
{
	must(mkdtemp(fuzz_dir) != NULL);
	atexit(fuzz_dir_remove);
}

static inline const char *fuzz_path(const char *name)
{
	static char paths[4][256];
	static unsigned turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", fuzz_dir, name);
	return p;
}

static inline void fuzz_file(const char *name, const void *data, size_t len)
{
	int fd = open(fuzz_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	must(fd >= 0 && write_full(fd, data, len) == 0);
	close(fd);
}

/* The input in parts: the next is as long as two bytes (little endian) before it say, or all that is left. */
struct parts {
	const uint8_t *p;
	size_t left;
};

static inline size_t parts_next(struct parts *in, const uint8_t **ret)
{
	size_t len;

	if (in->left < 2) {
		*ret = in->p;
		in->left = 0;
		return 0;
	}
	len = (size_t)in->p[0] | (size_t)in->p[1] << 8;
	in->p += 2;
	in->left -= 2;
	len = len < in->left ? len : in->left;
	*ret = in->p;
	in->p += len;
	in->left -= len;
	return len;
}

#endif
