/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/buf.h"
#include "box.h"
#include "check.h"
#include "container/runc.h"
#include "migration/reason.h"

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
		/*
		 * The entry ends with xfeatures_mask (field 8), xsave_size and xsave_size_max, two bytes each: all features set.
		 */
		check(image.data[image.len - 9] == 0x40, "the image ends as CRIU 4.2's do");
		memcpy(image.data + image.len - 8, "\xff\x7f", 2);
		r = criu_cpuinfo_check(at->host_pid, image.data, image.len, &err);
		check(r < 0 && err.reason == REASON_CPUIncompatible, "another CPU does not (%s): %s", reason_name(err.reason),
		      err.message);
	}
	buf_free(&image);
}
