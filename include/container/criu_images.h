/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTAINER_CRIU_IMAGES_H
#define CONTAINER_CRIU_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/ids.h"

/*
 * CRIU image files, as far as they are read or rewritten here.  Format: two u32 magics, then {u32 size, protobuf} entries (CRIU
 * images documentation). All input is outside bytes: sizes and counts are checked.
 */

#define CRIU_PAGE_SIZE 4096

/*
 * One process's pages as a store knows them: returns a pointer to the 4096 bytes at vaddr, valid until the store changes, or NULL
 * when the page is missing.
 */
typedef const void *(*page_lookup)(void *ctx, uint64_t vaddr);

/*
 * In image_dir: rewrites pagemap-<pid>.img so that every lazy entry is present, and writes its pages file with all pages in
 * pagemap order (those CRIU wrote itself kept; pages of zeros become holes).  -ENODATA (reason TransferFailed) when a page CRIU
 * wants is missing in the store, with pid and address; -EBADMSG for a damaged image, -ENOTSUP for one with a parent or of a newer
 * CRIU.  On failure the images are as they were, or the folder is to be thrown away (write errors).
 */
int criu_pages_complete(int image_dir_fd, pid_t ns_pid, page_lookup lookup, void *ctx, struct error *err);

/*
 * Calls visit for each run of pages that `criu restore --lazy-pages` leaves to its page server, in ascending order: every lazy entry,
 * also one whose data is in the pages file, since CRIU looks at PE_LAZY only (criu/mem.c, restore_priv_vma_content).  Checks the
 * images as criu_pages_complete does, before the first visit, and changes nothing; a visit that fails ends it with its error.
 */
typedef int (*lazy_visit)(void *ctx, pid_t ns_pid, uint64_t vaddr, uint64_t pages, struct error *err);
int criu_lazy_pages(int image_dir_fd, pid_t ns_pid, lazy_visit visit, void *ctx, struct error *err);

/*
 * Pages that the process has and CRIU was kept from looking at (container/blinkers.h) become lazy entries of pagemap-<pid>.img, as CRIU would have written them.  runs: ascending,
 * apart from each other.  What is listed already stays as it is.  Not for outside input.
 */
struct criu_run {
	uint64_t vaddr, pages;
};
int criu_pagemap_add(int image_dir_fd, pid_t ns_pid, const struct criu_run *runs, size_t n, struct error *err);

/* ns pids that have a pagemap in image_dir, ascending; count, -E2BIG when there are more than max, or another negative errno. */
int criu_pagemap_pids(int image_dir_fd, pid_t *pids, int max, struct error *err);

/*
 * The images of processes in a user namespace are read by CRIU as its root, whom ids gives on this node: they become his.  -ENOTSUP (KernelIncompatible) when the images were made of processes in
 * a user namespace and ids says that there is none here, or the other way round.
 */
int criu_images_give(int image_dir_fd, const struct id_range *ids, struct error *err);

/* Empties ipcns-{shm,msg,sem}-*.img (keeps the magic): the pod's IPC namespace is restored by one container only. Returns 0. */
int criu_ipc_clear(int image_dir_fd, struct error *err);
/* 1 when the ipcns images hold at least one object, 0 when none, negative errno. */
int criu_ipc_has_objects(int image_dir_fd, struct error *err);

/*
 * A periodic timerfd that has expired and was not read yet is not armed (fs/timerfd.c: read arms it again), so /proc, and with it files.img, tells that nothing is left of
 * it; CRIU 4.2 then disarms it for ever, and the program never wakes again.  While a pod is frozen every short timer comes to that.  Gives such timers one nanosecond: it
 * expires at once and goes on.  Returns how many, or a negative errno.
 */
int criu_timers_rearm(int image_dir_fd, struct error *err);

/*
 * Lets threads that CRIU would let return EINTR from a wait that nobody has interrupted call again: poll, nanosleep and clock_nanosleep (whose rest is asked for anew, or that
 * nobody asks), futex until a point in time.  Only x86-64.  Returns how many, or a negative errno: -EBADMSG for an image that is not one.
 */
int criu_waits_restart(int image_dir_fd, struct error *err);

/*
 * Decides about each TCP connection in files.img, so that CRIU restores without --tcp-close: one that has a stream image beside it stays, if keep, and every other one is what
 * --tcp-close would have made of it.  inventory: the inventory image's name; that of a dump with --tcp-close asks for the option no more.  Returns how many stay, or a
 * negative errno.
 */
#define CRIU_TCP_STREAM "tcp-stream-%x.img"     /* by the socket's inode */
int criu_connections_settle(int image_dir_fd, const char *inventory, bool keep, struct error *err);

/* True name check for a file the source sends into an image folder: *.img, descriptors.json, only [A-Za-z0-9._-]. */
int criu_image_name_ok(const char *name);

#endif
