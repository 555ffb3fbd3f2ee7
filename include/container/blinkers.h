/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_BLINKERS_H
#define CONTAINER_BLINKERS_H

#include <stdint.h>

/*
 * Memory that CRIU shall not look at, because who started it has done so already.  A dump whose pages are left to somebody else (--lazy-pages) still walks through every page
 * and pins it: 80 to 110 ms of the pause for each GiB.  The library libexec/blinkers.so (src/preload/) answers CRIU's PAGEMAP_SCAN of a range that is on the list
 * with "nothing there"; whoever wrote the list adds those pages to pagemap-PID.img (criu_pagemap_add).  For smaps of a
 * process that has such a range CRIU gets the text that lies beside the list (container/smaps.h); without one its look costs one walk through the process's memory, not up to two.  Without
 * the library, or in a CRIU that does not use PAGEMAP_SCAN, pages are found as ever.
 */
#define BLINKERS_LIBRARY "blinkers.so"
#define BLINKERS_LIST "blinkers.list"            /* its name in the dump's work folder */
#define BLINKERS_SMAPS "smaps-"                  /* beside it, with the process's pid behind (the node's): what CRIU reads instead of its smaps */
#define BLINKERS_ENV "PODMIGRATION_BLINKERS"    /* path of the list: struct blinkers_range one after another */

/* A whole mapping of one process. */
struct blinkers_range {
	uint64_t pid;                   /* the node's */
	uint64_t start, end;            /* bytes, end exclusive */
};

/* Smaller ranges are not asked for: looking at them costs nothing. */
#define BLINKERS_MIN (16ull << 20)

#endif
