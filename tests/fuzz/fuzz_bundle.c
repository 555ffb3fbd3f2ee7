/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a container, as the agent reads it: it holds what the pod's author wrote. */
#include "fuzz.h"

#include "container/bundle.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bundle *b = NULL;
	struct error err;

	fuzz_file("config.json", data, size);
	if (bundle_load(AT_FDCWD, fuzz_dir, &b, &err) < 0)
		return 0;
	must(b->n_mounts >= 0 && b->n_mounts <= BUNDLE_MOUNTS_MAX);
	for (int i = 0; i < b->n_mounts; i++)
		must(memchr(b->mounts[i].destination, '\0', sizeof(b->mounts[i].destination)) != NULL);
	bundle_annotation(b, "podmigration.dev/migration");
	bundle_free(b);
	return 0;
}
