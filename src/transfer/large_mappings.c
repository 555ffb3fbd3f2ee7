/* SPDX-License-Identifier: Apache-2.0 */
#include "transfer/large_mappings.h"

#include "mappings.h"

int large_mappings_each(pid_t pid, uint64_t min, large_mapping_visit visit, void *ctx, struct error *err)
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
