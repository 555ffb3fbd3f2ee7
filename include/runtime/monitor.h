/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_MONITOR_H
#define RUNTIME_MONITOR_H

/*
 * What the agent and the monitors of podmigration-runtime tell each other.
 *
 * The runtime's `create` of a container that is to be restored makes PM_RUN_DIR/containers/<container id>/ (0700) with
 *   info.json     {"id", "name", "pod": {"namespace", "name", "uid"}, "sandbox", "migration", "bundle", "cgroup", "pid", "started" (of the monitor: start
 *                  time in clock ticks), "root" (runc's --root), "netns" (path), "keyDir", "orderDir" (host folders of the two volumes, only for the
 *                  container that mounts them, else absent), "mounts": [{"destination", "source"}] (bind mounts of config.json)}
 *                 written by rename, after the socket listens: a reader that sees info.json can connect;
 *   monitor.sock  SOCK_SEQPACKET listener of the monitor; one connection at a time (the next one waits in the queue), root only;
 *   state         one word: waiting, starting, standby, restoring, barrier, running, failed (rewritten by rename at each change; for restarts of the agent);
 *                 cold: an ordinary container that was started in the place of one that ran, and that mounts the volumes of key and order.  It has no monitor, socket,
 *                 "pid" or "started"; it is there so that an order to move the pod on is found;
 *   restoring     {"pid", "started"} of `runc restore`, and runc.log, its log.
 * The folder is removed by the runtime's `delete`.
 *
 * Packets are JSON objects of at most MONITOR_PACKET_MAX bytes.
 *   agent -> monitor   {"op": "restore", "images": DIR, "work": DIR, "lazy": bool, "connections": bool}   only in state waiting, once; existing folders below PM_RUN_DIR.
 *                      With all of CRIU's images in place: to the barrier.  With only descriptors.json there (runc reads it first): runc and CRIU are
 *                      started ahead of time, state starting, and stop before CRIU's first step, state standby
 *                      connections: the images say of each TCP connection whether it stays; else CRIU closes them all (an agent that does not know of it)
 *                      {"op": "go"}        in state standby, when all images are there, inventory.img under the name MONITOR_INVENTORY
 *                      lazy: the images are as a dump with --lazy-pages wrote them; the packet that leads to restoring (go, or restore without standby)
 *                      brings two fds (SCM_RIGHTS): the fill list (migration/fill.h) and the page store's file; with pages that come later (PostCopy) a
 *                      third, the socket to ask for them.  Not lazy: the images hold all pages.
 *                      {"op": "open"}      in state barrier: lets the processes run; again after that: answered by the state
 *                      {"op": "abort"}     before open: kills what was restored, the monitor exits 125
 *                      {"op": "status"}
 *   monitor -> agent   {"state": STATE, "error": text or absent, "pid": restored init or absent, "filled": {"pages", "micros"} or absent}
 *                      at connect, after each change of state, when all memory is in place ("filled") and as answer to status.  In state failed, error says why and quotes CRIU's own error lines;
 *                      in any other state, error means that the request was refused and nothing was changed by it.
 *
 * barrier: everything is restored and nothing runs, for as long as it takes; lazy or not, nothing from elsewhere is needed any more (but for PostCopy): all memory is in
 * place, or in the page store, whose file the monitor's filler holds.  Connections may come and go meanwhile.  After open the processes run within
 * milliseconds, and running is told as soon as CRIU has resumed them (its post-resume stage), tens of milliseconds before runc ends.  If runc then fails
 * all the same, nothing is left and failed follows running.
 * A restore that fails ends the monitor with exit code 125 after it told the agent; the connection ends with it.  SIGTERM before open does the same with 143.
 *
 * One-shot, per (pod UID, container name), in PM_STATE_DIR/claims/<pod uid>_<container name>, first line (src/runtime/claim.h):
 *   absent    the container waits (again, when a monitor ended before a restore was begun)
 *   used      a restore was begun or aborted: the kubelet's next container of that name is refused, since the source may go on
 *   opening   committed, and whether it ran is not known: the kubelet's next container of that name is refused, since only the source holds the memory, until
 *             a person says otherwise (annotation PM_ANN_START_COLD of the pod)
 *   opened    it runs here: the kubelet's next containers of that name are ordinary ones, started from their images
 *   cold      one such was started in this one's place
 */
#define MONITOR_PACKET_MAX 16384
#define MONITOR_CONTAINERS_DIR "containers"     /* below PM_RUN_DIR */
#define MONITOR_SOCKET "monitor.sock"
#define MONITOR_INFO "info.json"
#define MONITOR_STATE "state"
#define MONITOR_FILLING "filling"              /* beside info.json: there as long as the running program still lacks pages, and so cannot be dumped */
#define MONITOR_INVENTORY "inventory.go"       /* in the folder of images */

#endif
