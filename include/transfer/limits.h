/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_LIMITS_H
#define TRANSFER_LIMITS_H

/*
 * Every length and count that a peer can choose, in one place.  The receiver refuses what is beyond (ProtocolError, or NoSpace for what an agent's --max-bytes
 * limits); the sender keeps within.  docs/protocol.md lists them.
 */

/* One frame. */
#define WIRE_BODY_MAX ((1u << 20) + 4096)
#define WIRE_JSON_MAX 65536             /* bytes of a JSON body; its nesting: JSON_DEPTH_MAX of base/json.h */
#define WIRE_PAGES_MAX 256              /* pages of one PAGES frame */
#define WIRE_ZEROS_MAX (1u << 18)       /* pages of one ZEROS frame: 1 GiB */
#define WIRE_DATA_MAX (1u << 20)        /* bytes of one DATA frame, without its head */
#define WIRE_STORED_MAX 4096            /* runs of one STORED frame */
#define WIRE_STORED_PAGES_MAX 4096      /* pages of one run */
#define WIRE_ADDRESS_MAX (1ull << 56)   /* of a page: five-level page tables end user space here (Documentation/arch/x86/x86_64/mm.rst) */

/*
 * PAGES come of processes, and of shared memory, each under a number.  Those of shared memory begin here, beyond the number of any process (PID_MAX_LIMIT of a 64-bit kernel is
 * 4194304); the address is the place in it.
 */
#define WIRE_SHARED_FIRST (1 << 30)

/* One migration.  Memory, files and images together: the agent's --max-bytes. */
#define WIRE_CONTAINERS_MAX 64
#define WIRE_FILES_MAX 2000000          /* FILE frames of all trees */
#define WIRE_FOLDERS_MAX (128u << 20)   /* bytes of the paths of all folders, kept until their times are set */

/*
 * While the pod runs its files are sent again as they change, so that what comes then may be more than what there is in the end: up to twice as much, files and
 * bytes (of the agent's --max-bytes).  From FROZEN on the limits above hold for what is left.
 */
#define WIRE_AHEAD_TIMES 2

/* One container. */
#define WIRE_PROCESSES_MAX 1024
#define WIRE_IMAGES_MAX 65536           /* CRIU writes some ten files per process and one per thread */
#define WIRE_IMAGE_MAX (256u << 20)     /* bytes of one image; memory comes as PAGES.  One that is made of STORED pages: --max-bytes */

/* One file. */
#define TREE_DEPTH_MAX 256
#define TREE_PATH_MAX 4095              /* PATH_MAX with its NUL: longer ones cannot be given to a system call */
#define TREE_XATTRS_MAX 65536           /* bytes of all names and values */

/* The source's own: what it keeps of the files that went ahead, of all trees of a migration (some 130 bytes for each, and 16 for each block of large ones). */
#define TREE_RECORD_MAX (256u << 20)
#define TREE_LINKS_MAX (512u << 20)     /* bytes: the first paths of files with several names, of one walk through one tree */
#define TREE_BLOCK 65536u
#define TREE_LARGE (4 * TREE_BLOCK)     /* from this size on, of a file that has changed only those blocks are sent that differ */
#define TREE_PAGE 4096u                 /* the blocks of all files on tmpfs: they are written to as memory is, page by page, and sent while the pod waits */
#define TREE_WALKS_MAX 5                /* while the pod runs */

/* The same for shared memory of a container, 16 bytes for each page: what does not fit goes while it is frozen. */
#define SHARED_AHEAD_MAX (8ull << 30)
#define SHARED_OBJECTS_MAX 4096
#define SHARED_PASSES_MAX 5             /* while the pod runs */

#endif
