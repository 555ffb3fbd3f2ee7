/* SPDX-License-Identifier: Apache-2.0 */
/* The list by which the filler copies pages into processes: it must name only what lies in the store.  First two bytes: pages of the store; the rest: the list. */
#include "fuzz.h"

#include <sys/mman.h>

#include "runtime/fill_run.h"

static int list_fd, store_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	list_fd = memfd_create("list", MFD_CLOEXEC);
	store_fd = memfd_create("store", MFD_CLOEXEC);
	must(list_fd >= 0 && store_fd >= 0);
	return 0;
}

static void look(const struct fill_runs *l)
{
	uint32_t counted = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		const struct fill_run *r = &l->runs[i];
		uint32_t first = 0, n = fill_runs_of(l, r->ns_pid, &first);

		must(i >= first && i < first + n);
		must(r->offset + (uint64_t)r->pages * FILL_PAGE <= l->store_size && r->vaddr + (uint64_t)r->pages * FILL_PAGE <= FILL_VADDR_END);
		/* Who looks a page up relies on the order. */
		must(i == 0 || r[-1].ns_pid < r->ns_pid || (r[-1].ns_pid == r->ns_pid && r[-1].vaddr + (uint64_t)r[-1].pages * FILL_PAGE <= r->vaddr));
		counted++;
	}
	must(counted == l->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fill_runs l = { 0 };
	struct error err;

	if (size < 2)
		return 0;
	must(ftruncate(store_fd, (off_t)(data[0] | data[1] << 8) * FILL_PAGE) == 0 && ftruncate(list_fd, 0) == 0);
	must(pwrite(list_fd, data + 2, size - 2, 0) == (ssize_t)(size - 2));
	if (fill_runs_load(list_fd, store_fd, &l, &err) == 0)
		look(&l);
	fill_runs_free(&l);
	return 0;
}
