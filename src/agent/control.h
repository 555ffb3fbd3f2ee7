/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_CONTROL_H
#define AGENT_CONTROL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * What the daemon tells a source worker, one JSON object per line on its stdin.
 *   first line: the order  {"migration", "namespace", "name", "podUID", "epoch", "remote", "resume", "dryRun" (true: it only asks the destination), and when remote "podIP", "port", "key"}; with "abort"
 *                          and "reason" in it: only says that it is given up
 *   then:       {"podIP": "..", "port": n}          the destination pod is there
 *               {"abort": "sentence", "reason": "Cancelled", "recorded": true}  give up, before the commit; recorded: the PodMigration was read, and its decision is Abort
 *               {"leave": true}                 the agent is ending: who may go back by itself does so now, and ends; who does neither says so by control_stay
 */
struct control;

/* Reads the first line (at most 64 KiB) and starts a thread for the rest. order is the caller's. */
int control_start(int fd, struct control **ret, cJSON **ret_order, struct error *err);
/* clock_mono_us: when the order's timeoutSeconds are over; 0: what is resumed has no such time. */
int64_t control_deadline(const struct control *c);
/* fn is called once, from the control thread, at the deadline: the controller, which ends a migration a minute before, is gone.  Nobody has ordered anything by that.  At once when it is over. */
void control_on_late(struct control *c, void (*fn)(void *ctx), void *ctx);
/* fn is called once, from the control thread, when an abort arrives (at once if it already has). */
void control_on_abort(struct control *c, void (*fn)(void *ctx), void *ctx);
/* The same, when the daemon is ending; nobody has ordered anything by that either. */
void control_on_leave(struct control *c, void (*fn)(void *ctx), void *ctx);
/* From any thread: the daemon, which is ending and waits, need not wait for this worker. */
void control_stay(const struct control *c);
/* Nobody is called any more when this returns: ctx may be freed.  Not from fn. */
void control_forget(struct control *c);
/* Waits for the destination's address; an abort or the deadline (clock_mono_us) is an error. */
int control_wait_destination(struct control *c, int64_t deadline_us, char *ip, size_t size, uint16_t *port, struct error *err);
/* 0, or the abort as error. */
int control_check(struct control *c, struct error *err);
/* An abort has arrived, and it is the record's: what is decided there stays, so nobody need ask. */
bool control_abort_recorded(struct control *c);
/* Until an abort has arrived, or so many microseconds. */
void control_pause(struct control *c, int64_t us);

#endif
