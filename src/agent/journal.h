/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_JOURNAL_H
#define AGENT_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"
#include "base/json.h"
#include "container/fence.h"

/*
 * What the source agent must know after a crash, one file per migration in PM_STATE_DIR/journal on the node.  A step is written and fsynced BEFORE it is
 * done, so the file never says less than what may have happened.
 *
 *   Freeze    the containers may be frozen; nothing has been promised: thawing is safe unless the record says Commit
 *   Sent      (remote source) the destination has everything and may commit: only the outcome may thaw
 *   Commit    (deciding source) the commit may be in the record: ask it
 *   Lost      (deciding source) committed, and a person was told that the destination does not answer: the record may be gone, the commit stands
 *   Back      (deciding source) committed, and the destination has said that nothing ran there and nothing will: the containers go on here
 *   Running   the destination runs; the containers stay frozen until they are deleted
 */
enum journal_step { JOURNAL_NONE, JOURNAL_FREEZE, JOURNAL_SENT, JOURNAL_COMMIT, JOURNAL_LOST, JOURNAL_BACK, JOURNAL_RUNNING };

struct journal_entry {
	char migration[64];             /* UID */
	char ns[254], name[254];        /* of the PodMigration */
	char pod_uid[64], pod_name[254];        /* of the source pod */
	char pod_ns[254];               /* of it, in the cluster it runs in; empty: not known (yet) */
	char pod_ip[64];
	uint16_t port;
	bool remote;                    /* the source is not in the home cluster */
	enum journal_step step;
	struct fence fence;             /* of the source pod, closed from Sent or Commit on; empty: there is none */
};

int journal_write(const struct agent_options *o, const struct journal_entry *e, struct error *err);
int journal_read(const struct agent_options *o, const char *migration, struct journal_entry *ret, struct error *err);
int journal_remove(const struct agent_options *o, const char *migration, struct error *err);
/* Calls each for every entry; entries that cannot be read are logged and left alone. */
int journal_each(const struct agent_options *o, void (*each)(void *ctx, const struct journal_entry *e), void *ctx, struct error *err);
const char *journal_step_name(enum journal_step s);

#endif
