/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_LOCK_H
#define AGENT_LOCK_H

#include "agent.h"

/*
 * One agent works on a node at a time.  One that finds a frozen source without a word of its outcome lets it run again: it must know that no other one is about to give that word (a pod of
 * the DaemonSet that was deleted with force, or that containerd has lost, lives on beside its successor).  The lock is an open file, which the workers have too: it is free when the daemon and the
 * last of them have ended, however they did.
 */

/* The fd of the lock, the caller's, not locked. */
int lock_open(const struct agent_options *o, struct error *err);
/* 0; -EAGAIN: another agent has it. */
int lock_take(int fd, struct error *err);

#endif
