/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a container, as the runtime reads and edits it. */
#include "fuzz.h"

#include "runtime/spec.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf mounts = BUF_INIT(1u << 20);
	struct spec s, again;
	struct error err;
	struct span v;

	fuzz_file("config.json", data, size);
	if (spec_load(fuzz_dir, &s, &err) == 0) {
		spec_is_migrated(&s);
		/* What is written as JSON must be JSON. */
		if (spec_put_mounts(&s, &mounts) == 0)
			must(json_scan(mounts.data, mounts.len, &v) == 0 && json_is(v, "["));
		/* What was cut is gone, for whoever reads the file next. */
		if (spec_cut_mounts(&s, fuzz_dir, &err) == 0) {
			must(spec_load(fuzz_dir, &again, &err) == 0);
			must((!s.key_dir[0] && !s.order_dir[0]) || (!again.key_dir[0] && !again.order_dir[0]));
			spec_free(&again);
		}
	}
	buf_free(&mounts);
	spec_free(&s);
	return 0;
}
