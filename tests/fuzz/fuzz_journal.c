/* SPDX-License-Identifier: Apache-2.0 */
/* A journal entry, or a destination's note (first byte 'n'), after a crash, whatever the disk made of it. */
#include "fuzz.h"

#include <errno.h>

#include "agent/destination_note.h"
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
	must(dir_make(AT_FDCWD, fuzz_path("run/podmigration/destinations"), 0700, NULL) == 0);
	return 0;
}

static void note(const uint8_t *data, size_t size)
{
	static struct destination_note n, again;
	struct error err;

	fuzz_file("run/podmigration/destinations/s1.json", data, size);
	if (destination_note_read(&options, "s1", &n, &err) < 0)
		return;
	must(n.n > 0 && n.n <= WIRE_CONTAINERS_MAX);
	must(destination_note_write(&options, "s1", &n, &err) == 0 && destination_note_read(&options, "s1", &again, &err) == 0);
	must(again.n == n.n && again.decider == n.decider && again.told == n.told && !strcmp(again.containers[n.n - 1], n.containers[n.n - 1]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_entry e, again;
	struct error err;

	if (size && data[0] == 'n') {
		note(data + 1, size - 1);
		return 0;
	}
	fuzz_file("var/lib/podmigration/journal/" UID ".json", data, size);
	if (journal_read(&options, UID, &e, &err) < 0)
		return 0;
	must(!strcmp(e.migration, UID) && e.step > JOURNAL_NONE && e.step <= JOURNAL_RUNNING);
	/* What was understood is written and understood again as the same. */
	must(journal_write(&options, &e, &err) == 0 && journal_read(&options, UID, &again, &err) == 0 && again.step == e.step &&
	     again.port == e.port && again.remote == e.remote && !strcmp(again.pod_ip, e.pod_ip) && !strcmp(again.name, e.name));
	return 0;
}
