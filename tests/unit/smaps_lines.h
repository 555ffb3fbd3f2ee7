/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_SMAPS_LINES_H
#define TESTS_UNIT_SMAPS_LINES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of smaps what CRIU reads: where the mappings are, and their flags. The rest changes when others look at the same pages. Takes the fd; the caller frees. */
static inline char *smaps_lines(int fd)
{
	char *all = NULL, *line = NULL;
	size_t len = 0, size = 0;
	FILE *in = fdopen(fd, "r"), *out = open_memstream(&all, &len);

	while (in && out && getline(&line, &size, in) > 0)
		if (line[0] < 'A' || line[0] > 'Z' || strncmp(line, "VmFlags:", 8) == 0)
			fputs(line, out);
	free(line);
	if (in)
		fclose(in);
	if (out)
		fclose(out);
	return all;
}

#endif
