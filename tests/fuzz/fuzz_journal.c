/* SPDX-License-Identifier: Apache-2.0 */
/* A journal entry after a crash, whatever the disk made of it. */
#include "fuzz.h"

#include <errno.h>

#include "agent/journal.h"
#include "agent_root.h"

#define UID "0b0c1d2e-0000-4000-8000-000000000001"

static const struct agent_options options;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_dir_make();
	must(dir_make(AT_FDCWD, fuzz_path("var/lib/podmigration/journal"), 0700, NULL) == 0);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_entry e, again;
	struct error err;

	fuzz_file("var/lib/podmigration/journal/" UID ".json", data, size);
	if (journal_read(&options, UID, &e, &err) < 0)
		return 0;
	must(!strcmp(e.migration, UID) && e.step > JOURNAL_NONE && e.step <= JOURNAL_RUNNING);
	/* What was understood is written and understood again as the same. */
	must(journal_write(&options, &e, &err) == 0 && journal_read(&options, UID, &again, &err) == 0 && again.step == e.step &&
	     again.port == e.port && again.remote == e.remote && !strcmp(again.pod_ip, e.pod_ip) && !strcmp(again.name, e.name));
	return 0;
}
