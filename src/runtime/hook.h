/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_HOOK_H
#define RUNTIME_HOOK_H

/*
 * Between CRIU's action script and the monitor: a SOCK_SEQPACKET socket in the container's folder, whose path is in the environment of runc and so of CRIU.
 * A packet is a word and a number.
 */
#define HOOK_PROGRAM "podmigration-hook"
#define HOOK_ENV "PODMIGRATION_HOOK"    /* the container's folder */
#define HOOK_SOCKET "hook.sock"
#define HOOK_PACKET_MAX 64
#define HOOK_BARRIER "barrier"          /* hook -> monitor, with the restored init's pid; then it waits */
#define HOOK_RESUMED "resumed"          /* hook -> monitor, with the pid: the processes run */
#define HOOK_OPEN "open"                /* monitor -> hook: go on.  End of file instead: give up */

/* What CRIU runs at every stage of a restore; returns the exit status. */
int hook_main(void);

#endif
