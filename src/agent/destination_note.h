/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_DESTINATION_NOTE_H
#define AGENT_DESTINATION_NOTE_H

#include <stdbool.h>

#include "agent.h"
#include "monitors.h"
#include "transfer/wire.h"

/*
 * What a destination's worker that comes after a crash must know and the monitors cannot tell, one file per sandbox in PM_RUN_DIR/destinations.  Written before
 * WELCOME.  It lives as long as the monitors do, on a tmpfs: after a reboot of the node there is nothing left to go on with.
 */
struct destination_note {
	char migration[64];             /* UID */
	char ns[254], name[254];        /* of the PodMigration */
	char source_node[254];
	bool decider;                   /* this side decides */
	bool later;                     /* PostCopy: when it runs, memory may still be missing */
	bool told;                      /* the source knows that the pod runs: no worker is needed any more */
	int n;
	char containers[WIRE_CONTAINERS_MAX][254];      /* all that are restored together */
};

/* -ENOENT: there is none. */
int destination_note_read(const struct agent_options *o, const char *sandbox, struct destination_note *ret, struct error *err);
int destination_note_write(const struct agent_options *o, const char *sandbox, const struct destination_note *n, struct error *err);
/* Removes the notes of sandboxes of which pods[] has no container. */
void destination_notes_sweep(const struct agent_options *o, const struct monitor_info *pods, int n_pods);

/*
 * The machine's first input for what the note (NULL: there is none) and the monitors say: FoundWaiting, FoundRestoring, FoundBarrier or FoundOpen; -1 when no
 * worker is needed.
 */
int destination_found(const struct destination_note *note, const char *sandbox, const struct monitor_info *pods, int n_pods);

#endif
