/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Scope-bound release; declare these variables at the top and initialise them. */
#define cleanup_with(fn) __attribute__((__cleanup__(fn)))

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define cleanup_free cleanup_with(cleanup_freep)
#define cleanup_close cleanup_with(cleanup_closep)
#define cleanup_fclose cleanup_with(cleanup_fclosep)
#define cleanup_closedir cleanup_with(cleanup_closedirp)

/* Takes the fd or pointer out of a cleanup variable, for returning it. */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

#define take_ptr(p) __extension__({ __typeof__(p) v_ = (p); (p) = NULL; v_; })

#endif
