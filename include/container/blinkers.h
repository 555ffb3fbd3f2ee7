/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_BLINKERS_H
#define CONTAINER_BLINKERS_H

#include <stdint.h>

/*
 * Memory that CRIU shall not look at, because who started it has done so already.  A dump whose pages are left to somebody else (--lazy-pages) still walks through every page
 * and pins it: 80 to 110 ms of the pause for each GiB.  The library libexec/blinkers.so (src/preload/) answers CRIU's PAGEMAP_SCAN of a range that is on the list
 * with "nothing there"; whoever wrote the list adds those pages to pagemap-PID.img (criu_pagemap_add).  Of a process that
 * has such a range CRIU's look into smaps costs one walk through its memory, not up to two.  Without the library, or in a CRIU that does not use
 * PAGEMAP_SCAN, they are found as ever.
 */
#define BLINKERS_LIBRARY "blinkers.so"
#define BLINKERS_LIST "blinkers.list"            /* its name in the dump's work folder */
#define BLINKERS_ENV "PODMIGRATION_BLINKERS"    /* path of the list: struct blinkers_range one after another */

/* A whole mapping of one process. */
struct blinkers_range {
	uint64_t pid;                   /* the node's */
	uint64_t start, end;            /* bytes, end exclusive */
};

/* Smaller ranges are not asked for: looking at them costs nothing. */
#define BLINKERS_MIN (16ull << 20)

#endif
