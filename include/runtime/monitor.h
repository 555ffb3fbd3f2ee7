/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_H
#define RUNTIME_MONITOR_H

/*
 * What the agent and the monitors of podmigration-runtime tell each other.
 *
 * The runtime's `create` of a container that is to be restored makes PM_RUN_DIR/containers/<container id>/ (0700) with
 *   info.json     {"id", "name", "pod": {"namespace", "name", "uid"}, "sandbox", "migration", "bundle", "cgroup", "pid" (monitor),
 *                  "root" (runc's --root), "netns" (path), "keyDir", "orderDir" (host folders of the two volumes, only for the container
 *                  that mounts them, else absent), "mounts": [{"destination", "source"}] (bind mounts of config.json)}
 *                 written by rename, after the socket listens: a reader that sees info.json can connect;
 *   monitor.sock  SOCK_SEQPACKET listener of the monitor; one connection at a time, root only;
 *   state         one word: waiting, restoring, barrier, running, failed (rewritten by rename at each change; for restarts of the agent).
 * The folder is removed by the runtime's `delete`.
 *
 * Packets are JSON objects of at most MONITOR_PACKET_MAX bytes.
 *   agent -> monitor   {"op": "restore", "images": DIR, "work": DIR, "lazy": bool}   only in state waiting, once
 *                      {"op": "open"}      only in state barrier: lets the processes run
 *                      {"op": "abort"}     before running: kills what was restored, the monitor exits 125
 *                      {"op": "status"}
 *   monitor -> agent   {"state": STATE, "error": text or absent, "pid": restored init or absent}
 *                      after each change of state and as answer to status.  error holds CRIU's own error lines.
 * A restore that fails ends the monitor with exit code 125 after it told the agent: one-shot, never tried twice.
 */
#define MONITOR_PACKET_MAX 16384
#define MONITOR_CONTAINERS_DIR "containers"     /* below PM_RUN_DIR */
#define MONITOR_SOCKET "monitor.sock"
#define MONITOR_INFO "info.json"
#define MONITOR_STATE "state"

#endif
