/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSFER_SHARED_H
#define TRANSFER_SHARED_H

#include "transfer/pages.h"

/*
 * Shared memory that has no name in a file system: anonymous MAP_SHARED, memfd_create(2), System V.  CRIU writes it whole into files of its own (pages-N.img) while the pod is frozen.
 * While the pod runs it goes ahead, as PAGES under numbers from WIRE_SHARED_FIRST on; of the files then only those pages are sent that the other side does not hold, by content, wherever
 * they were.  So nothing depends on which file CRIU writes an object into, or in which order.
 *
 * Of one container, in one thread at a time.
 */
struct shared;
int shared_new(struct shared **ret, struct error *err);
void shared_free(struct shared *s);

/*
 * A pass through all of it: begin, then each process (from: container, pid, pidfd, packer).  What an object holds is sent as far as the other side does not hold it in its place.  What
 * cannot be listed, opened or read, or is too much (SHARED_AHEAD_MAX, SHARED_OBJECTS_MAX), is left out: it goes with the files.  -ESRCH when the process has ended meanwhile; other
 * errors are the stream's, or memory's.  stats are added to.
 */
void shared_begin(struct shared *s);
int shared_send(struct shared *s, struct wire *w, const struct pages_source *from, struct pages_stats *stats, struct error *err);
/* All passes are over: what went is found by its content from now on. */
int shared_end(struct shared *s, struct error *err);

/*
 * The content of one of CRIU's files of pages, of which IMAGE (stored) was sent before: size bytes, a multiple of 4096, as STORED frames, and as PAGES what the other side does not hold.
 * s NULL: nothing went ahead.
 */
int shared_send_file(struct shared *s, struct wire *w, const struct pages_source *from, int fd, uint64_t size, struct pages_stats *stats, struct error *err);

#endif
