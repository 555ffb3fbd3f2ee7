/* SPDX-License-Identifier: Apache-2.0 */
/* The head of PAGES, ZEROS, WANT and PACKED frames: u32 pid, u32 0, u64 address, u32 pages, u32 0; a run of STORED: u32 pid, u32 pages, u64 address; little endian. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "migration/reason.h"
#include "transfer/wire.h"
#include "wire_rules.h"

#define PAGE 4096u

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

static bool range_ok(uint64_t address, uint32_t pages)
{
	return address % PAGE == 0 && address < WIRE_ADDRESS_MAX && (uint64_t)pages * PAGE <= WIRE_ADDRESS_MAX - address;
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
	if (!range_ok(address, pages))
		return refuse(err, f, "address out of range");
	if (f->type == WIRE_PACKED && f->len >= WIRE_PAGES_HEAD + pages * PAGE)
		return refuse(err, f, "it is packed, and not smaller");
	if (f->type != WIRE_PACKED && f->len != WIRE_PAGES_HEAD + (f->type == WIRE_PAGES ? pages * PAGE : 0))
		return refuse(err, f, "length and number of pages disagree");
	*ret = (struct wire_pages){ .ns_pid = (pid_t)pid, .address = address, .pages = pages, .data = f->body + WIRE_PAGES_HEAD };
	return 0;
}

void wire_stored_pack(const struct wire_pages *p, uint8_t out[WIRE_STORED_RUN])
{
	uint32_t pid = htole32((uint32_t)p->ns_pid), pages = htole32(p->pages);
	uint64_t address = htole64(p->address);

	memcpy(out, &pid, 4);
	memcpy(out + 4, &pages, 4);
	memcpy(out + 8, &address, 8);
}

int wire_stored_unpack(const struct wire_frame *f, uint32_t i, struct wire_pages *ret, struct error *err)
{
	uint32_t pid, pages;
	uint64_t address;

	if (f->len % WIRE_STORED_RUN || i >= f->len / WIRE_STORED_RUN)
		return refuse(err, f, "its length");
	memcpy(&pid, f->body + (size_t)i * WIRE_STORED_RUN, 4);
	memcpy(&pages, f->body + (size_t)i * WIRE_STORED_RUN + 4, 4);
	memcpy(&address, f->body + (size_t)i * WIRE_STORED_RUN + 8, 8);
	pid = le32toh(pid);
	pages = le32toh(pages);
	address = le64toh(address);
	if (pid == 0 ? address != 0 : pid < WIRE_SHARED_FIRST || pid > INT32_MAX)
		return refuse(err, f, "not of shared memory");
	if (pages == 0 || pages > WIRE_STORED_PAGES_MAX)
		return refuse(err, f, "number of pages out of range");
	if (!range_ok(address, pages))
		return refuse(err, f, "address out of range");
	*ret = (struct wire_pages){ .ns_pid = (pid_t)pid, .address = address, .pages = pages };
	return 0;
}
