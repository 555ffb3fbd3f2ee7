/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_PAGES_KNOWN_H
#define SRC_TRANSFER_PAGES_KNOWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "transfer/pages.h"

/* Does the other side hold exactly this page?  If not, it does from now on (the caller sends it).  -ENOMEM. */
int pages_known_same(struct pages_known *k, pid_t ns_pid, uint64_t address, const uint8_t *page, bool *ret_same);
/* The other side is told that these are zero. */
void pages_known_clear(struct pages_known *k, pid_t ns_pid, uint64_t start, uint64_t end);
/*
 * By content.  index makes what is known now to be found, until more becomes known (-ENOMEM; not found then is all that it costs).  find: where the other side holds exactly this page;
 * *ns_pid and *address are a place to be tried first (ns_pid 0: none), and the place found.
 */
int pages_known_index(struct pages_known *k);
bool pages_known_find(struct pages_known *k, const uint8_t *page, pid_t *ns_pid, uint64_t *address);
/*
 * Where the page was when it was sent, as pagemap_where tells it: its frame, and whether it had been written since the bits of its process were cleared (soft_dirty.h); 0: it is not known.
 * -ENOMEM: it is not known.
 */
int pages_known_note(struct pages_known *k, pid_t ns_pid, uint64_t address, uint64_t where);
uint64_t pages_known_noted(struct pages_known *k, pid_t ns_pid, uint64_t address);
/* Of none of its pages is known where they were. */
void pages_known_forget_frames(struct pages_known *k, pid_t ns_pid);
/* Nobody knows what the other side holds of this process. */
void pages_known_forget(struct pages_known *k, pid_t ns_pid);

#endif
