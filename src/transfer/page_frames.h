/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_TRANSFER_PAGE_FRAMES_H
#define SRC_TRANSFER_PAGE_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "transfer/pages.h"

/* What all who send pages do with them. */

/* One frame: PAGES, or PACKED when that is faster (packer NULL: never); ZEROS when there is no data.  stats are added to. */
int page_frame_send(struct wire *w, uint16_t container, struct packer *packer, const struct wire_pages *p, struct pages_stats *stats, struct error *err);

bool page_is_zero(const uint8_t *page);

/* From its end on a process's number may be another's: what has been read of it before this says 0 is its own.  -ESRCH. */
int page_source_alive(const struct pages_source *from, struct error *err);

#endif
