/* SPDX-License-Identifier: Apache-2.0 */
#include "watch_paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define PATHS_MAX 64

/* The kernel's own file systems, in which nothing can be found by walking. */
static const char *const never[] = { "proc", "sys", "dev" };
/* Many files that few watch: the pod stands still while CRIU looks, and it ends with the first that fits. */
static const char *const last[] = { "usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin", "boot", "nix" };

#define IS_ONE_OF(name, list) is_one_of(name, list, sizeof(list) / sizeof(list[0]))

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(name, list[i]))
			return true;
	return false;
}

/* CRIU's configuration has blanks, quotes and '#' of its own meaning (criu/config.c). */
static bool is_plain(const char *name)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-@";

	return name[0] != '\0' && strspn(name, plain) == strlen(name) && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int add_paths(DIR *d, bool now_last, int *n, struct buf *out, struct error *err)
{
	struct dirent *e;
	int r = 0;

	rewinddir(d);
	while (r == 0 && *n < PATHS_MAX && (e = readdir(d))) {
		if (!is_plain(e->d_name) || IS_ONE_OF(e->d_name, never) || IS_ONE_OF(e->d_name, last) != now_last)
			continue;
		r = buf_printf(out, "irmap-scan-path /%s\n", e->d_name);
		++*n;
	}
	return r < 0 ? error_set(err, r, "out of memory") : 0;
}

int watch_paths(pid_t pid, struct buf *out, struct error *err)
{
	cleanup_closedir DIR *d = NULL;
	char path[64];
	int n = 0, r;

	path_format(path, sizeof(path), "/proc/%d/root", pid);
	d = opendir(path);
	if (!d)
		return 0;
	r = add_paths(d, false, &n, out, err);
	return r == 0 ? add_paths(d, true, &n, out, err) : r;
}
