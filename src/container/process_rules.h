/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SRC_CONTAINER_PROCESS_RULES_H
#define SRC_CONTAINER_PROCESS_RULES_H

#include <sys/types.h>

/* What CRIU cannot dump, as tables.  NULL: nothing against it. */
struct process_rule {
	const char *match;
	int reason;         /* REASON_NONE: allowed, the search ends */
	const char *advice; /* half a sentence: what to do */
};

const struct process_rule *process_rule_for_file(const char *link);    /* target of /proc/PID/fd/N */
const struct process_rule *process_rule_for_mapping(const char *path); /* last column of /proc/PID/maps */
const struct process_rule *process_rule_for_device(mode_t mode, dev_t rdev);
const struct process_rule *process_rule_for_socket(int domain, int type, int protocol);

/* The path column of a line of /proc/PID/maps (cut at the newline, in place), NULL when it has none. */
const char *process_maps_path(char *line);

#endif
