/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/present.h"

#include "mappings.h"
#include "pagemap.h"

int present_mappings(pid_t pid, uint64_t min, present_visit visit, void *ctx, struct error *err)
{
	struct mappings maps;
	struct mapping m;
	int r = mappings_open(pid, &maps, err);

	if (r < 0)
		return r;
	while ((r = mappings_next(&maps, &m, err)) > 0) {
		r = m.file || m.executable || m.end - m.start < min ? 0 : visit(ctx, m.start, m.end, err);
		if (r < 0)
			break;
	}
	mappings_close(&maps);
	return r;
}

int present_pages(pid_t pid, uint64_t start, uint64_t end, present_visit visit, void *ctx, struct error *err)
{
	struct pagemap *map = NULL;
	struct page_run run;
	int r = pagemap_open(pid, true, &map, err);

	if (r < 0)
		return r;
	pagemap_files(map, false);
	pagemap_range(map, start, end);
	while ((r = pagemap_next(map, &run, err)) > 0) {
		r = run.zero ? 0 : visit(ctx, run.start, run.end, err);
		if (r < 0)
			break;
	}
	pagemap_close(map);
	return r;
}
