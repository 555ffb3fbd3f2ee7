/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FSYNCS_H
#define FSYNCS_H

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* This program's fsync, which comes before the C library's: what was synced, in order; the one with the number fsyncs_fail (from 1) fails. */
#define FSYNCS_MAX 8

static char fsyncs[FSYNCS_MAX][PATH_MAX];
static int fsyncs_n, fsyncs_fail;

int fsync(int fd)
{
	char link[64];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = fsyncs_n < FSYNCS_MAX ? readlink(link, fsyncs[fsyncs_n], PATH_MAX - 1) : -1;
	if (len >= 0)
		fsyncs[fsyncs_n][len] = '\0';
	if (++fsyncs_n == fsyncs_fail) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static void fsyncs_begin(int fail)
{
	fsyncs_n = 0;
	fsyncs_fail = fail;
}

#endif
