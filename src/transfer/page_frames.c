/* SPDX-License-Identifier: Apache-2.0 */
#include "page_frames.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define PAGE 4096u

int page_source_alive(const struct pages_source *from, struct error *err)
{
	struct pollfd p = { from->pidfd, POLLIN, 0 };

	if (from->pidfd <= 0 || poll(&p, 1, 0) == 0)
		return 0;
	return error_set(err, -ESRCH, "process %d ended while its memory was read", (int)from->pid);
}

bool page_is_zero(const uint8_t *page)
{
	/* Most pages that are not zero show it in the first bytes; the rest is compared with itself, one step ahead, at memcmp's
	 * speed. */
	uint64_t head[8], any = 0;

	memcpy(head, page, sizeof(head));
	for (size_t i = 0; i < 8; i++)
		any |= head[i];
	return any == 0 && memcmp(page, page + sizeof(head), PAGE - sizeof(head)) == 0;
}

int page_frame_send(struct wire *w, uint16_t container, struct packer *packer, const struct wire_pages *p, struct pages_stats *stats, struct error *err)
{
	size_t len = p->data ? (size_t)p->pages * PAGE : 0, packed_len = 0;
	uint8_t head[WIRE_PAGES_HEAD];
	const uint8_t *packed;

	wire_pages_pack(p, head);
	if (p->data) {
		stats->pages += p->pages;
		stats->bytes += len;
	} else {
		stats->zero_pages += p->pages;
	}
	if (p->data && packer)
		packed_len = packer_pack(packer, p->data, len, wire_cost(w), &packed);
	if (packed_len)
		return wire_send(w, WIRE_PACKED, container, head, sizeof(head), packed, packed_len, err);
	return wire_send(w, p->data ? WIRE_PAGES : WIRE_ZEROS, container, head, sizeof(head), p->data, len, err);
}
