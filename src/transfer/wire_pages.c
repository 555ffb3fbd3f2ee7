/* SPDX-License-Identifier: Apache-2.0 */
/* The head of PAGES, ZEROS, WANT and PACKED frames: u32 pid, u32 0, u64 address, u32 pages, u32 0, little endian. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migration/reason.h"
#include "transfer/wire.h"
#include "wire_rules.h"

#define PAGE 4096u
/* Five-level page tables end user space here (Documentation/arch/x86/x86_64/mm.rst). */
#define ADDRESS_MAX (1ull << 56)

void wire_pages_pack(const struct wire_pages *p, uint8_t out[WIRE_PAGES_HEAD])
{
	uint32_t pid = htole32((uint32_t)p->ns_pid), pages = htole32(p->pages);
	uint64_t address = htole64(p->address);

	memset(out, 0, WIRE_PAGES_HEAD);
	memcpy(out, &pid, 4);
	memcpy(out + 8, &address, 8);
	memcpy(out + 16, &pages, 4);
}

static int refuse(struct error *err, const struct wire_frame *f, const char *why)
{
	return error_reason(err, -EPROTO, REASON_ProtocolError, "%s frame of %" PRIu32 " bytes: %s", wire_type_name(f->type),
			    f->len, why);
}

int wire_pages_unpack(const struct wire_frame *f, struct wire_pages *ret, struct error *err)
{
	uint32_t pid, reserved, reserved2, pages;
	uint64_t address;

	if (f->len < WIRE_PAGES_HEAD)
		return refuse(err, f, "no head");
	memcpy(&pid, f->body, 4);
	memcpy(&reserved, f->body + 4, 4);
	memcpy(&address, f->body + 8, 8);
	memcpy(&pages, f->body + 16, 4);
	memcpy(&reserved2, f->body + 20, 4);
	pid = le32toh(pid);
	address = le64toh(address);
	pages = le32toh(pages);
	if (reserved || reserved2)
		return refuse(err, f, "reserved bits set");
	if (pid == 0 || pid > INT32_MAX)
		return refuse(err, f, "pid out of range");
	if (pages == 0 || pages > (f->type == WIRE_ZEROS ? WIRE_ZEROS_MAX : WIRE_PAGES_MAX))
		return refuse(err, f, "number of pages out of range");
	if (address % PAGE || address >= ADDRESS_MAX || (uint64_t)pages * PAGE > ADDRESS_MAX - address)
		return refuse(err, f, "address out of range");
	if (f->type == WIRE_PACKED && f->len >= WIRE_PAGES_HEAD + pages * PAGE)
		return refuse(err, f, "it is packed, and not smaller");
	if (f->type != WIRE_PACKED && f->len != WIRE_PAGES_HEAD + (f->type == WIRE_PAGES ? pages * PAGE : 0))
		return refuse(err, f, "length and number of pages disagree");
	*ret = (struct wire_pages){ .ns_pid = (pid_t)pid, .address = address, .pages = pages, .data = f->body + WIRE_PAGES_HEAD };
	return 0;
}
