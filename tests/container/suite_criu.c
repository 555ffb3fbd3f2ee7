/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "box.h"
#include "check.h"
#include "container/runc.h"
#include "migration/reason.h"

static uint64_t varint(const uint8_t *p, size_t len, size_t *at)
{
	uint64_t v = 0;

	for (int shift = 0; *at < len && shift < 64; shift += 7) {
		v |= (uint64_t)(p[*at] & 0x7f) << shift;
		if (!(p[(*at)++] & 0x80))
			break;
	}
	return v;
}

/*
 * Sets every bit that xfeatures_mask has room for: field 8 of the first entry of cpuinfo.img (CRIU 4.2, images/cpuinfo.proto), which comes after two magic
 * numbers, the length of the message, and the entry's own tag and length.  How many bytes it has depends on the CPU.
 */
static bool claim_all_features(uint8_t *p, size_t len)
{
	size_t at = 12;

	if (len < 14 || p[at++] != 0x0a)
		return false;
	varint(p, len, &at);
	while (at < len) {
		uint64_t tag = varint(p, len, &at), number;
		size_t value = at;

		if ((tag & 7) != 0 && (tag & 7) != 2)
			return false;
		number = varint(p, len, &at);
		if ((tag & 7) == 2)
			at += number;
		if (tag != (8 << 3))
			continue;
		for (; value < at && value < len; value++)
			p[value] |= 0x7f;
		return true;
	}
	return false;
}

void suite_criu(const struct place *at)
{
	struct buf image = BUF_INIT(65536);
	struct error err = { 0 };
	char text[32] = "";
	int version = 0, r;

	r = criu_version(at->host_pid, &version, text, sizeof(text), &err);
	check(r == 0 && version >= 40200, "criu is %s (%d) %s", text, version, err.message);
	r = criu_cpuinfo_dump(at->host_pid, &image, &err);
	if (check(r == 0 && image.len > 20, "CPU image: %zu bytes %s", image.len, r ? err.message : "")) {
		r = criu_cpuinfo_check(at->host_pid, image.data, image.len, &err);
		check(r == 0, "this CPU fits itself %s", r ? err.message : "");
		check(claim_all_features((uint8_t *)image.data, image.len), "the image is as CRIU 4.2's are");
		r = criu_cpuinfo_check(at->host_pid, image.data, image.len, &err);
		check(r < 0 && err.reason == REASON_CPUIncompatible, "another CPU does not (%s): %s", reason_name(err.reason),
		      err.message);
	}
	buf_free(&image);
}
