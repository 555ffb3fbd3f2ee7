/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_PROCESS_CHECK_H
#define TESTS_PROCESS_CHECK_H

#include "container/process_info.h"
#include "migration/obstacles.h"

/* All that is in the way of one process as one error: 0 when nothing was found, else -ENOTSUP; or what kept it from being looked at. */
static inline int process_check(pid_t pid, struct error *err)
{
	struct obstacles found = { 0 };
	int r = process_find_obstacles(pid, &found, err);

	return found.n ? obstacles_error(&found, err) : r;
}

#endif
