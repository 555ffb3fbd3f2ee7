/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PRELOAD_OPENAT_H
#define PRELOAD_OPENAT_H

#include <fcntl.h>
#include <stdarg.h>
#include <sys/types.h>

/*
 * openat(2) of the program that this library is loaded into, by each of its names; which of them CRIU knows is a matter of how it was built.  Included by one source file of a library, which has
 * this function.
 */
static int open_instead(int dir, const char *path, int flags, mode_t mode);

#define SEEN __attribute__((visibility("default")))

SEEN int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | __O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return open_instead(dir, path, flags, mode);
}

SEEN __attribute__((alias("openat"))) int openat64(int dir, const char *path, int flags, ...);

/* Those of _FORTIFY_SOURCE, for flags that the compiler does not know (bits/fcntl2.h): never such as want a mode. */
SEEN int __openat_2(int dir, const char *path, int flags);
int __openat_2(int dir, const char *path, int flags)
{
	return open_instead(dir, path, flags, 0);
}

SEEN __attribute__((alias("__openat_2"))) int __openat64_2(int dir, const char *path, int flags);

#endif
